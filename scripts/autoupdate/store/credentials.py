"""Credentials: found where the AWS libraries find them on a server, and refreshed in time.

In this order: the environment, the shared credentials file, a container's
provider, the instance profile. Left out is what no server has: profiles that
assume roles, SSO, processes.

Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers".
"""

import configparser
import http.client
import ipaddress
import os
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from autoupdate.errors import BucketError
from autoupdate.store import metadata
from autoupdate.store.keys import Keys, Temporary
from autoupdate.store.metadata import MetadataError
from autoupdate.time_limit import time_limit

# botocore's: refreshed when so little is left. The service gives new ones before that.
REFRESH_SECONDS = 15 * 60
# Where no new ones are to be had, the old ones are used meanwhile, and it is asked again.
RETRY_SECONDS = 60

_CONTAINER_ADDRESS = "http://169.254.170.2"  # of ECS
_CONTAINER_SECONDS = 2
# What a token may be sent to without TLS (Container credential provider, "Host").
_CONTAINER_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
_MAX_BYTES = 1 << 16


class Credentials:
    """Finds credentials, and finds them anew before they end or when their file has changed."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._found: Temporary | None = None
        # By a clock that nobody sets: the day's may be set back by a year after a boot.
        self._ask_again_at = 0.0

    def get(self) -> Keys:
        """Return keys that are valid now.

        Raises:
            BucketError: there are none, or they could not be refreshed.
        """
        # Cheap to look at, and whoever rotates them expects it.
        try:
            keys = from_environment(os.environ) or from_file(os.environ)
        except ValueError as error:
            raise BucketError(f"cannot use the AWS credentials: {error}", reached=False) from error
        if keys:
            return keys
        if self._found is None or self._is_old(self._found):
            self._refresh()
        assert self._found  # noqa: S101  # _refresh raises otherwise
        return self._found.keys

    def _is_old(self, found: Temporary) -> bool:
        if self._monotonic() < self._ask_again_at:
            return False
        return self._now() >= found.expires - REFRESH_SECONDS

    def _refresh(self) -> None:
        find = from_container if _container_url(os.environ) else metadata.profile_keys
        try:
            self._found = find()
        except (MetadataError, OSError, http.client.HTTPException, ValueError) as error:
            old = self._found
            if old is None or self._now() >= old.expires:
                self._found = None
                raise BucketError(
                    f"no AWS credentials: {error}; give the instance a profile, or set "
                    "AWS_ACCESS_KEY_ID",
                    reached=False,
                ) from error
            left = old.expires - self._now()
            self._ask_again_at = self._monotonic() + min(RETRY_SECONDS, left)
            return
        # The service hands out keys that end soon, or have ended, in an outage of its own.
        self._ask_again_at = self._monotonic() + RETRY_SECONDS


def from_environment(environ: Mapping[str, str]) -> Keys | None:
    """Return the keys in the environment, None if there are none.

    Raises:
        ValueError: there is half a pair; another identity is not what was meant.
    """
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    access, secret = (environ.get(name) for name in names)
    if not access and not secret:
        return None
    if not access or not secret:
        raise ValueError(f"{names[bool(access)]} is not set, and the other half of the pair is")
    return Keys(access, secret, environ.get("AWS_SESSION_TOKEN", ""))


def from_file(environ: Mapping[str, str]) -> Keys | None:
    """Return the keys of AWS_PROFILE in the shared credentials file, None if it has none.

    Raises:
        BucketError: the file cannot be read.
    """
    path = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    try:
        path = path.expanduser()
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: no home folder
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BucketError(f"cannot read {path}: {error}", reached=False) from error
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        first = str(error).splitlines()[0]
        raise BucketError(f"cannot understand {path}: {first}", reached=False) from error
    profile = environ.get("AWS_PROFILE") or "default"
    found = dict(parser.items(profile)) if parser.has_section(profile) else {}
    access, secret = found.get("aws_access_key_id"), found.get("aws_secret_access_key")
    return Keys(access, secret, found.get("aws_session_token", "")) if access and secret else None


def from_container() -> Temporary:
    """Return the keys that a container's agent gives (ECS, EKS Pod Identity, Greengrass).

    Raises:
        OSError, http.client.HTTPException, ValueError: it gives none.
    """
    url = urllib.parse.urlsplit(_container_url(os.environ))
    _refuse_open_line(url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=_CONTAINER_SECONDS)
    token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if file := os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        token = Path(file).read_text().strip()
    target = url._replace(scheme="", netloc="").geturl() or "/"
    try:
        with time_limit(_CONTAINER_SECONDS):
            connection.request("GET", target, headers={"Authorization": token} if token else {})
            response = connection.getresponse()
            body = response.read(_MAX_BYTES).decode()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ValueError(f"the container's provider answers {response.status}")
    return Temporary.parse(body)


def _container_url(environ: Mapping[str, str]) -> str:
    if relative := environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return f"{_CONTAINER_ADDRESS}{relative}"
    return environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")


def _refuse_open_line(url: urllib.parse.SplitResult) -> None:
    """Raise ValueError for a URL by which the token would cross a network unencrypted."""
    host = url.hostname or ""
    if url.scheme == "https" or host in (*_CONTAINER_HOSTS, "localhost"):
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:  # a name; told of below
        host = host or "nowhere"
    raise ValueError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI leads to {host} without TLS")
