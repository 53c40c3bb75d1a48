"""Time, and the signals that end a wait."""

import os
import select
import signal
import time
from datetime import datetime, timezone
from types import FrameType
from typing import Protocol


def utc_text(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC, e.g. 2026-11-23T08:10:00Z."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock(Protocol):
    """Time as the updater sees it; tests bring one that jumps."""

    stop_wanted: bool
    restart_wanted: bool

    def monotonic(self) -> float:
        """Seconds, for intervals and time limits."""

    def utc(self) -> str:
        """The time of day, RFC 3339, for people."""

    def rest(self, seconds: float) -> None:
        """Wait, or less if a signal comes."""


class SystemClock:
    """The real one. SIGTERM and SIGINT ask to stop, SIGUSR2 to begin afresh."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.restart_wanted = False
        self._woken, wake = os.pipe()
        for fd in (self._woken, wake):
            os.set_blocking(fd, False)
        # A signal between the last look at the flags and select(2) still ends the wait.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._take)
        # The bootstrap blocks it until here; children would inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR2:
            self.restart_wanted = True
        else:
            self.stop_wanted = True

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> str:
        return utc_text(time.time())

    def rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        left = seconds
        while left > 0:
            readable = select.select([self._woken], [], [], left)[0]
            # One byte each, the number of the signal; alarms are not for us.
            if readable and any(each != signal.SIGALRM for each in os.read(self._woken, 512)):
                return
            left = deadline - time.monotonic()
