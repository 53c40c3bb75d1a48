"""kill -9 of any one process, at random moments: service goes on, or init can start it afresh."""

import http.client
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from installation import Installation, installed
from waiting import wait_for

KILLS = 100


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path / "installed", WORKERS="2") as place:
        yield place


def processes_of(place: Installation) -> set[int]:
    """Return every process that lives from this installation, by its environment."""
    marker = f"SETTINGS_FILE={place.settings_file}".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_any_process_may_be_killed_at_any_moment(place: Installation) -> None:
    supervisors: dict[str, subprocess.Popen[bytes]] = {}

    def is_serving(role: str) -> bool:
        """Do what an init does: start what has ended. Then tell whether it is ready."""
        process = supervisors.get(role)
        if process is None or process.poll() is not None:
            wait_for(
                lambda: not processes_of(place) - descendants(supervisors),
                "no orphan of the supervisor that ended",
            )
            supervisors[role] = place.start(role)
        status = place.status(role)
        ready = status["pid"] == supervisors[role].pid and status["state"] in {"ready", "failed"}
        return ready and (role == "vision" or answers(place))

    for number in range(KILLS):
        for role in ("web", "vision"):
            wait_for(partial(is_serving, role), f"{role} serves after {number} kills")
        if number % 2:
            # In the middle of a restart.
            os.kill(supervisors["web"].pid, signal.SIGUSR2)
            os.kill(supervisors["vision"].pid, signal.SIGUSR2)
            time.sleep(random.uniform(0, 1))
        # None is left if both roles were about to end already.
        victims = sorted(processes_of(place))
        with suppress(ProcessLookupError):  # it was quicker
            if victims:
                os.kill(random.choice(victims), signal.SIGKILL)


def answers(place: Installation) -> bool:
    try:
        return bool(place.health()["version"] == place.version)
    except (OSError, http.client.HTTPException):
        return False  # what was killed still looked ready


def descendants(supervisors: dict[str, "subprocess.Popen[bytes]"]) -> set[int]:
    """Return the processes of all supervisors that run, themselves included."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    family = {each.pid for each in supervisors.values() if each.poll() is None}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family
