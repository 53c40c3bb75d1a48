# Slipway: every verb. `make` alone lists them; config.mk holds what to edit.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

include config.mk

CHANNEL ?= stable
VERSION ?= $(shell packaging/version)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# The commit's time, so that the same commit gives the same bytes.
SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),1700000000)
PYTHON := .venv/bin/python
OPERATE := PYTHONPATH=scripts $(PYTHON) -m operate
PACKAGE := build/$(NAME)-server.deb
UPDATER := build/$(NAME)-autoupdate

export NAME BUCKET REGION MAINTAINER SIGNING_KEY CHANNEL VERSION COMMIT SOURCE_DATE_EPOCH
# As the shell would have it: some of what is called does not.
override SIGNING_KEY := $(patsubst ~/%,$(HOME)/%,$(SIGNING_KEY))
# What userdata or stack may be given beside those, in config.mk too: see their --help.
MORE := ROLES ROLE_ID LOG_HOST QUEUE_URL BUCKET_URL HOST PORT VPC SUBNETS IMAGE INSTANCE_TYPE \
  WEB_FROM LOAD_BALANCER MAX_MACHINES KEEP_RELEASES_DAYS
$(foreach name,$(MORE),$(if $(filter-out undefined,$(origin $(name))),$(eval export $(name))))

ifneq ($(shell grep -qxE '[a-z][a-z0-9-]{0,18}[a-z0-9]' <<<'$(NAME)' && echo ok),ok)
$(error NAME is "$(NAME)"; use 2 to 20 lower-case letters, digits and hyphens)
endif

# How the app half is built: build/$(NAME) and $(HELPERS).
include app/build.mk

.PHONY: help
help: ## list the verbs
	@echo "usage: make VERB, with the settings of config.mk"; echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: setup
setup: .venv/.ready ## install what the other verbs need: apt packages, a virtual environment

.venv/.ready: scripts/develop/bootstrap scripts/develop/requirements.lock
	@scripts/develop/bootstrap

.PHONY: build
build: build/$(NAME) $(UPDATER) $(HELPERS) ## 2: the executables, in build/

# Rewritten only when the version changes: what depends on it is not rebuilt otherwise.
build/version: FORCE
	@mkdir -p build
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@

# The same for what the package holds of the settings, wherever they were given.
build/settings: FORCE
	@mkdir -p build
	@printf '%s\n' "$$NAME" "$$BUCKET" "$$REGION" "$$MAINTAINER" "$$SIGNING_KEY" \
	  "$$(cat "$$SIGNING_KEY.pub" 2>&1)" >$@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(UPDATER): $(shell find scripts/autoupdate scripts/handoff -type f -name '*.py') $(wildcard packaging/*.py) packaging/bundle build/version | .venv/.ready
	@echo 'builds $@'
	@$(PYTHON) packaging/bundle --name $(NAME)-autoupdate --version '$(VERSION)' --commit '$(COMMIT)' \
	  --entry autoupdate.cli:main \
	  --source scripts/autoupdate --source scripts/handoff --output $@

.PHONY: package
package: $(PACKAGE) ## 3: the .deb, build/NAME-server.deb

$(PACKAGE): build/$(NAME) $(UPDATER) $(HELPERS) build/settings $(shell find packaging upstart -type f -not -name '*.pyc')
	@echo 'builds $@'
	@packaging/deb build/$(NAME) $(UPDATER) $(HELPERS)

.PHONY: deploy
deploy: package ## 4: sign it and publish it in the bucket
	@$(OPERATE) deploy $(if $(SEQUENCE),--sequence $(SEQUENCE)) $(PACKAGE)

.PHONY: rollback
rollback: .venv/.ready ## publish an earlier version again: make rollback [TO=1.0-57]
	@$(OPERATE) rollback $(TO)

.PHONY: releases
releases: .venv/.ready ## what the bucket keeps, for rollback
	@$(OPERATE) releases

.PHONY: status
status: .venv/.ready ## what every machine reported, as a table
	@$(OPERATE) status

.PHONY: userdata
userdata: .venv/.ready ## build/user-data, which makes a new machine serve: make userdata ROLES=web
	@$(OPERATE) userdata

.PHONY: stack
stack: .venv/.ready ## bucket, queue, roles and groups of machines in AWS: python -m operate stack --help
	@$(OPERATE) stack $(if $(RENDER),--render)

.PHONY: scale
scale: .venv/.ready ## give a group N machines: make scale ROLE=web N=4
	@$(OPERATE) scale '$(ROLE)' '$(N)'

.PHONY: machines
machines: .venv/.ready ## the machines of the groups, and what each serves
	@$(OPERATE) machines

.PHONY: demo
demo: build ## the whole life cycle on this computer, without an AWS account
	@cd scripts && ../$(PYTHON) -m develop.demo

.PHONY: run
run: build ## web and vision in the foreground on this computer; Ctrl-C ends both
	@scripts/develop/run

# As many tests at a time as there are cores; PYTEST_ADDOPTS='-n 0' for one after another.
.PHONY: test
test: build ## all tests, lint included
	@PYTEST_ADDOPTS="-n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder $$PYTEST_ADDOPTS" \
	  $(PYTHON) -m pytest

.PHONY: test-boot
test-boot: build ## the tests that boot real machines alone (2 minutes); they need root
	@$(PYTHON) -m pytest -m boot

.PHONY: lint
lint: build ## the checks of style, types, shell scripts, units and package alone
	@$(PYTHON) -m pytest -m lint

.PHONY: soak
soak: build ## restarts, kills and power cuts drawn by lot: make soak [ROUNDS=1000] [SEED=7]
	@ROUNDS='$(ROUNDS)' SEED='$(SEED)' scripts/develop/soak

.PHONY: bench
bench: build ## speed and memory beside named peers, as a table (15 minutes; the machines need root)
	@cd scripts && PYTHONPATH=../app ../$(PYTHON) -m develop.bench

.PHONY: lock
lock: .venv/.ready ## choose the newest dependencies anew, pin them with their hashes
	@scripts/develop/lock

.PHONY: clean
clean: ## remove what was built (the virtual environment stays)
	rm -rf build

.PHONY: FORCE
FORCE:
