"""SIGKILL at random moments, and disks that are full: one more look ends in order.

Real processes, real dpkg. In half of the rounds dpkg dies with the updater, as
in a power cut; in the others it goes on alone.
"""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from one_machine import OneMachine

MOMENTS = 200
LONGEST_LOOK_SECONDS = 1.5


def in_a_process_of_its_own(look: Callable[[], object]) -> int:
    """Fork a process, leader of a session, that looks and exits; return its ID."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        try:
            look()
        finally:
            os._exit(0)
    return pid


def assert_in_order(machine: OneMachine, why: str) -> None:
    """Look once more: the machine must then serve one whole version, and say so."""
    machine.restart_updater()
    problem = machine.look()
    good = machine.state.last_good
    assert good, why
    assert machine.dpkg_says() == f"installed {good.version}", why
    assert machine.state.journal is None, f"{why}; {problem}"
    assert (machine.role()["version"], machine.role()["state"]) == (good.version, "ready"), why
    assert machine.report()["version"] == good.version, why
    expected = "current" if problem is None else "undone"
    assert machine.report()["state"] == expected, f"{why}; {problem}"


def test_updater_killed_at_any_moment_is_in_order_after_one_more_look(serving: OneMachine) -> None:
    packages = [serving.package("1.0-2"), serving.package("1.0-3")]
    for number in range(MOMENTS):
        serving.publish(packages[number % 2], sequence=number + 2)
        serving.restart_updater()
        pid = in_a_process_of_its_own(serving.look)
        delay = random.uniform(0, LONGEST_LOOK_SECONDS)
        time.sleep(delay)
        whole_session = number % 4 < 2
        if whole_session:
            with suppress(ProcessLookupError):  # killed before it could make its session
                os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert_in_order(serving, f"round {number}, after {delay:.3f} s, session {whole_session}")


@pytest.mark.parametrize("room", [0, 1, 200, 1000, 3000, 10_000, 30_000])
def test_disk_full_at_any_write_is_in_order_after_one_more_look(
    serving: OneMachine, room: int
) -> None:
    # What may be written of each file, dpkg's own included: a disk that fills
    # up fails in the middle of a write just so.
    serving.publish(serving.package("1.0-2"), sequence=2)

    def look_without_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        serving.look()

    serving.restart_updater()
    os.waitpid(in_a_process_of_its_own(look_without_room), 0)
    assert_in_order(serving, f"room for {room} bytes")
