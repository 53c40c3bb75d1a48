"""Signals and kills at every moment of a start, a restart and a stop; and what restarts leave.

Each moment is tried once, on real processes: see moments.py. The soaks at the end draw theirs.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from echo_service import EchoService, running, write_build
from moments import Moments
from processes import with_environment
from waiting import wait_for


class Watched:
    """A program whose moments are known, and its builds, numbered from 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "program"
        self.moments = Moments(folder / "moments", self.program)
        self.newest = 0

    def install(self, aside: Path | None = None) -> str:
        """Write another build into the program's place, or `aside`; return its version."""
        self.newest += 1
        watching = self.moments.watching
        write_build(self.program, str(self.newest), before_supervisor=watching, aside=aside)
        return str(self.newest)

    def recorded(self, phase: "Phase") -> list[str]:
        """Live through `phase` undisturbed; return its moments."""
        with phase(self, "record") as service:
            if phase is stop:
                assert service.process.wait(30) == 0
            else:
                service.wait_status(version=str(self.newest), state="ready")
                wait_for(lambda: len(service.generations()) == 1, "one generation alone")
        recorded = self.moments.recorded()
        assert len(recorded) > 10
        return recorded

    def survivors(self) -> set[int]:
        return with_environment(f"STATUS_FILE={self.folder / 'web.json'}")


@contextmanager
def start(watched: Watched, order: str) -> Iterator[EchoService]:
    watched.install()
    watched.moments.order(order)
    with running(watched.folder, wait=False) as service:
        yield service


@contextmanager
def restart(watched: Watched, order: str) -> Iterator[EchoService]:
    watched.install()
    with running(watched.folder) as service:
        watched.install()
        watched.moments.order(order)
        service.restart()
        yield service


@contextmanager
def stop(watched: Watched, order: str) -> Iterator[EchoService]:
    watched.install()
    with running(watched.folder) as service:
        watched.moments.order(order)
        service.process.terminate()
        yield service


Phase = Callable[[Watched, str], AbstractContextManager[EchoService]]
PHASES = pytest.mark.parametrize("phase", [start, restart, stop])


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def of_the_supervisor(watched: Watched, phase: Phase) -> list[str]:
    """Return the moments of `phase` at which a signal to the supervisor may make a difference."""
    moments = watched.recorded(phase)
    if phase is start:
        # Until it holds them up, signals kill; nothing says yet that it lives.
        assert moments.pop(0) == "supervisor run pthread_sigmask"
    return [each for each in moments if each.split()[0] in {"supervisor", "child"}]


def test_restart_signal_at_each_moment_of_a_start_ends_on_the_newest_build(
    watched: Watched,
) -> None:
    for moment in of_the_supervisor(watched, start):
        newest = watched.install(watched.moments.next_build)
        with start(watched, f"restart {moment}") as service:
            wait_for(watched.moments.carried_out, moment)
            service.wait_status(version=newest, state="ready")
            service.wait_served_by(newest)


def test_restart_signal_at_each_moment_of_a_restart_ends_on_the_newest_build(
    watched: Watched,
) -> None:
    moments = of_the_supervisor(watched, restart)
    with running(watched.folder) as service:
        for moment in moments:
            newest = watched.install(watched.moments.next_build)
            watched.install()
            watched.moments.order(f"restart {moment}")
            service.restart()
            wait_for(watched.moments.carried_out, moment)
            service.wait_status(version=newest, state="ready")
            service.wait_served_by(newest)
            wait_for(lambda: len(service.generations()) == 1, "old generations have gone")
        assert service.process.poll() is None


@PHASES
def test_stop_signal_at_each_moment_ends_it_well(watched: Watched, phase: Phase) -> None:
    # When it stops already, a second stop signal would mean: at once.
    what = "restart" if phase is stop else "stop"
    for moment in of_the_supervisor(watched, phase):
        watched.install(watched.moments.next_build)
        with phase(watched, f"{what} {moment}") as service:
            wait_for(watched.moments.carried_out, moment)
            assert service.process.wait(30) == 0, f"{moment}:\n{service.log()}"
        assert not service.status_file.exists()
        wait_for(lambda: not watched.survivors(), f"no process left: {moment}")


