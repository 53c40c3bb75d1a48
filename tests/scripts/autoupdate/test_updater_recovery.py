"""Killed in the middle, the next start finishes the job or undoes it: what depends on more.

test_updater_killed.py kills at every point of what goes well; here the bucket
is gone since, the package damaged, the operator or the shutdown came between.
"""

from typing import Any

import pytest
from one_machine import OneMachine

from autoupdate.errors import RefusedError, StoppedError, UndoneError
from autoupdate.installer import MAX_ATTEMPTS
from autoupdate.journal.state import Step


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def kill_at(machine: OneMachine, step: Step) -> None:
    """Let the updater die just after it has written down that `step` begins."""
    change = machine.folder.change

    def change_and_die(**fields: Any) -> None:
        change(**fields)
        journal = fields.get("journal")
        if journal and journal.step is step:
            raise Killed

    machine.folder.change = change_and_die  # type: ignore[method-assign]


def look_until_killed(machine: OneMachine, step: Step) -> None:
    kill_at(machine, step)
    with pytest.raises(Killed):
        machine.look()
    machine.restart_updater()


BEFORE_UNDONE = [Step.FETCHING, Step.PROVING, Step.INSTALLING, Step.RESTARTING, Step.RESTORING]


@pytest.mark.parametrize("step", BEFORE_UNDONE)
def test_broken_update_killed_at_any_step_ends_on_the_last_good_one(
    serving: OneMachine, step: Step
) -> None:
    serving.publish(serving.package("1.0-2", fault="restart fails"), sequence=2)
    look_until_killed(serving, step)
    assert isinstance(serving.look(), UndoneError)
    assert serving.dpkg_says() == "installed 1.0-1"
    assert serving.role()["version"] == "1.0-1"
    assert serving.role()["state"] == "ready"
    assert serving.state.journal is None


def test_installation_begun_is_finished_without_the_bucket(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    look_until_killed(serving, Step.INSTALLING)
    serving.bucket.cut_off()
    serving.look()
    assert serving.dpkg_says() == "installed 1.0-2"
    assert serving.role()["version"] == "1.0-2"


def test_installation_that_is_cut_short_again_and_again_is_undone(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    for _ in range(MAX_ATTEMPTS):
        look_until_killed(serving, Step.INSTALLING)
    problem = serving.look()
    assert isinstance(problem, UndoneError)
    assert f"cut short {MAX_ATTEMPTS} times" in str(problem)
    assert serving.dpkg_says() == "installed 1.0-1"


def test_installation_begun_whose_package_is_damaged_since_is_undone(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    look_until_killed(serving, Step.INSTALLING)
    journal = serving.state.journal
    assert journal
    serving.folder.package(journal.release).write_bytes(b"half of it")
    assert isinstance(serving.look(), UndoneError)
    assert serving.dpkg_says() == "installed 1.0-1"


def test_package_left_half_installed_by_a_killed_dpkg_is_mended(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    look_until_killed(serving, Step.INSTALLING)
    # What kill -9 of dpkg in the middle of unpacking leaves behind.
    status = serving.root / "var/lib/dpkg/status"
    text = status.read_text().replace("install ok installed", "install reinstreq half-installed")
    status.write_text(text)
    assert serving.look() is None
    assert serving.dpkg_says() == "installed 1.0-2"


def test_package_of_a_refusal_that_was_cut_short_is_not_kept(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2", fault="check fails"), sequence=2)
    change = serving.folder.change

    def refuse_and_die(**fields: Any) -> None:
        change(**fields)
        if "refused" in fields:
            raise Killed

    serving.folder.change = refuse_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        serving.look()
    serving.restart_updater()
    assert isinstance(serving.look(), RefusedError)
    good = serving.state.last_good
    assert good
    packages = serving.settings.state_dir / "packages"
    assert list(packages.iterdir()) == [serving.folder.package(good)]


def test_hold_does_not_stop_a_repair_that_is_under_way(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    look_until_killed(serving, Step.INSTALLING)
    serving.settings.hold_file.touch()
    serving.look()
    assert serving.dpkg_says() == "installed 1.0-2"


def test_shutdown_while_roles_restart_goes_on_with_the_next_start(serving: OneMachine) -> None:
    # Everything is stopped at once: the role ends, its status file goes, the updater is told.
    serving.publish(serving.package("1.0-2"), sequence=2)
    look_until_killed(serving, Step.RESTARTING)
    serving.stop()
    (serving.settings.runtime_dir / "web.json").unlink()
    serving.clock.stop_wanted = True
    assert isinstance(serving.look(), StoppedError)
    journal = serving.state.journal
    assert journal
    assert journal.step is Step.RESTARTING
    serving.clock.stop_wanted = False
    serving.restart_updater()
    serving.start("web")
    assert serving.look() is None
    assert serving.dpkg_says() == "installed 1.0-2"
    assert serving.role()["version"] == "1.0-2"


def test_stop_before_the_installation_leaves_nothing_begun(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    kill_at(serving, Step.INSTALLING)
    serving.clock.stop_wanted = True
    serving.look()
    assert serving.dpkg_says() == "installed 1.0-1"
    serving.clock.stop_wanted = False
    serving.restart_updater()
    assert serving.look() is None
    assert serving.dpkg_says() == "installed 1.0-2"
