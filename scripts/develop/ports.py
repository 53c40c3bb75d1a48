"""Ports for servers of the demo, the bench and the tests."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port on which nobody listens.

    Below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range), of
    which another process might get this one before it is listened on.
    """
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311  # nothing secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
