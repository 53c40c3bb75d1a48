"""kill -9 of any one process: service goes on, or the init can start it afresh.

Each kind of process of the real service once, at work and in a restart. Every moment of such a
life is in tests/scripts/handoff/test_any_moment.py, random ones in the soak at the end.
"""

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
from installation import Installation, children_of, installed
from processes import with_environment
from waiting import wait_for


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path / "installed", WORKERS="2") as place:
        yield place


def processes_of(place: Installation) -> set[int]:
    """Return every process that lives from this installation, by its environment."""
    return with_environment(f"SETTINGS_FILE={place.settings_file}")


class Family:
    """The processes of one role, as they are now; 0 stands for one that is not there now."""

    def __init__(self, place: Installation, supervisor: int, leader: int) -> None:
        self.supervisor = supervisor
        self.leader = leader  # of the generation that served before the restart
        on_trial = with_environment("HANDOFF_TRIAL=1")
        others = set(children_of(supervisor)) - {leader}
        self.trial = min(processes_of(place) & on_trial, default=0)
        self.candidate = min(others - on_trial, default=0)

    @property
    def worker(self) -> int:
        return min(children_of(self.leader), default=0)

    @property
    def worker_of_the_candidate(self) -> int:
        return min(children_of(self.candidate), default=0) if self.candidate else 0


AT_WORK = ["supervisor", "leader"]
IN_A_RESTART = [*AT_WORK, "candidate", "trial"]


@pytest.mark.parametrize(
    ("role", "at_work", "in_a_restart"),
    [
        ("web", [*AT_WORK, "worker"], [*IN_A_RESTART, "worker", "worker_of_the_candidate"]),
        ("vision", AT_WORK, IN_A_RESTART),
    ],
    ids=["web", "vision"],
)
def test_each_process_may_be_killed_at_work_and_in_a_restart(
    place: Installation, role: str, at_work: list[str], in_a_restart: list[str]
) -> None:
    init = place.start(role)
    for victim, restarting in [(each, False) for each in at_work] + [
        (each, True) for each in in_a_restart
    ]:
        before = kill(place, role, init.pid, victim, restarting=restarting)
        if victim != "worker":  # whose place another takes, and nothing tells
            wait_for(partial(has_an_outcome, place, role, init, before), f"an outcome: {victim}")
        if init.poll() is None:
            assert place.restart(role) == place.version
        else:
            wait_for(lambda: not processes_of(place), f"no orphan: {victim}")
            init = place.start(role)
        assert role == "vision" or answers(place), victim


def kill(place: Installation, role: str, supervisor: int, victim: str, *, restarting: bool) -> str:
    """Kill `victim`, in a restart or not; return since when its role's status was as it was."""
    leader, since = 0, ""

    def is_done() -> bool:
        nonlocal leader, since
        status = place.status(role)
        since = status["since"]
        if status["state"] != "restarting":
            children = children_of(supervisor)
            if len(children) != 1:  # an older generation has not gone yet
                return False
            leader = children[0]
            if restarting:
                os.kill(supervisor, signal.SIGUSR2)
                return False
        pid = getattr(Family(place, supervisor, leader), victim)
        with suppress(ProcessLookupError):  # it was quicker
            if pid:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    wait_for(is_done, f"{victim} is killed", pause=0.002)
    return since


def has_an_outcome(
    place: Installation, role: str, init: "subprocess.Popen[bytes]", before: str
) -> bool:
    if init.poll() is not None:
        return True
    status = place.status(role)
    settled = status["state"] in {"ready", "failed"} and bool(status["version"])
    return settled and bool(status["since"] != before)


@pytest.mark.soak
def test_any_process_may_be_killed_at_random_moments(
    place: Installation, rounds: int, lots: random.Random
) -> None:
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

    for number in range(rounds):
        for role in ("web", "vision"):
            wait_for(partial(is_serving, role), f"{role} serves after {number} kills")
        if number % 2:
            # In the middle of a restart.
            os.kill(supervisors["web"].pid, signal.SIGUSR2)
            os.kill(supervisors["vision"].pid, signal.SIGUSR2)
            time.sleep(lots.uniform(0, 1))
        # None is left if both roles were about to end already.
        victims = sorted(processes_of(place))
        with suppress(ProcessLookupError):  # it was quicker
            if victims:
                os.kill(lots.choice(victims), signal.SIGKILL)


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
