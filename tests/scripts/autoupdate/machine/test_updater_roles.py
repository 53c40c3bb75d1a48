"""What a role's status means to the updater that has told it to restart."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoupdate.errors import MachineError
from autoupdate.log import Log
from autoupdate.machine.init import Told
from autoupdate.machine.role_status import RoleStatus
from autoupdate.machine.roles import Roles


class RespawningInit:
    """Signals at once, and starts a role that has ended."""

    name = "an init"
    respawns = True

    def tell(self, role: str, status: RoleStatus | None) -> Told:
        return Told.SIGNALLED

    def enable(self, role: str, seconds: float) -> None:
        raise NotImplementedError


class Story:
    """A clock: while the updater rests, the role writes its next status; the last one stays."""

    stop_wanted = restart_wanted = False

    def __init__(self, file: Path, statuses: list[tuple[str, str]]) -> None:
        self._file = file
        self._next: Iterator[tuple[str, str]] = iter(statuses)
        self._seconds = 0.0
        self.rest(0)

    def monotonic(self) -> float:
        return self._seconds

    def utc(self) -> str:
        return ""

    def rest(self, seconds: float) -> None:
        self._seconds += seconds
        state, version = next(self._next, ("", ""))
        if state:
            document = {"pid": os.getpid(), "state": state, "version": version, "error": "a reason",
                        "since": f"{state} {version}"}  # fmt: skip
            self._file.write_text(json.dumps(document))


def restart(folder: Path, *statuses: tuple[str, str]) -> list[str]:
    """Restart the role vision into version 2, which passes through `statuses`."""
    clock = Story(folder / "vision.json", list(statuses))
    roles = Roles(
        ("vision",), folder, RespawningInit(), clock, Log("autoupdate", io.StringIO()),
        ready_seconds=10, web_address=lambda: ("", 0),
    )  # fmt: skip
    return roles.restart("2")


def test_role_that_gave_up_before_and_is_started_afresh_is_waited_for(tmp_path: Path) -> None:
    # Of the broken version before: nothing serves, and it is about to end.
    gave_up = ("failed", "")
    assert restart(tmp_path, ("starting", ""), gave_up, gave_up, ("starting", ""), ("ready", "2"))
    with pytest.raises(
        MachineError, match="not ready within 10 s: it is failed, version none: a reason"
    ):
        restart(tmp_path, ("starting", ""), gave_up)


def test_role_that_refuses_and_serves_its_old_version_on_has_failed(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="did not restart: a reason"):
        restart(tmp_path, ("ready", "1"), ("restarting", "1"), ("failed", "1"))
