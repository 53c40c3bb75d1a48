"""The machine as the updater sees it: what is installed, and how that changes.

Everything outside that is neither bucket, clock nor the updater's own state is
reached through here; a test that wants other worlds replaces this class.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from autoupdate import settings as settings_module
from autoupdate.build_info import IS_BUNDLE, VERSION
from autoupdate.clock import Clock
from autoupdate.errors import MachineError, SettingsError
from autoupdate.log import Log
from autoupdate.machine import dependencies, init, proof, role_status
from autoupdate.machine.dpkg import Dpkg
from autoupdate.machine.programs import run
from autoupdate.machine.role_status import RoleStatus
from autoupdate.machine.roles import Roles
from autoupdate.release.format import Release
from autoupdate.settings import Settings

_VERSION_SECONDS = 30


class Machine:
    """This machine, or one below ROOT."""

    def __init__(self, settings: Settings, clock: Clock, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._dpkg = Dpkg(
            settings.root,
            clock,
            log,
            lock_seconds=settings.lock_seconds,
            install_seconds=settings.install_seconds,
        )
        self._init = init.detect(settings.root, settings.name)
        self._roles = Roles(
            settings.roles,
            settings.runtime_dir,
            self._init,
            clock,
            log,
            ready_seconds=settings.ready_seconds,
            web_address=self._web_address,
        )

    def architecture(self) -> str:
        return self._dpkg.architecture()

    def installed_version(self) -> str | None:
        return self._dpkg.installed_version(self._settings.package)

    def has_installed(self, deb: Path, version: str) -> bool:
        """Tell whether what is installed is `deb`, which has `version`: the same files, too."""
        return self._dpkg.has_installed(deb, self._settings.package, version)

    def installed_newer_than(self, version: str) -> str | None:
        """Return the installed version if it is a newer one, else None."""
        installed = self.installed_version()
        newer = installed is not None and self._dpkg.satisfies(installed, ">>", version)
        return installed if newer else None

    def prove(self, release: Release, deb: Path) -> None:
        """Raise unless `deb` is what was signed and passes its own checks; see proof.prove."""
        proof.prove(self._settings, self._dpkg, deb, release)

    def look_through(self, release: Release, deb: Path) -> None:
        """Raise unless `deb` is what was signed, and no more; see proof.look_through."""
        proof.look_through(self._settings, self._dpkg, deb, release)

    def install_dependencies(self, deb: Path) -> None:
        """Let apt-get install what `deb` needs and is not there; raises PostponedError."""
        if not self._dpkg.is_the_system:
            return
        missing = dependencies.unmet(self._dpkg.fields(deb).depends, self._dpkg)
        if missing:
            self.install_packages(missing)

    def install_packages(self, clauses: list[str]) -> None:
        """Let apt-get install what satisfies `clauses`; raises PostponedError."""
        dependencies.install(
            clauses,
            self._log,
            lock_seconds=self._settings.lock_seconds,
            install_seconds=self._settings.install_seconds,
        )

    def packages_locked(self) -> AbstractContextManager[None]:
        """Keep other package managers out; raises PostponedError when one stays too long."""
        return self._dpkg.locked()

    def install(self, deb: Path) -> None:
        """Install `deb` over what is there; raises MachineError."""
        self._dpkg.install(deb)

    def enable(self, role: str) -> None:
        """Start a role, or the updater, now and at each boot; raises MachineError."""
        try:
            self._init.enable(role, self._settings.ready_seconds)
        except MachineError as error:
            # What it says of itself tells more than its init does.
            status = role_status.read(self._settings.runtime_dir / f"{role}.json")
            if status and status.error:
                raise MachineError(status.error) from error
            raise

    def restart_roles(self, version: str) -> list[str]:
        """Make every role serve `version`; return those that run here; raises MachineError."""
        return self._roles.restart(version)

    def role_statuses(self) -> Mapping[str, RoleStatus | None]:
        return self._roles.statuses()

    def rehearse_installed_updater(self) -> str:
        """Let the installed updater look once and act on nothing; return what is wrong, or ""."""
        installed = self._settings.updater
        if not IS_BUNDLE or not installed.exists():
            return ""
        tried = run(
            [installed, "rehearse"], seconds=self._settings.check_seconds, leave_no_child=True
        )
        return "" if tried.succeeded else tried.cause

    def become_installed_updater(self) -> None:
        """Re-execute this process as the installed updater, if that is another version.

        Raises:
            MachineError: it cannot be executed.
        """
        installed = self._settings.updater
        if not IS_BUNDLE or not installed.exists():
            return
        version = run([installed, "--version"], seconds=_VERSION_SECONDS)
        if version.succeeded and version.output.strip() == VERSION:
            return
        self._log.say(f"becomes version {version.output.strip() or 'unknown'}")
        self._execute([str(installed), *sys.argv[1:]])

    def begin_afresh(self) -> None:
        """Re-execute this process: settings are read anew."""
        installed = str(self._settings.updater)
        if IS_BUNDLE and Path(installed).exists():
            self._execute([installed, *sys.argv[1:]])
        self._execute([sys.executable, *sys.orig_argv[1:]])

    def _execute(self, command: list[str]) -> None:
        sys.stderr.flush()
        try:
            os.execv(command[0], command)
        except OSError as error:
            raise MachineError(
                f"stays {VERSION}: cannot run {command[0]}: {error.strerror}"
            ) from error

    def _web_address(self) -> tuple[str, int]:
        """Return where web listens now: an operator may have changed it since we started."""
        try:
            now = settings_module.load(self._settings.environ, self._settings.name)
        except SettingsError:
            now = self._settings
        return now.host, now.port
