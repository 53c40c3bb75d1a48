"""A new machine's first release, and what makes it serve: `provision`."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from one_machine import RELEASE_KEY, OneMachine
from package_maker import Key, signed

from autoupdate import provision
from autoupdate.errors import (
    MachineError,
    PostponedError,
    ProvisionError,
    SettingsError,
    StoppedError,
)
from autoupdate.log import Log
from autoupdate.machine import logs
from autoupdate.machine.machine import Machine


class Then:
    """A clock on which, at each rest, the next thing happens; after the last one all stops."""

    stop_wanted = restart_wanted = False

    def __init__(self, machine: OneMachine, *happens: Callable[[], object]) -> None:
        self._happens = list(happens)
        self._seconds = 0.0
        machine.clock = self
        machine.restart_updater()

    def monotonic(self) -> float:
        return self._seconds

    def utc(self) -> str:
        return "2026-11-23T08:10:00Z"

    def rest(self, seconds: float) -> None:
        self._seconds += seconds
        if self._happens:
            self._happens.pop(0)()
        else:
            self.stop_wanted = True


def test_first_release_is_installed_and_kept_without_asking_it_for_a_proof(
    machine: OneMachine,
) -> None:
    # Its roles prove themselves as they start, and there is nothing to protect from it.
    machine.publish(machine.package("1.0-1", fault="check fails"), sequence=3)
    machine.updater.provision()
    assert machine.installed() == "1.0-1"
    assert machine.state.last_good and machine.state.last_good.sequence == 3
    assert machine.state.journal is None
    assert machine.report()["state"] == "current"


def test_whatever_is_wrong_is_tried_again_until_a_release_is_installed(
    machine: OneMachine, tmp_path: Path
) -> None:
    stranger = Key.make(tmp_path / "stranger")
    good = machine.package("1.0-4")

    def by_a_stranger() -> None:
        release = good.release(9)
        machine.bucket.put(RELEASE_KEY, good.body, signed(release, stranger))

    def of_another_package() -> None:
        machine.publish(good, 1, package="mail-server")

    def that_dpkg_cannot_configure() -> None:
        machine.publish(machine.package("1.0-2", scripts={"postinst": "exit 1"}), 2)

    def that_is_no_service() -> None:
        other = machine.package("1.0-3", name="mail-server")
        machine.publish(other, 3)

    def that_is_right() -> None:
        machine.publish(good, 4)

    Then(
        machine, by_a_stranger, of_another_package, that_dpkg_cannot_configure,
        that_is_no_service, that_is_right,
    )  # fmt: skip
    machine.updater.provision()
    assert machine.installed() == "1.0-4"
    said = "\n".join(machine.log_lines())
    for cause in (
        "signed by an unknown key",
        "it is package mail-server",
        "dpkg cannot handle",
        "the package says package mail-server",
    ):
        assert cause in said


def test_shutdown_ends_the_wait(machine: OneMachine) -> None:
    Then(machine)
    with pytest.raises(StoppedError):
        machine.updater.provision()


# The settings file


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"A": 1}', '{"A": "x\\ny"}'])
def test_input_that_is_no_object_of_lines_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot provision: standard input"):
        provision.read_given(io.StringIO(text))


def test_settings_of_the_service_and_the_updater_are_written(tmp_path: Path) -> None:
    given = {"NAME": "tiny", "BUCKET": "b", "QUEUE_URL": "", "LOG_HOST": "a:1", "WORKERS": "3"}
    assert provision.read_given(io.StringIO(json.dumps(given))) == given
    provision.write_settings(given, tmp_path / "etc/default/tiny")
    lines = (tmp_path / "etc/default/tiny").read_text().splitlines()
    assert lines[1:] == ["BUCKET=b", "WORKERS=3"]


def test_settings_that_somebody_has_written_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("BUCKET=mine\n")
    provision.write_settings({"BUCKET": "b"}, file)
    assert file.read_text() == "BUCKET=mine\n"


def test_machine_that_cannot_learn_its_name_is_not_set_up_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ProvisionError, match="cannot name this machine"):
        provision.write_settings({"ROLE_ID": "AROAX"}, tmp_path / "settings")
    assert not (tmp_path / "settings").exists()


# The roles


class Inits(Machine):
    """A machine whose init starts all but `broken`."""

    def __init__(self, machine: OneMachine, broken: str) -> None:
        super().__init__(machine.settings, machine.clock, Log("autoupdate", io.StringIO()))
        self.asked: list[str] = []
        self._broken = broken

    def enable(self, role: str) -> None:
        self.asked.append(role)
        if role == self._broken:
            raise MachineError("OSError: no")


def test_updater_is_started_even_if_a_role_is_not(machine: OneMachine) -> None:
    machine.environ["ROLES"] = "web vision"
    init = Inits(machine, "web")
    assert provision.start(machine.settings, init) == ["panorama-web does not start: OSError: no"]
    assert init.asked == ["web", "vision", "autoupdate"]


def test_machine_whose_updater_does_not_start_is_not_done(machine: OneMachine) -> None:
    machine.environ["ROLES"] = "web"
    with pytest.raises(ProvisionError, match="panorama-autoupdate does not start: OSError: no"):
        provision.start(machine.settings, Inits(machine, "autoupdate"))


# The logs


class Mirror:
    """Packages that are to be had at the third try."""

    tries = 0

    def install_packages(self, clauses: list[str]) -> None:
        assert clauses == ["rsyslog"]
        self.tries += 1
        if self.tries < 3:
            raise PostponedError("the mirror is away")


def test_logs_are_forwarded_once_the_mirror_is_back(
    machine: OneMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/called\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(logs, "RSYSLOG", tmp_path / "none")
    monkeypatch.setattr(logs, "RULES", tmp_path)
    mirror, stream = Mirror(), io.StringIO()
    given = {"LOG_HOST": "logs.example.org:514"}
    provision.forward_logs(given, machine.clock, Log("autoupdate", stream), mirror)
    assert mirror.tries == 3
    assert 'target="logs.example.org" port="514"' in (tmp_path / "60-panorama.conf").read_text()
    assert (tmp_path / "called").read_text() == "restart rsyslog\n"
    assert stream.getvalue().count("the mirror is away; tries again") == 1


def test_nothing_is_forwarded_to_nowhere(machine: OneMachine) -> None:
    mirror = Mirror()
    provision.forward_logs({}, machine.clock, Log("autoupdate", io.StringIO()), mirror)
    assert mirror.tries == 0
