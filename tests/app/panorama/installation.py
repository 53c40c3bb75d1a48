"""The service as it is installed: the built executable and its helper in a folder of their own.

Example::

    with installed(tmp_path) as place:
        web = place.start("web")
        assert place.health()["version"] == place.version
        place.install(place.edited("1.0-2", {"web.py": ("a text", "another")}))
        place.restart("web")
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import builds
from builds import Edits
from project import BUILD, NAME
from waiting import PATIENCE_SECONDS, wait_for

import handoff
from develop.ports import free_port
from handoff import settings_file


class Installation:
    """A folder with bin/NAME and bin/stitch, the roles that run there, and their settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.executable = folder / "bin" / NAME
        self.log = folder / "log"
        self.executable.parent.mkdir(parents=True)
        shutil.copytree(builds.unpacked().name, folder / "cache")
        shutil.copy(BUILD / NAME, self.executable)
        shutil.copy(BUILD / "stitch", self.executable.parent)
        self.port = free_port()
        self.settings_file = folder / "settings"
        self.settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "RUNTIME_DIR": str(folder / "run"),
            "STATE_DIR": str(folder / "state"),
            **settings,
        }
        self.set()
        self.environ = {
            "PATH": os.environ["PATH"],
            "CACHE_DIR": str(folder / "cache"),
            "SETTINGS_FILE": str(self.settings_file),
        }
        self.version = self.run("--version").stdout.strip()
        self._processes: list[subprocess.Popen[bytes]] = []

    def set(self, **settings: str) -> None:
        """Write the settings file, with `settings` over what is there."""
        lines = [settings_file.line(*setting) for setting in {**self.settings, **settings}.items()]
        self.settings_file.write_text("".join(lines))

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.executable, *words],
            env={**self.environ, **environ},
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start(self, role: str) -> "subprocess.Popen[bytes]":
        """Start a role as an init would, and wait until it is ready."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.executable, role], env=self.environ, stdout=log, stderr=log
            )
        self._processes.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, f"{role} has ended: {self.log.read_text()[-1000:]}"
            status = self.status(role)  # perhaps an earlier life's
            return (status.get("pid"), status.get("state")) == (process.pid, "ready")

        wait_for(is_ready, f"{role} ready")
        return process

    def status(self, role: str) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.folder / f"run/{role}.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def restart(self, role: str) -> str:
        """Restart into whatever is at the executable's place; return the version that serves.

        Raises:
            RestartError: it was refused.
        """
        return handoff.restart(self.folder / f"run/{role}.json", PATIENCE_SECONDS)

    def bound_proof(self, role: str, seconds: int) -> None:
        """Give what `role` is restarted into from now on so long to prove itself.

        The clock is the supervisor's, which reads its length when it takes over. The healthy build
        of this restart still has all the time that it may need.
        """
        self.settings["PROOF_SECONDS"] = str(seconds)
        self.set()
        self.restart(role)

    def install(self, new: Path) -> None:
        """Replace the executable as dpkg does: a rename over it."""
        aside = self.executable.with_name(f"{NAME}.dpkg-new")
        shutil.copy(new, aside)
        aside.rename(self.executable)

    def edited(self, version: str, edits: Edits) -> Path:
        return builds.edited(self.folder, version, edits)

    def edited_unpacked(self, version: str, edits: Edits) -> Path:
        return builds.edited_unpacked(self.folder, version, edits)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def health(self) -> dict[str, Any]:
        status, body = self.ask("/healthz")
        assert status == 200, body
        document: dict[str, Any] = json.loads(body)
        return document

    def wait_served_by(self, version: str) -> None:
        # The old generation may take one more connection before it sees its SIGTERM.
        wait_for(lambda: self.health()["version"] == version, f"served by {version}")

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextmanager
def installed(folder: Path, **settings: str) -> Iterator[Installation]:
    place = Installation(folder, **settings)
    try:
        yield place
    finally:
        place.stop()


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


@contextmanager
def asking(place: Installation, *paths: str) -> Iterator[list[tuple[int, bytes]]]:
    """Ask for `paths` over and over meanwhile; yield the list of answers, which has one already."""
    answers: list[tuple[int, bytes]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.01):
            for path in paths:
                try:
                    answers.append(place.ask(path))
                except OSError as error:
                    answers.append((0, str(error).encode()))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        wait_for(lambda: answers, "a first answer")
        yield answers
    finally:
        over.set()
        thread.join()
