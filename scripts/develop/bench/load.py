"""Clients of a web service that never retry: a process of its own, so that it measures itself.

    python -m develop.bench.load PORT SECONDS_IDLE      until its standard input closes

Then it prints one JSON object: requests sent, what was lost, and for each quick
request when it began (time.monotonic) and how long it took, in seconds. Every
client is a thread with one habit; together they are what meets a restart in
production.
"""

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 30

QUICK = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
QUICK_CLOSE = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
SLOW_ANSWER = b"GET /slow HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
BODY = b"x" * 2000
SLOW_BODY = (
    b"POST /api/panoramas HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2000\r\n\r\n"
)
BODY_PIECES = 5
PIECE_SECONDS = 0.25

PAUSE_SECONDS = 0.03  # of the quick clients: a service at its limit would measure queues


class LostError(Exception):
    """A request had no whole answer."""


class Load:
    """What all clients have seen."""

    def __init__(self, port: int, idle_seconds: float) -> None:
        self._address = ("127.0.0.1", port)
        self._idle_seconds = idle_seconds
        self._over = threading.Event()
        self.sent = 0
        self.lost: list[tuple[str, str]] = []
        self.quick: list[tuple[float, float]] = []

    def run(self, until: Callable[[], object]) -> None:
        """Let 64 clients ask until `until` returns."""
        habits = {
            self.keeps: 24, self.pools: 12, self.prepares: 4, self.opens: 12, self.uploads: 6,
            self.waits: 6,
        }  # fmt: skip
        threads = [
            threading.Thread(target=habit) for habit, count in habits.items() for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        until()
        self._over.set()
        for thread in threads:
            thread.join()

    # The habits

    def keeps(self) -> None:
        """Keep one connection busy, and look whether the server has closed it before each use."""
        connection: socket.socket | None = None
        while not self._over.wait(random.uniform(0, 2 * PAUSE_SECONDS)):  # noqa: S311
            if connection and _is_closed(connection):
                connection.close()
                connection = None
            connection = self._count("keeps", QUICK, connection)

    def pools(self) -> None:
        """Keep one connection idle for long, and never look: as a load balancer's pool does."""
        connection: socket.socket | None = None
        while not self._over.wait(random.uniform(0, self._idle_seconds)):  # noqa: S311
            connection = self._count("pools", QUICK, connection)

    def prepares(self) -> None:
        """Open a connection long before its first request, as browsers do."""
        while not self._over.is_set():
            try:
                connection = socket.create_connection(self._address, TIMEOUT_SECONDS)
            except OSError as error:
                self.sent += 1
                self.lost.append(("prepares", f"{type(error).__name__}: {error}"))
                continue
            self._over.wait(random.uniform(0, 5 + self._idle_seconds))  # noqa: S311
            self._count("prepares", QUICK_CLOSE, connection)

    def opens(self) -> None:
        """Open a connection for each request."""
        while not self._over.wait(random.uniform(0, 2 * PAUSE_SECONDS)):  # noqa: S311
            self._count("opens", QUICK_CLOSE)

    def uploads(self) -> None:
        """Send a body slowly."""
        pieces = [BODY[start::BODY_PIECES] for start in range(BODY_PIECES)]
        while not self._over.is_set():
            self._count("uploads", SLOW_BODY, pieces=pieces)

    def waits(self) -> None:
        """Ask for what takes 1.5 s."""
        while not self._over.is_set():
            self._count("waits", SLOW_ANSWER)

    def _count(
        self,
        habit: str,
        request: bytes,
        connection: socket.socket | None = None,
        pieces: list[bytes] | None = None,
    ) -> socket.socket | None:
        """Ask once; return the connection if it may be used again."""
        began = time.monotonic()
        self.sent += 1
        try:
            connection = connection or socket.create_connection(self._address, TIMEOUT_SECONDS)
            connection.sendall(request)
            for piece in pieces or []:
                time.sleep(PIECE_SECONDS)
                connection.sendall(piece)
            stays_open = read_answer(connection)
        except (OSError, LostError) as error:
            self.lost.append((habit, f"{type(error).__name__}: {error}"))
            stays_open = False
        else:
            if request in {QUICK, QUICK_CLOSE}:
                self.quick.append((began, time.monotonic() - began))
        if stays_open:
            return connection
        if connection:
            connection.close()
        return None


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT_SECONDS)


def read_answer(connection: socket.socket) -> bool:
    """Read one answer; tell whether the connection stays open.

    Raises:
        LostError: it is none, is not whole, or is a server's error.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        received += _read(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status >= 500:
        raise LostError(f"status {status}")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(headers[b"content-length"])
    while len(body) < length:
        body += _read(connection)
    return headers.get(b"connection") != b"close"


def _read(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise LostError("closed before the answer")
    return data


def main() -> int:
    load = Load(int(sys.argv[1]), float(sys.argv[2]))
    load.run(sys.stdin.read)
    json.dump({"sent": load.sent, "lost": load.lost, "quick": load.quick}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
