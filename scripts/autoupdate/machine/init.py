"""The init that started the roles: systemd, Upstart, or none that anybody knows.

It knows each role's main process better than any file does, and starts a role
that is enabled but not running. Nothing is ever stopped or restarted here.
"""

import re
from enum import Enum
from pathlib import Path
from typing import Protocol

from autoupdate.errors import MachineError
from autoupdate.machine import role_status
from autoupdate.machine.programs import Ended, run
from autoupdate.machine.role_status import RoleStatus

_SECONDS = 60
INITCTL = "/sbin/initctl"


class Told(Enum):
    """What became of telling a role to restart."""

    SIGNALLED = "signalled"
    STARTED = "started"
    NOT_YET = "not yet"  # it is only starting or ending: a signal now could kill it, or nobody
    ABSENT = "absent"


class Init(Protocol):
    """Makes a role run the executable now on disk."""

    name: str
    respawns: bool  # it starts a role that has ended

    def tell(self, role: str, status: RoleStatus | None) -> Told:
        """Send SIGUSR2 to the role's main process, or start the role.

        `status` is what ROLE.json says now; that file appears when the role's
        signal handlers are in place.

        Raises:
            MachineError: the init does not do what it is asked.
        """

    def enable(self, role: str, seconds: float) -> None:
        """Start the role now, and from now on whenever the machine boots.

        Returns when it is ready, where the init can tell that.

        Raises:
            MachineError: it does not start within `seconds`.
        """


def detect(root: Path, service: str) -> Init:
    """Return the init that looks after the roles below `root`."""
    if root == Path("/"):
        # sd_booted(3)
        if Path("/run/systemd/system").is_dir():
            return Systemd(service)
        if Path(INITCTL).exists() and "upstart" in _initctl("version").output:
            return Upstart(service)
    return NoInit()


class Systemd:
    """The roles are units, SERVICE-ROLE.service."""

    name = "systemd"
    respawns = True

    def __init__(self, service: str) -> None:
        self._service = service

    def tell(self, role: str, status: RoleStatus | None) -> Told:
        unit = f"{self._service}-{role}.service"
        properties = self._properties(unit)
        if properties["LoadState"] != "loaded":
            return Told.ABSENT
        if properties["ActiveState"] in {"inactive", "failed"}:
            if not properties["UnitFileState"].startswith("enabled"):
                return Told.ABSENT
            # After too many failures systemd starts it only once that is forgotten.
            self._systemctl("reset-failed", unit)
            self._systemctl("start", "--no-block", unit)
            return Told.STARTED
        if not status or str(status.pid) != properties["MainPID"]:
            return Told.NOT_YET
        try:
            # Without --kill-who=main every process of the unit would get it.
            self._systemctl("kill", "--kill-who=main", "--signal=SIGUSR2", unit)
        except MachineError:
            if self._properties(unit)["MainPID"] == properties["MainPID"]:
                raise
            return Told.NOT_YET  # it has ended just now
        return Told.SIGNALLED

    def enable(self, role: str, seconds: float) -> None:
        self._systemctl("enable", "--now", f"{self._service}-{role}.service", seconds=seconds)

    def _properties(self, unit: str) -> dict[str, str]:
        names = ("LoadState", "ActiveState", "UnitFileState", "MainPID")
        output = self._systemctl("show", f"--property={','.join(names)}", unit).output
        found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return {name: found.get(name, "") for name in names}

    @staticmethod
    def _systemctl(*words: str, seconds: float = _SECONDS) -> Ended:
        ended = run(["systemctl", "--no-pager", "--no-ask-password", *words], seconds=seconds)
        if not ended.succeeded:
            raise MachineError(f"systemctl {words[0]} {words[-1]} failed: {ended.cause}")
        return ended


class Upstart:
    """The roles are jobs, SERVICE-ROLE."""

    name = "upstart"
    respawns = True

    def __init__(self, service: str) -> None:
        self._service = service

    def tell(self, role: str, status: RoleStatus | None) -> Told:
        job = f"{self._service}-{role}"
        answer = _initctl("status", job)
        if not answer.succeeded:
            return Told.ABSENT
        if "stop/waiting" in answer.output:
            started = _initctl("start", "--no-wait", job)
            if not started.succeeded:
                raise MachineError(f"initctl start {job} failed: {started.cause}")
            return Told.STARTED
        process = re.search(r"start/running, process (\d+)", answer.output)
        if not process or not status or str(status.pid) != process[1]:
            return Told.NOT_YET
        return Told.SIGNALLED if role_status.send_usr2(status) else Told.NOT_YET

    def enable(self, role: str, seconds: float) -> None:
        # The job's own `start on` is what starts it at each boot.
        job = f"{self._service}-{role}"
        if "start/" in _initctl("status", job).output:
            return
        started = _initctl("start", job, seconds=seconds)
        if not started.succeeded:
            raise MachineError(f"initctl start {job} failed: {started.cause}")


class NoInit:
    """Somebody else starts the roles; ROLE.json alone says where they are."""

    name = "none"
    respawns = False

    def tell(self, role: str, status: RoleStatus | None) -> Told:
        if status and role_status.send_usr2(status):
            return Told.SIGNALLED
        return Told.ABSENT

    def enable(self, role: str, seconds: float) -> None:
        raise MachineError("no init that this program knows looks after this machine")


def _initctl(*words: str, seconds: float = _SECONDS) -> Ended:
    return run([INITCTL, *words], seconds=seconds)
