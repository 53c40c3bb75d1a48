# The five variables to set. Each may also be given on the command line
# (make deploy BUCKET=releases-acme) or in the environment.

# The service: its executable, package, user, folders and services are named
# after it. 2 to 20 lower-case letters, digits and hyphens.
NAME ?= panorama

# The S3 bucket of the releases: private, versioned. Needed by deploy, rollback
# and status; written into the package, so that machines know it too.
BUCKET ?=

# The AWS region of the bucket.
REGION ?= us-east-1

# Who answers for the package (its control file's Maintainer).
MAINTAINER ?= Your Name <you@example.com>

# The SSH key that signs releases; its public half, beside it with .pub, goes
# into the package as the key that machines trust. A key in an agent or on a
# hardware token works: then only the .pub need be here. A key's text works, too,
# as the secrets of a CI service give it, in the environment. Without a key
# `make package` makes one for this checkout alone, which `make deploy` refuses.
SIGNING_KEY ?= $(HOME)/.ssh/id_ed25519
