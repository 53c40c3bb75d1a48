"""Signals at random moments, by brute force; and what hundreds of restarts leave behind."""

import random
import time
from functools import partial
from pathlib import Path

from echo_service import EchoService, running, write_build
from waiting import wait_for

ROUNDS = 240
LIVES = 40


def test_restart_signals_at_any_moment_end_on_the_newest_build(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "0")
    with running(tmp_path) as service:
        for number in range(1, ROUNDS + 1):
            write_build(service.program, str(number))
            service.restart()
            # Into whatever the supervisor is about: a start, a proof, a trial, its own exec.
            time.sleep(random.uniform(0, 0.25))
            if number % 20 == 0:
                service.wait_status(version=str(number), state="ready")
                service.wait_served_by(str(number))
        assert service.process.poll() is None
        wait_for(lambda: len(service.generations()) == 1, "old generations have gone")


def test_signals_at_any_moment_of_a_life_never_kill_it(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "0")
    for life in range(LIVES):
        delays = [random.uniform(0, 0.3) for _ in range(3)]
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


def test_two_hundred_restarts_leave_no_descriptor_and_no_memory_behind(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "0")
    with running(tmp_path) as service:

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
        descriptors_later, memory_later = restart_times(195)
        assert descriptors_later == descriptors
        # Pages come and go with the interpreter's start: a leak would add up to more.
        assert memory_later < memory * 1.1
