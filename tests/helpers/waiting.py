"""Waiting for other processes: by looking, never by sleeping for as long as it might take."""

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

# So long only when something is broken; it bounds how long that takes to be told.
PATIENCE_SECONDS = 60


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds; fail with `what` when it does not come to hold."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """Return a port on which nobody listens.

    Below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range), of
    which another process might get this one before it is listened on.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
