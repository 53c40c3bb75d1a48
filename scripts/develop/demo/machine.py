"""One machine of the demo: a dpkg root of its own, its updater, and an init for its roles."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from develop.demo import processes
from develop.ports import free_port
from handoff import settings_file


class Machine:
    """What user-data and the init do on a server, below a folder of its own.

    The updater is the very program that a server runs: settings tell it where
    its root is.
    """

    def __init__(self, root: Path, name: str, role: str, program: str) -> None:
        self.root = root
        self.name = name
        self.role = role
        self.port = free_port()
        self.executable = root / "usr/bin" / program
        self.log = root / "log"
        self.first_pid: int | None = None
        self._program = program
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environ: dict[str, str] = {}

    def provision(self, settings: Mapping[str, str], allowed_signers: str) -> None:
        """Lay out what cloud-init's user-data does: folders, settings, the key to trust."""
        for folder in ("etc/default", f"etc/{self._program}", "var/lib/dpkg/updates",
                       "var/lib/dpkg/info", self._run, self._state, self._cache):  # fmt: skip
            (self.root / folder).mkdir(parents=True)
        self._dpkg_status.touch()
        (self.root / "etc" / self._program / "allowed_signers").write_text(allowed_signers)
        below_root = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "ROLES": self.role,
            "RUNTIME_DIR": str(self.root / self._run),
            "STATE_DIR": str(self.root / self._state),
        }
        lines = [settings_file.line(*setting) for setting in {**settings, **below_root}.items()]
        self._settings_file.write_text("".join(lines))

    def start_updater(self, updater: Path, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        self._environ = {**environ, "SETTINGS_FILE": str(self._settings_file)}
        cache = self.root / "var/cache" / f"{self._program}-autoupdate"
        cache.mkdir()
        own = {"ROOT": str(self.root), "MACHINE": self.name, "CACHE_DIR": str(cache)}
        process = processes.start([updater], {**self._environ, **own}, self.log)
        self._processes.append(process)
        return process

    def start_role_once_installed(self) -> None:
        """Do what the init would: start the role when its package is there."""
        installed = "Status: install ok installed" in self._dpkg_status.read_text()
        if self.first_pid is None and installed:
            environ = {**self._environ, "CACHE_DIR": str(self.root / self._cache)}
            role = processes.start([self.executable, self.role], environ, self.log)
            self.first_pid = role.pid
            self._processes.append(role)

    def stop(self) -> None:
        for process in reversed(self._processes):
            processes.stop(process)

    def status(self) -> dict[str, Any]:
        """Return the role's status file, empty while there is none."""
        try:
            document: dict[str, Any] = json.loads(
                (self.root / self._run / f"{self.role}.json").read_text()
            )
        except FileNotFoundError:
            return {}
        return document

    def serves(self, version: str) -> bool:
        now = self.status()
        return now.get("version") == version and now.get("state") == "ready"

    def kept_its_pid(self) -> bool:
        """Tell whether the role's first process is still the one that the status file names."""
        return self.first_pid is not None and self.status().get("pid") == self.first_pid

    @property
    def _settings_file(self) -> Path:
        return self.root / "etc/default" / self._program

    @property
    def _dpkg_status(self) -> Path:
        return self.root / "var/lib/dpkg/status"

    @property
    def _run(self) -> str:
        return f"run/{self._program}"

    @property
    def _state(self) -> str:
        return f"var/lib/{self._program}"

    @property
    def _cache(self) -> str:
        return f"var/cache/{self._program}"
