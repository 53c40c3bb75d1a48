"""Ports for servers of the demo, the bench and the tests."""

import random
import socket
from collections import deque

# So many ports stay reserved; whoever asked for an earlier one has begun to listen, or is done.
_KEPT = 100
_reserved: deque[socket.socket] = deque()


def free_port() -> int:
    """Return a port that nobody has, and that no other process gets from this function.

    Below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range), of
    which another process might get this one before it is listened on.
    """
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311  # nothing secret
        reservation = socket.socket()
        try:
            # Without SO_REUSEADDR: refused while anybody is bound there, listening or not.
            reservation.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        # Bound it stays, but lets a server bind that has the option set, too (socket(7)).
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(reservation)
        if len(_reserved) > _KEPT:
            _reserved.popleft().close()
        return port
