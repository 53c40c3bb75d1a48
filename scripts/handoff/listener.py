"""The listening socket: bound here, or passed in by the init."""

import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from handoff import protocol

BACKLOG = 2048
# After kill -9 of a supervisor its generations die with it, but not in the
# same instant: their copies of the socket keep the port for a moment.
BIND_SECONDS = 5.0


def passed_in() -> list[socket.socket]:
    """Return the sockets that the init passed in, sd_listen_fds(3); empty if none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    first = protocol.LISTEN_FDS_START
    fds = range(first, first + int(os.environ.get("LISTEN_FDS", "0")))
    sockets = [socket.socket(fileno=fd) for fd in fds]
    for passed in sockets:
        passed.set_inheritable(False)
    return sockets


def bind(address: str, log: Callable[[str], None]) -> socket.socket:
    """Bind `address`, ``HOST:PORT`` or the path of a Unix socket, and listen.

    Raises:
        OSError: not possible within BIND_SECONDS.
    """
    deadline = time.monotonic() + BIND_SECONDS
    told = False
    while True:
        try:
            return _bind_unix(address) if address.startswith("/") else _bind_tcp(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            if not told:
                log(f"{address} is in use; trying again for {BIND_SECONDS:.0f} s")
                told = True
            time.sleep(0.1)


def _bind_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier life in TIME_WAIT do not hold the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_unix(address: str) -> socket.socket:
    path = Path(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _refuse_if_served(path)
            path.unlink()
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _refuse_if_served(path: Path) -> None:
    """Raise EADDRINUSE if some process still accepts on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
