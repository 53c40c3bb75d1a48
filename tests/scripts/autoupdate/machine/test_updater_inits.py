"""systemd and Upstart, played by scripts that record what they are asked."""

import os
from pathlib import Path

import pytest

from autoupdate.errors import MachineError
from autoupdate.machine import init
from autoupdate.machine.init import NoInit, Systemd, Told, Upstart
from autoupdate.machine.role_status import RoleStatus

STATUS = RoleStatus(4242, "1.0-1", "ready", "", "", os.getuid())


class Recorder:
    """A program on PATH that writes down its arguments and gives a chosen answer."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self._calls = folder / f"{name}.calls"
        self._answer = folder / f"{name}.answer"
        self.path.write_text(f"#!/bin/sh\necho \"$*\" >> '{self._calls}'\n. '{self._answer}'\n")
        self.path.chmod(0o755)
        self.answers("")

    def answers(self, output: str, status: int = 0) -> None:
        self._answer.write_text(f"cat <<'END'\n{output}\nEND\nexit {status}\n")

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Recorder(tmp_path, "systemctl")


@pytest.fixture
def initctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(tmp_path, "initctl")
    monkeypatch.setattr(init, "INITCTL", str(recorder.path))
    return recorder


def unit(
    load: str = "loaded", active: str = "active", file: str = "enabled", pid: int = 4242
) -> str:
    return f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\nMainPID={pid}"


def test_systemd_signals_the_main_process_only(systemctl: Recorder) -> None:
    systemctl.answers(unit())
    assert Systemd("panorama").tell("web", STATUS) is Told.SIGNALLED
    assert systemctl.calls()[-1].endswith(
        "kill --kill-who=main --signal=SIGUSR2 panorama-web.service"
    )


def test_systemd_starts_an_enabled_role_that_is_not_running(systemctl: Recorder) -> None:
    systemctl.answers(unit(active="failed", pid=0))
    assert Systemd("panorama").tell("web", None) is Told.STARTED
    assert systemctl.calls()[-1].endswith("start --no-block panorama-web.service")
    assert not any("restart" in call or "stop" in call for call in systemctl.calls())


@pytest.mark.parametrize(
    "answer", [unit(load="not-found"), unit(active="inactive", file="disabled")]
)
def test_systemd_leaves_a_disabled_or_unknown_role_alone(systemctl: Recorder, answer: str) -> None:
    systemctl.answers(answer)
    assert Systemd("panorama").tell("web", None) is Told.ABSENT
    assert len(systemctl.calls()) == 1


@pytest.mark.parametrize("status", [None, RoleStatus(17, "1.0-1", "ready", "", "", 0)])
def test_role_without_handlers_in_place_is_not_signalled_yet(
    systemctl: Recorder, status: RoleStatus | None
) -> None:
    systemctl.answers(unit(active="activating"))
    assert Systemd("panorama").tell("web", status) is Told.NOT_YET
    assert len(systemctl.calls()) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_role_that_ends_before_it_is_signalled_is_tried_again(
    tmp_path: Path, systemctl: Recorder, ended: bool
) -> None:
    shown = tmp_path / "shown"
    shown.write_text(unit())
    after = unit(active="activating", pid=0) if ended else unit()
    systemctl.path.write_text(
        f"#!/bin/sh\ncase $* in *show*) cat '{shown}'; exit ;; esac\n"
        f"echo '{after}' > '{shown}'\necho 'Failed to kill unit'\nexit 1\n"
    )
    if ended:
        assert Systemd("panorama").tell("web", STATUS) is Told.NOT_YET
    else:
        with pytest.raises(MachineError, match="Failed to kill unit"):
            Systemd("panorama").tell("web", STATUS)


def test_upstart_starts_a_stopped_job(initctl: Recorder) -> None:
    initctl.answers("panorama-web stop/waiting")
    assert Upstart("panorama").tell("web", None) is Told.STARTED
    assert initctl.calls() == ["status panorama-web", "start --no-wait panorama-web"]


def test_upstart_process_that_the_file_does_not_name_is_not_signalled(initctl: Recorder) -> None:
    initctl.answers("panorama-web start/running, process 999")
    assert Upstart("panorama").tell("web", STATUS) is Told.NOT_YET


def test_upstart_leaves_an_unknown_job_alone(initctl: Recorder) -> None:
    initctl.answers("initctl: Unknown job: panorama-web", status=1)
    assert Upstart("panorama").tell("web", None) is Told.ABSENT


def test_root_of_its_own_has_no_init(tmp_path: Path) -> None:
    assert isinstance(init.detect(tmp_path, "panorama"), NoInit)


# From now on, at each boot


def test_systemd_enables_and_starts_in_one_call(systemctl: Recorder) -> None:
    Systemd("panorama").enable("web", 60)
    [call] = systemctl.calls()
    assert call.endswith("enable --now panorama-web.service")


def test_role_that_systemd_cannot_start_is_said(systemctl: Recorder) -> None:
    systemctl.answers("Job for panorama-web.service failed.", status=1)
    with pytest.raises(MachineError, match=r"Job for panorama-web\.service failed"):
        Systemd("panorama").enable("web", 60)


def test_upstart_starts_a_job_unless_it_runs(initctl: Recorder) -> None:
    initctl.answers("panorama-web stop/waiting")
    Upstart("panorama").enable("web", 60)
    assert initctl.calls() == ["status panorama-web", "start panorama-web"]
    initctl.answers("panorama-web start/running, process 999")
    Upstart("panorama").enable("web", 60)
    assert initctl.calls()[2:] == ["status panorama-web"]


def test_nothing_is_enabled_without_an_init() -> None:
    with pytest.raises(MachineError, match="no init"):
        NoInit().enable("web", 60)
