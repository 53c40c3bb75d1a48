"""The roles of this machine: told to restart, and watched until they are ready."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from autoupdate.clock import Clock
from autoupdate.errors import MachineError, StoppedError
from autoupdate.log import Log
from autoupdate.machine import role_status
from autoupdate.machine.init import Init, Told
from autoupdate.machine.role_status import RoleStatus

_TICK_SECONDS = 0.1

# The role of which /healthz is asked too.
WEB = "web"


class Roles:
    """The roles that this machine runs."""

    def __init__(
        self,
        names: tuple[str, ...],
        runtime_dir: Path,
        init: Init,
        clock: Clock,
        log: Log,
        *,
        ready_seconds: float,
        web_address: Callable[[], tuple[str, int]],
    ) -> None:
        self._names = names
        self._runtime_dir = runtime_dir
        self._init = init
        self._clock = clock
        self._log = log
        self._ready_seconds = ready_seconds
        self._web_address = web_address

    def statuses(self) -> Mapping[str, RoleStatus | None]:
        """Return what each role says of itself now; of a dead one, that it has ended."""
        found = {name: self._status(name) for name in self._names}
        return {
            name: replace(status, state="ended")
            if status and not role_status.is_alive(status)
            else status
            for name, status in found.items()
        }

    def restart(self, version: str) -> list[str]:
        """Make every role serve `version`: SIGUSR2 or start, then wait.

        A role that nobody runs and no init is to start is left alone. Returns
        the names of the others, all ready.

        Raises:
            MachineError: a role refused, ended, or was not ready in time.
            StoppedError: told to stop first, as at a shutdown, which ends the roles too.
        """
        restarts = [_Restart(name, version) for name in self._names]
        deadline = self._clock.monotonic() + self._ready_seconds
        while True:
            if self._clock.stop_wanted:
                raise StoppedError("told to stop while the roles restart")
            for each in restarts:
                if not each.over:
                    self._advance(each)
            late = next((each for each in restarts if not each.over), None)
            if late is None:
                return [each.name for each in restarts if each.told is not Told.ABSENT]
            if self._clock.monotonic() > deadline:
                limit = f"{self._ready_seconds:.0f} s"
                raise MachineError(f"role {late.name} was not ready within {limit}: {late.wants}")
            self._clock.rest(_TICK_SECONDS)

    def _advance(self, restart: "_Restart") -> None:
        status = self._status(restart.name)
        if restart.told is Told.NOT_YET:
            restart.before = status
            restart.told = self._init.tell(restart.name, status)
            if restart.told is Told.ABSENT:
                self._log.say(f"role {restart.name} does not run here, and no init is to start it")
            return
        restart.look(status, respawns=self._init.respawns)
        if not restart.wants and restart.name == WEB:
            restart.wants = self._ask_health(restart.version)

    def _ask_health(self, version: str) -> str:
        """Return what /healthz lacks, "" if nothing."""
        try:
            answered = role_status.ask_health(*self._web_address())
        except (OSError, ValueError) as error:
            return f"GET /healthz: {error}"
        return "" if answered == version else f"GET /healthz answers version {answered:.64}"

    def _status(self, name: str) -> RoleStatus | None:
        return role_status.read(self._runtime_dir / f"{name}.json")


class _Restart:
    """One role on its way to one version."""

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.told = Told.NOT_YET
        self.before: RoleStatus | None = None
        self.wants = "it is not running yet"  # what is missing; "": nothing
        self._failed_since = ""

    @property
    def over(self) -> bool:
        return self.told is Told.ABSENT or (self.told is not Told.NOT_YET and not self.wants)

    def look(self, status: RoleStatus | None, *, respawns: bool) -> None:
        """Judge what the role says now.

        Raises:
            MachineError: it refused to restart, or ended and nobody starts it.
        """
        if status is None:
            self.wants = "it has no status file"
            return
        if not role_status.is_alive(status):
            self.wants = f"process {status.pid} has ended"
            if not respawns:
                raise MachineError(f"role {self.name} ended in its restart: {status.error or '?'}")
            return
        self.wants = f"it is {status.state}, version {status.version or 'none'}"
        if status.error:
            self.wants += f": {status.error}"
        if self.before and (status.pid, status.since) == (self.before.pid, self.before.since):
            return
        if status.state == "ready" and status.version == self.version:
            self.wants = ""
        elif status.state == "failed" and not status.version and respawns:
            return  # nothing serves: it is about to end, and is started afresh
        elif status.state == "failed":
            # Seen twice: when an earlier restart fails just now, ours, which
            # was pending, follows at once.
            if self._failed_since == status.since:
                raise MachineError(f"role {self.name} did not restart: {status.error or '?'}")
            self._failed_since = status.since
