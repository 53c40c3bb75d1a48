"""A program under the supervisor, small enough to be rewritten by a test between two restarts.

It answers every connection with its version and process ID, after as many
seconds as the client asks for. `write_build` puts one build of it on disk.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project import ROOT
from waiting import wait_for

from develop.ports import free_port

SCRIPTS = ROOT / "scripts"

BUILD = """\
#!{python} -IS
import os, signal, socket, sys, threading, time
sys.path.insert(0, {scripts!r})
from pathlib import Path
from handoff import Generation, HandoffError, Role, Supervisor

VERSION = {version!r}
{before_supervisor}
generation = Generation.from_environ(os.environ)
if generation is None:
    role = Role("web", [os.path.abspath({path!r}), "web"], Path(os.environ["STATUS_FILE"]),
                address=os.environ.get("ADDRESS"),
                grace_seconds=float(os.environ.get("GRACE", "20")),
                proof_seconds=float(os.environ.get("PROOF", "20")), log_prefix="echo")
    try:
        sys.exit(Supervisor(role).run())
    except HandoffError as error:
        sys.exit(f"echo: {{error}}")

stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
becomes = [sys.executable, "-IS", os.path.abspath({path!r}), "web", "--as", VERSION]
generation.supervisor(becomes, {{}})
{before_ready}
generation.ready(VERSION)
if not generation.wait_accepted():
    sys.exit(0)

def answer(connection):
    with connection:
        seconds = float(connection.recv(100).decode() or "0")
        time.sleep(seconds)
        connection.sendall(f"{{VERSION}} {{os.getpid()}}".encode())

threads = []
[listener] = generation.listeners()
listener.settimeout(0.05)
while not stopping.is_set():
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    connection.setblocking(True)
    threads.append(threading.Thread(target=answer, args=(connection,)))
    threads[-1].start()
listener.close()
for thread in threads:
    thread.join()
"""


def write_build(
    path: Path,
    version: str,
    *,
    before_ready: str = "",
    before_supervisor: str = "",
    aside: Path | None = None,
) -> None:
    """Replace the executable at `path`, as dpkg does: write beside it, rename.

    Args:
        aside: where to leave it instead, for another to rename.
    """
    new = path.with_suffix(".new")
    new.write_text(
        BUILD.format(
            python=sys.executable,
            scripts=str(SCRIPTS),
            path=str(path),
            version=version,
            before_ready=before_ready,
            before_supervisor=before_supervisor,
        )
    )
    new.chmod(0o755)
    new.replace(aside or path)


@dataclass
class EchoService:
    """One running supervisor, and what a client and an operator can see of it."""

    program: Path
    status_file: Path
    address: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {}
        return document

    def connect(self) -> socket.socket:
        if self.address.startswith("/"):
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.address)
            return client
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def ask(self, seconds: float = 0) -> str:
        """Return the version that answered."""
        with self.connect() as client:
            client.sendall(str(seconds).encode())
            return client.recv(100).decode().split()[0]

    def wait_served_by(self, version: str) -> None:
        # The old generation may take one more connection before it sees its SIGTERM.
        wait_for(lambda: self.ask() == version, f"served by {version}")

    def wait_status(self, **wanted: str) -> None:
        def reached() -> bool:
            now = self.status()
            return all(now.get(name) == value for name, value in wanted.items())

        try:
            wait_for(reached, f"{wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; status {self.status()}; log:\n{self.log()}") from None

    def restart(self) -> None:
        os.kill(self.pid, signal.SIGUSR2)

    def restart_and_wait(self, version: str) -> None:
        self.restart()
        self.wait_status(version=version, state="ready")

    def generations(self) -> list[int]:
        """Return the process IDs of the supervisor's children."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def log(self) -> str:
        return self.status_file.with_suffix(".log").read_text()


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


@contextmanager
def running(
    folder: Path, *, address: str | None = None, wait: bool = True, **environ: str
) -> Iterator[EchoService]:
    """Run the build at `folder`/program until the block ends."""
    program, status_file = folder / "program", folder / "web.json"
    address = address or free_address()
    with status_file.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(
            [program, "web"],
            env={
                "PATH": os.environ["PATH"],
                "STATUS_FILE": str(status_file),
                "ADDRESS": address,
                **environ,
            },
            stderr=log,
        )
    service = EchoService(program, status_file, address, process)
    try:
        if wait:
            # An earlier life may have left its status behind.
            wait_for(lambda: service.status().get("pid") == service.pid, "its own status")
            service.wait_status(state="ready")
        yield service
    finally:
        process.kill()
        process.wait()
