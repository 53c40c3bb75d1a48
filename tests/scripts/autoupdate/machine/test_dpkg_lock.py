"""dpkg's lock, held by another process with a real fcntl(2) lock."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from one_machine import OneMachine
from waiting import wait_for

from autoupdate.errors import PostponedError

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def lock_held(machine: OneMachine, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    path = machine.root / "var/lib/dpkg" / name
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"locked\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("name", ["lock-frontend", "lock"])
def test_lock_held_too_long_postpones_the_update(serving: OneMachine, name: str) -> None:
    serving.environ["LOCK_SECONDS"] = "0"
    serving.restart_updater()
    serving.publish(serving.package("1.0-2"), sequence=2)
    with lock_held(serving, name) as holder:
        problem = serving.look()
        assert isinstance(problem, PostponedError)
        assert f"dpkg's lock is held by process {holder.pid} (python" in str(problem)
        assert serving.dpkg_says() == "installed 1.0-1"
    assert serving.look() is None
    assert serving.dpkg_says() == "installed 1.0-2"


def test_lock_is_waited_for_with_one_line_in_the_log(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    with lock_held(serving, "lock-frontend") as holder:

        def release_once_waited_for() -> None:
            wait_for(lambda: "waits for dpkg's lock" in serving.log_lines()[-1], "it waits")
            holder.kill()

        other = threading.Thread(target=release_once_waited_for)
        other.start()
        assert serving.look() is None
        other.join()
    assert serving.dpkg_says() == "installed 1.0-2"
    assert sum("waits for dpkg's lock" in line for line in serving.log_lines()) == 1


def test_going_back_waits_for_the_lock_too(serving: OneMachine) -> None:
    serving.environ["LOCK_SECONDS"] = "0"
    serving.restart_updater()
    # While the new package is configured, somebody else takes the lock.
    broken = serving.package("1.0-2", fault="restart fails")
    serving.publish(broken, sequence=2)
    restart = serving.updater._machine.restart_roles
    with_lock = lock_held(serving, "lock-frontend")

    def restart_and_lock(version: str) -> list[str]:
        if version == "1.0-2":
            with_lock.__enter__()
        return restart(version)

    serving.updater._machine.restart_roles = restart_and_lock  # type: ignore[method-assign]
    assert isinstance(serving.look(), PostponedError)
    assert serving.dpkg_says() == "installed 1.0-2"
    assert serving.role()["version"] == "1.0-1", "the old generation serves on"
    with_lock.__exit__(None, None, None)
    serving.look()
    assert serving.dpkg_says() == "installed 1.0-1"
    assert serving.report()["state"] in {"undone", "refused"}
