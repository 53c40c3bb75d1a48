"""The promise, in short: 64 clients of six habits, restarts, and nothing lost.

`make bench` is the long form, beside gunicorn's own ways.
"""

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from project import NAME

from develop.bench.load import Load
from develop.bench.restarts import measure
from develop.bench.services import Application, Slipway


def test_no_request_is_lost_over_restarts_under_64_clients(tmp_path: Path) -> None:
    outcome = measure(Slipway, Application(tmp_path, NAME), restarts=6, idle_seconds=6)
    assert outcome.lost == []
    assert outcome.sent > 2000
    assert outcome.same_pid


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_clients_count_what_is_not_a_whole_good_answer_as_lost(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(65536) == b"stop":
                        return
                    connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        load = Load(listener.getsockname()[1], 1)
        load.run(lambda: subprocess.run(["sleep", "1"], check=True))
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"stop")
        server.join()
    assert load.sent > 10
    assert len(load.lost) == load.sent
