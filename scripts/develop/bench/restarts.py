"""Restarts under load: how many requests each server loses, and how long the others take."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from develop.bench.services import Application, Service, running

STEADY_SECONDS = 15


@dataclass(frozen=True)
class Outcome:
    """What the clients of one server have seen."""

    restarts: int
    sent: int
    lost: list[tuple[str, str]]
    steady_p99: float  # seconds
    restart_p99: float  # of what began while a restart was under way
    same_pid: bool
    memory_growth: float  # of the main process over all restarts but the first five, a ratio
    descriptors_more: int


def measure(
    kind: type[Service], application: Application, restarts: int, idle_seconds: float
) -> Outcome:
    """Restart `kind` under 64 clients, and see what becomes of their requests."""
    with running(kind, application) as service:
        load = subprocess.Popen(
            [sys.executable, "-m", "develop.bench.load", str(service.port), str(idle_seconds)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        began = time.monotonic()
        first_pid = service.main_pid()
        time.sleep(STEADY_SECONDS)
        windows: list[tuple[float, float]] = []
        early = (0, 0)
        for number in range(restarts):
            start = time.monotonic()
            service.restart()
            windows.append((start, time.monotonic()))
            if number == min(4, restarts - 1):
                service.settle()
                early = _resources(service.main_pid())
        service.settle()
        late = _resources(service.main_pid())
        said = json.loads(load.communicate()[0])
        same_pid = service.main_pid() == first_pid
    quick = said["quick"]
    # The first seconds are those of cold caches.
    steady = [took for at, took in quick if began + 3 < at < windows[0][0]]
    during = [took for at, took in quick if any(a <= at <= b for a, b in windows)]
    return Outcome(
        restarts=restarts,
        sent=said["sent"],
        lost=[(habit, error) for habit, error in said["lost"]],
        steady_p99=_p99(steady),
        restart_p99=_p99(during),
        same_pid=same_pid,
        memory_growth=late[0] / early[0],
        descriptors_more=late[1] - early[1],
    )


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def _resources(pid: int) -> tuple[int, int]:
    """Return KB of memory and open descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir()))
