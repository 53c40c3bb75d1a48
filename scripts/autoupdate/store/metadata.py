"""The instance metadata service of EC2: what a machine is told of itself, by IMDSv2 alone.

Source: Amazon EC2 User Guide, "Use the Instance Metadata Service to access
instance metadata" and "Retrieve security credentials from instance metadata".
"""

import http.client
import os
import re
import urllib.parse

from autoupdate.store.keys import Temporary
from autoupdate.time_limit import time_limit

ADDRESS = "http://169.254.169.254"
_TOKEN_SECONDS = 300

# It is one hop away, and answers in milliseconds unless the machine itself is slow.
SECONDS = 2
ATTEMPTS = 2

_MAX_BYTES = 1 << 16


class MetadataError(Exception):
    """It does not answer, or not with what was asked; the message says how."""


class Session:
    """One token's worth of questions."""

    def __init__(self) -> None:
        """Ask for the token.

        Raises:
            MetadataError: there is none.
        """
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise MetadataError("AWS_EC2_METADATA_DISABLED is set")
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        self._token = _ask("PUT", "/latest/api/token", ttl)

    def get(self, path: str) -> str:
        """Return what is at ``/latest/meta-data/`` `path`.

        Raises:
            MetadataError: nothing is.
        """
        token = {"X-aws-ec2-metadata-token": self._token}
        return _ask("GET", f"/latest/meta-data/{path}", token)


def profile_keys() -> Temporary:
    """Return the keys of the role in the machine's instance profile.

    Raises:
        MetadataError, ValueError: there are none, or not yet.
    """
    session, path = Session(), "iam/security-credentials/"
    role = session.get(path).split("\n")[0].strip()
    return Temporary.parse(session.get(f"{path}{role}"))


def instance_id() -> str:
    """Return this machine's name in EC2, ``i-…``.

    Raises:
        MetadataError: the service does not say.
    """
    found = Session().get("instance-id")
    if not re.fullmatch(r"i-[0-9a-z]+", found):
        raise MetadataError(f"the metadata service says that this is instance {found!r:.80}")
    return found


def _ask(method: str, path: str, headers: dict[str, str]) -> str:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            # Of the whole answer: a socket's time-out is of each byte.
            with time_limit(SECONDS):
                return _ask_once(method, path, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if attempt == ATTEMPTS:
                said = str(error) or type(error).__name__
                raise MetadataError(f"the metadata service does not answer: {said:.200}") from error
    raise AssertionError  # ATTEMPTS is not 0


def _ask_once(method: str, path: str, headers: dict[str, str]) -> str:
    address = urllib.parse.urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ADDRESS)
    connection = http.client.HTTPConnection(address.netloc, timeout=SECONDS)
    try:
        connection.request(method, address.path.rstrip("/") + path, headers=headers)
        response = connection.getresponse()
        body = response.read(_MAX_BYTES).decode()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise MetadataError(f"the metadata service answers {response.status} to {method} {path}")
    return body
