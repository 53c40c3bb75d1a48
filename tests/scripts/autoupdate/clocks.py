"""Clocks that spare a test what an updater would wait for (autoupdate.clock.Clock)."""

import time
from collections.abc import Callable

from autoupdate.clock import utc_text


class PatientClock:
    """Real time, but for rests: those are short."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.restart_wanted = False

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> str:
        return utc_text(time.time())

    def rest(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.002))


class ImpatientClock(PatientClock):
    """Real time, until `when` holds for the first time: then an hour passes in one rest.

    What hangs is so given up at once, and what works has all the time that it may need.
    """

    def __init__(self, when: Callable[[], bool]) -> None:
        super().__init__()
        self._when = when
        self._skipped_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped_seconds

    def rest(self, seconds: float) -> None:
        super().rest(seconds)
        if not self._skipped_seconds and self._when():
            self._skipped_seconds = 3600.0


class JumpingClock:
    """A clock on which a rest takes no time, and on which a time is up in the end."""

    def __init__(self, ends_at: float) -> None:
        self.now = 0.0
        self.ends_at = ends_at
        self.rests: list[float] = []
        self.restart_wanted = False

    @property
    def stop_wanted(self) -> bool:
        return self.now >= self.ends_at

    @stop_wanted.setter
    def stop_wanted(self, value: bool) -> None:
        raise AssertionError

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> str:
        return utc_text(self.now)

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds
