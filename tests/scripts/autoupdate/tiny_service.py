"""A service's roles that keep the contract and do nothing else: what tests install starts this.

    python3 tiny_service.py PROGRAM ROLE

PROGRAM is the installed one (package_maker.py), a few lines of shell that say
its VERSION and its FAULT. In a restart they are read from the file that is then
on disk, as a supervisor would execute it: hundreds of restarts cost no interpreter.
"""

import json
import os
import re
import select
import signal
import socket
import sys
import time
from pathlib import Path


class Service:
    """One role at work."""

    def __init__(self, program: Path, role: str) -> None:
        self._program = program
        self._role = role
        self._file = Path(os.environ["RUNTIME_DIR"], f"{role}.json")
        self._version, self._fault = self._on_disk()

    def serve(self) -> None:
        # A signal's number goes into the pipe, and ends the wait below whenever it comes.
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self._publish("starting")
        waits_for: list[int | socket.socket] = [woken]
        if self._role == "web":
            waits_for.append(socket.create_server(("127.0.0.1", int(os.environ["PORT"]))))
        self._publish("ready")
        while True:
            for each in select.select(waits_for, [], [])[0]:
                if isinstance(each, socket.socket):
                    self._answer(each)
                elif os.read(each, 1)[0] == signal.SIGTERM:
                    return
                else:
                    self._restart()

    def _restart(self) -> None:
        self._publish("restarting")
        version, fault = self._on_disk()
        if fault == "restart fails":
            self._publish("failed", "GET /healthz: 500: no such table: jobs")
        elif fault == "dies":
            sys.exit(1)
        elif fault != "never ready":
            self._version, self._fault = version, fault
            self._publish("ready")

    def _answer(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            status = "500 Oh no" if self._fault == "unhealthy" else "200 OK"
            body = json.dumps({"status": "ok", "version": self._version})
            client.sendall(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())

    def _publish(self, state: str, error: str = "") -> None:
        document = {
            "role": self._role,
            "pid": os.getpid(),
            "version": self._version,
            "state": state,
            "since": f"{time.time():.6f}Z",
            "error": error,
        }
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(document))
        new.rename(self._file)

    def _on_disk(self) -> tuple[str, str]:
        """Return version and fault of the program that is now installed."""
        found = re.search(r"^VERSION='(.*)' FAULT='(.*)'$", self._program.read_text(), re.MULTILINE)
        assert found
        return found[1], found[2]


if __name__ == "__main__":
    Service(Path(sys.argv[1]), sys.argv[2]).serve()
