"""The report: what this machine says of itself in the bucket.

``fleet/MACHINE.json``, one object a machine, replaced on every change and at
least every REPORT_SECONDS. `make status` prints them as a table.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoupdate.build_info import VERSION
from autoupdate.clock import Clock
from autoupdate.errors import BucketError
from autoupdate.log import Log, one_line
from autoupdate.machine.role_status import RoleStatus
from autoupdate.settings import Settings
from autoupdate.store.bucket import Bucket, pause

# Of the report; it rises when a field changes its meaning.
FORMAT = 1

_FIRST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class Standing:
    """Where this machine stands; a change of it is reported."""

    state: str  # one of the keys of STATES
    error: str = ""  # why, in one line, unless it is current
    version: str = ""  # of the last good package, "" before the first
    sequence: int = 0
    offered: str = ""  # version of the verified release in the bucket, "" before the first
    offered_sequence: int = 0
    silent: bool = False  # nothing verified has come from the bucket for too long


STATES = {
    "starting": "has not seen the bucket yet",
    "current": "runs the release in the bucket",
    "updating": "is on its way to it",
    "held": "an operator stopped updates on this machine",
    "refused": "will not install what is in the bucket",
    "undone": "installed it, and put the last good package back",
    "waiting": "cannot reach or install it now, and tries again",
    "broken": "could not put the last good package back, or had none",
}


def compose(standing: Standing, roles: Mapping[str, RoleStatus | None]) -> bytes:
    """Return the body of a report: the same bytes from all machines that stand alike.

    So it holds nothing of this machine alone, no time and no process ID: the
    object's key says which machine, and S3 when. `make status` then reads one
    report of each ETag, not of each machine. Who reads it has to bear with
    fields that it does not know, or misses.
    """
    document = {
        "format": FORMAT,
        "state": standing.state,
        "version": standing.version or None,
        "sequence": standing.sequence or None,
        "release": standing.offered or None,
        "release_sequence": standing.offered_sequence or None,
        "error": one_line(standing.error) or None,
        "silent": standing.silent,
        "roles": {
            name: {"version": status.version, "state": status.state}
            for name, status in roles.items()
            if status
        },
        "updater": VERSION,
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


class Reporter:
    """Decides when a report is due. A report that cannot be written stops nothing."""

    def __init__(
        self,
        settings: Settings,
        bucket: Bucket,
        clock: Clock,
        log: Log,
        roles: Callable[[], Mapping[str, RoleStatus | None]],
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._clock = clock
        self._log = log
        self._roles = roles
        self._told: Standing | None = None
        self._due_at = 0.0
        self._failures = 0

    def tell(self, standing: Standing) -> None:
        """Write a report if this is news, or the last one is old."""
        now = self._clock.monotonic()
        news = standing != self._told and not self._failures
        if not news and now < self._due_at:
            return
        body = compose(standing, self._roles())
        try:
            self._bucket.put_report(self._settings.report_key, body)
        except BucketError as error:
            self._failures += 1
            wait = pause(self._failures, _FIRST_PAUSE_SECONDS, self._settings.report_seconds)
            self._due_at = now + wait
            self._log.change("report", f"cannot write {self._settings.report_key}: {error}")
        else:
            self._failures = 0
            self._told = standing
            self._due_at = now + self._settings.report_seconds
            self._log.change("report", "", over="reports are written again")