@PHASES
def test_process_killed_at_each_moment_is_survived_or_started_afresh(
    watched: Watched, phase: Phase
) -> None:
    for moment in watched.moments.deadly(watched.recorded(phase)):
        with phase(watched, f"kill {moment}") as service:
            wait_for(watched.moments.carried_out, moment)
            wait_for(partial(has_ended_or_serves, service), f"an outcome: {moment}")
            newest = watched.install()
            if service.process.poll() is None:
                service.restart_and_wait(newest)
                service.wait_served_by(newest)
                continue
        # As its init would, at the same address.
        wait_for(lambda: not watched.survivors(), f"no orphan: {moment}")
        with running(watched.folder, address=service.address) as afresh:
            assert afresh.ask() == newest


def has_ended_or_serves(service: EchoService) -> bool:
    if service.process.poll() is not None:
        return True
    status = service.status()
    return status["state"] in {"ready", "failed"} and bool(status["version"])


def test_forty_restarts_leave_no_descriptor_and_no_memory_behind(tmp_path: Path) -> None:
    leave_nothing_behind(tmp_path, 40)


def leave_nothing_behind(folder: Path, restarts: int) -> None:
    write_build(folder / "program", "0")
    with running(folder) as service:

        def restart_times(count: int) -> tuple[int, int]:
            """Restart; return open descriptors, and KB of memory, of the supervisor."""
            last = int(service.status()["version"]) + count
            for number in range(last - count + 1, last + 1):
                write_build(service.program, str(number))
                service.restart_and_wait(str(number))
            wait_for(lambda: len(service.generations()) == 1, "old generations have gone")
            proc = Path(f"/proc/{service.pid}")
            status = (proc / "status").read_text()
            memory = int(status.split("VmRSS:")[1].split()[0])
            return len(list((proc / "fd").iterdir())), memory

        descriptors, memory = restart_times(5)
        descriptors_later, memory_later = restart_times(restarts - 5)
        assert descriptors_later == descriptors
        # Pages come and go with the interpreter's start: a leak would add up to more.
        assert memory_later < memory * 1.1


@pytest.mark.soak
def test_many_restarts_leave_no_descriptor_and_no_memory_behind(
    tmp_path: Path, rounds: int
) -> None:
    leave_nothing_behind(tmp_path, 10 + rounds)


@pytest.mark.soak
def test_restart_signals_at_random_moments_end_on_the_newest_build(
    tmp_path: Path, rounds: int, lots: random.Random
) -> None:
    write_build(tmp_path / "program", "0")
    with running(tmp_path) as service:
        for number in range(1, rounds + 1):
            write_build(service.program, str(number))
            service.restart()
            # Into whatever the supervisor is about: a start, a proof, a trial, its own exec.
            time.sleep(lots.uniform(0, 0.25))
            if number % 20 == 0 or number == rounds:
                service.wait_status(version=str(number), state="ready")
                service.wait_served_by(str(number))
        assert service.process.poll() is None
        wait_for(lambda: len(service.generations()) == 1, "old generations have gone")


@pytest.mark.soak
def test_signals_at_random_moments_of_a_life_never_kill_it(
    tmp_path: Path, rounds: int, lots: random.Random
) -> None:
    write_build(tmp_path / "program", "0")
    for life in range(rounds):
        delays = [lots.uniform(0, 0.3) for _ in range(3)]
        with running(tmp_path, wait=False) as service:
            # The status file says that signals wait from now on.
            wait_for(partial(has_begun, service), "the life has begun")
            for delay in delays[:2]:
                time.sleep(delay)
                service.restart()
            time.sleep(delays[2])
            service.process.terminate()
            service.restart()
            ended = service.process.wait(30)
            assert ended == 0, f"life {life}, delays {delays}:\n{service.log()}"
            assert not service.status_file.exists()


def has_begun(service: EchoService) -> bool:
    return service.status().get("pid") == service.pid
