"""Programs that the updater runs: bounded in time, output and offspring."""

import errno
import os
from pathlib import Path

import pytest
from waiting import wait_for

from autoupdate.errors import MachineError
from autoupdate.machine.programs import run

SHELL = ["sh", "-c"]


def test_end_and_output_are_told() -> None:
    ended = run([*SHELL, "echo one; echo two >&2; exit 3"], seconds=30)
    assert (ended.status, ended.output) == (3, "one\ntwo\n")
    assert ended.cause == "exit status 3: two"


def test_signal_is_told_by_name() -> None:
    assert run([*SHELL, "kill -SEGV $$"], seconds=30).cause == "killed by SIGSEGV"


def test_program_gets_no_input() -> None:
    assert not run([*SHELL, "read answer"], seconds=30).succeeded


def test_whole_group_is_killed_at_the_time_limit(tmp_path: Path) -> None:
    child = tmp_path / "child"
    seconds = 0.25
    while not (child.exists() and child.read_text()):  # a busy machine starts it later
        seconds *= 2
        ended = run([*SHELL, f"sleep 1000 & echo $! > {child}; wait"], seconds=seconds)
    assert ended.status is None
    assert ended.cause == f"not done within {seconds:.0f} s"
    gone = Path(f"/proc/{int(child.read_text())}/stat")
    wait_for(lambda: not gone.exists() or ") Z " in gone.read_text(), "the child is gone")


def test_check_leaves_no_child_behind(tmp_path: Path) -> None:
    child = tmp_path / "child"
    run([*SHELL, f"sleep 1000 & echo $! > {child}"], seconds=30, leave_no_child=True)
    gone = Path(f"/proc/{int(child.read_text())}/stat")
    wait_for(lambda: not gone.exists() or ") Z " in gone.read_text(), "the child is gone")


def test_daemon_of_a_maintainer_script_lives_and_is_not_waited_for(tmp_path: Path) -> None:
    child = tmp_path / "child"
    run([*SHELL, f"sleep 1000 & echo $! > {child}"], seconds=30)
    pid = int(child.read_text())
    os.kill(pid, 9)


def test_endless_output_is_bounded_and_its_end_kept() -> None:
    ended = run([*SHELL, "head -c 5000000 /dev/zero | tr '\\0' a; echo end"], seconds=30)
    assert len(ended.output) <= 65536
    assert ended.output.endswith("end\n")


def test_program_that_closes_its_output_is_waited_for() -> None:
    assert run([*SHELL, "exec >&- 2>&-; sleep 0.1; exit 4"], seconds=30).status == 4


def test_missing_program_is_said(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot run .*/none: No such file or directory"):
        run([tmp_path / "none"], seconds=30)


def test_what_the_init_told_the_updater_is_kept_from_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    assert "NOTIFY_SOCKET" not in run(["env"], seconds=30).output


def test_program_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", no_more)
    with pytest.raises(MachineError, match=r"cannot watch .*Too many open files"):
        run(["sleep", "1000"], seconds=1000)
