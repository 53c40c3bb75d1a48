"""ROLE.json: what a role's supervisor says of itself, and whether to believe it.

The service writes it, and runs with fewer rights than the updater: the file is
parsed within bounds, and the process that it names is only ever signalled if
it belongs to whoever owns the file.
"""

import http.client
import json
import os
import re
import signal
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from autoupdate.time_limit import time_limit

_MAX_BYTES = 1 << 16
_STATES = frozenset({"starting", "ready", "restarting", "draining", "failed"})
_HEALTH_SECONDS = 5


@dataclass(frozen=True)
class RoleStatus:
    """One reading of ROLE.json."""

    pid: int
    version: str  # of what serves
    state: str
    since: str
    error: str
    owner: int  # user ID that owns the file


def read(path: Path) -> RoleStatus | None:
    """Return what ROLE.json says; None if there is none, or nothing that makes sense."""
    try:
        # Not a link to another's file, not a pipe that blocks for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        return parse(os.read(fd, _MAX_BYTES), found.st_uid)
    finally:
        os.close(fd)


def parse(document: bytes, owner: int) -> RoleStatus | None:
    """Return the status that `document` spells, or None."""
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    pid, state = fields.get("pid"), fields.get("state")
    texts = {name: str(fields.get(name, ""))[:400] for name in ("version", "since", "error")}
    # pid 1 is the init, whoever claims it.
    if not isinstance(pid, int) or isinstance(pid, bool) or not 1 < pid < 2**31:
        return None
    if state not in _STATES:
        return None
    return RoleStatus(pid=pid, state=str(state), owner=owner, **texts)


def is_alive(status: RoleStatus) -> bool:
    """Tell whether the process that the file names runs and belongs to the file's owner."""
    try:
        proc = Path(f"/proc/{status.pid}/status").read_text()
    except OSError:
        return False
    uid = re.search(r"^Uid:\t(\d+)", proc, re.MULTILINE)
    state = re.search(r"^State:\t(\w)", proc, re.MULTILINE)
    return bool(uid and state and int(uid[1]) == status.owner and state[1] not in "ZX")


def send_usr2(status: RoleStatus) -> bool:
    """Send SIGUSR2 to the process that the file names, if it is the owner's; tell whether."""
    try:
        # The descriptor is of one process, even if the number is given to
        # another between the look and the signal (pidfd_open(2)).
        pidfd = os.pidfd_open(status.pid)
    except OSError:
        return False
    try:
        if not is_alive(status):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGUSR2)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def ask_health(host: str, port: int) -> str:
    """Return the version that ``GET /healthz`` answers on HOST:PORT, or on the socket HOST.

    Raises:
        OSError: no connection, or no answer in time.
        ValueError: another answer than expected; the message says which.
    """
    # A listener on every address is asked on this machine's own.
    any_address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    bare = host.strip("[]")
    connection = http.client.HTTPConnection(any_address.get(bare, bare), port)
    try:
        with time_limit(_HEALTH_SECONDS):
            if host.startswith("/"):
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(host)
            connection.request("GET", "/healthz", headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read(_MAX_BYTES)
    except http.client.HTTPException as error:
        raise ValueError(f"no answer in HTTP: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ValueError(f"{response.status}: {body[:200].decode(errors='replace')}")
    try:
        return str(json.loads(body)["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("no version in the answer") from error
