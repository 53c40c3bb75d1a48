"""One machine below a folder: real dpkg, real processes, and a bucket in memory.

Example::

    machine = OneMachine(tmp_path)
    machine.publish(machine.package("1.0-1"), sequence=1)
    assert machine.look() is None
    assert machine.installed() == "1.0-1"
"""

import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clocks import PatientClock
from package_maker import NAME, Key, Package, build_package, signed
from simulated_bucket import SimulatedBucket
from waiting import wait_for

from autoupdate import settings
from autoupdate.clock import Clock
from autoupdate.errors import AutoupdateError
from autoupdate.journal.state import State
from autoupdate.journal.state_folder import StateFolder
from autoupdate.log import Log
from autoupdate.machine.machine import Machine
from autoupdate.settings import Settings
from autoupdate.updater import Updater
from develop.ports import free_port

RELEASE_KEY = f"stable/{NAME}-server.deb"


class OneMachine:
    """A root, the keys it trusts, its updater, and its roles."""

    def __init__(self, folder: Path, like: "OneMachine | None" = None, **environ: str) -> None:
        """Make an empty machine, or a copy of one that runs nothing."""
        self.root = folder / "root"
        self.bucket = SimulatedBucket()
        if like:
            shutil.copytree(like.root, self.root, symlinks=True)
            self.bucket.copy_objects_of(like.bucket)
            self.key: Key = like.key
        else:
            for each in ("var/lib", f"run/{NAME}", f"etc/{NAME}", "etc/default"):
                (self.root / each).mkdir(parents=True)
            self.key = Key.make(folder / "key")
            (self.root / f"etc/{NAME}/allowed_signers").write_text(self.key.line())
        self.clock: Clock = PatientClock()
        self.port = free_port()
        self.environ = {
            "PATH": os.environ["PATH"],
            "ROOT": str(self.root),
            "BUCKET": "a-bucket",
            "MACHINE": "web-1",
            "ROLES": "web",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "RUNTIME_DIR": str(self.root / f"run/{NAME}"),
            # Of a bucket that is reached over HTTP; it looks at no signature.
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            **environ,
        }
        self.log_file = folder / "log"  # of updaters that are processes of their own
        self._folder = folder
        self._log = io.StringIO()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.restart_updater()

    # The operator

    def package(self, version: str, **how: Any) -> Package:
        how.setdefault("allowed_signers", self.key.line())
        return build_package(self._folder, version, **how)

    def publish(self, package: Package, /, sequence: int, **fields: object) -> None:
        """Sign and upload; `fields` are what the release says untruly."""
        metadata = signed(package.release(sequence, **fields), self.key)
        self.bucket.put(RELEASE_KEY, package.body, metadata)

    # The updater

    @property
    def settings(self) -> Settings:
        return settings.load(self.environ)

    def restart_updater(self) -> None:
        """Begin anew with nothing but what is on disk."""
        log = Log("autoupdate", self._log)
        self.folder = StateFolder(self.settings.state_dir)
        with self.folder.locked():
            self.folder.load()
        machine = Machine(self.settings, self.clock, log)
        self.updater = Updater(self.settings, self.bucket, machine, self.folder, self.clock, log)

    def look(self) -> AutoupdateError | None:
        return self.updater.look()

    @property
    def state(self) -> State:
        on_disk = StateFolder(self.settings.state_dir)
        on_disk.load()
        return on_disk.state

    def log_lines(self) -> list[str]:
        return self._log.getvalue().splitlines()

    def report(self) -> dict[str, Any]:
        """Return the latest report."""
        report: dict[str, Any] = json.loads(self.bucket.reports[-1])
        return report

    # What is on the machine

    def dpkg_says(self, package: str = f"{NAME}-server") -> str:
        """Return status and version by dpkg's own database; "" if it knows nothing."""
        database = f"--admindir={self.root}/var/lib/dpkg"
        query = ["dpkg-query", database, "-W", "-f=${db:Status-Status} ${Version}", package]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout

    def installed(self) -> str:
        status, _, version = self.dpkg_says().partition(" ")
        return version if status == "installed" else ""

    def start(self, role: str = "web") -> "subprocess.Popen[bytes]":
        """Start a role as an init would, and wait until it is ready."""
        command = [str(self.root / "usr/bin" / NAME), role]
        process = subprocess.Popen(command, env=self.environ, start_new_session=True)
        self._processes.append(process)
        wait_for(lambda: self.role(role).get("state") == "ready", f"{role} ready")
        return process

    def role(self, role: str = "web") -> dict[str, Any]:
        """Return what ROLE.json says, empty if there is none."""
        try:
            text = (self.root / f"run/{NAME}/{role}.json").read_text()
        except FileNotFoundError:
            return {}
        status: dict[str, Any] = json.loads(text)
        return status

    def stop(self) -> None:
        for process in self._processes:
            # Its children too: it may have been about to prove a build that hangs.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def one_machine(
    folder: Path, like: OneMachine | None = None, **environ: str
) -> Iterator[OneMachine]:
    machine = OneMachine(folder, like, **environ)
    try:
        yield machine
    finally:
        machine.stop()
