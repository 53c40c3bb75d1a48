"""The updater's life: it installs, restarts, undoes, holds; real dpkg, real processes."""

from clocks import ImpatientClock
from one_machine import OneMachine

from autoupdate.errors import (
    HeldError,
    PostponedError,
    RefusedError,
    StateError,
    UndoneError,
)


def test_first_release_is_installed_on_an_empty_machine(machine: OneMachine) -> None:
    machine.publish(machine.package("1.0-1"), sequence=1)
    assert machine.look() is None
    assert machine.installed() == "1.0-1"
    assert machine.report()["state"] == "current"
    assert machine.report()["version"] == "1.0-1"


def test_new_release_is_served_by_the_same_process(serving: OneMachine) -> None:
    pid = serving.role()["pid"]
    serving.publish(serving.package("1.0-2"), sequence=2)
    assert serving.look() is None
    assert serving.installed() == "1.0-2"
    assert serving.role()["version"] == "1.0-2"
    assert serving.role()["pid"] == pid


def test_unchanged_bucket_costs_one_head_and_nothing_else(serving: OneMachine) -> None:
    lines = serving.log_lines()
    serving.bucket.requests.clear()
    for _ in range(5):
        assert serving.look() is None
    assert serving.bucket.requests == ["HEAD stable/panorama-server.deb"] * 5
    assert serving.log_lines() == lines


def test_broken_build_is_undone_reported_and_not_tried_again(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2", fault="restart fails"), sequence=2)
    problem = serving.look()
    assert isinstance(problem, UndoneError) and problem.serving
    assert serving.installed() == "1.0-1"
    assert serving.role()["version"] == "1.0-1"
    assert serving.role()["state"] == "ready"
    report = serving.report()
    assert (report["state"], report["version"], report["release"]) == ("undone", "1.0-1", "1.0-2")
    assert "no such table: jobs" in report["error"]

    downloads = serving.bucket.count("GET")
    serving.look()
    serving.restart_updater()
    assert isinstance(serving.look(), RefusedError)
    assert serving.bucket.count("GET") == downloads
    assert serving.installed() == "1.0-1"


def test_build_that_never_gets_ready_is_undone(serving: OneMachine) -> None:
    serving.clock = ImpatientClock(lambda: serving.role()["state"] == "restarting")
    serving.restart_updater()
    serving.publish(serving.package("1.0-2", fault="never ready"), sequence=2)
    problem = serving.look()
    assert isinstance(problem, UndoneError) and problem.serving
    assert "not ready within 180 s" in str(problem)
    assert serving.installed() == "1.0-1"


def test_build_whose_health_check_fails_is_undone(serving: OneMachine) -> None:
    serving.clock = ImpatientClock(lambda: serving.role()["version"] == "1.0-2")
    serving.restart_updater()
    serving.publish(serving.package("1.0-2", fault="unhealthy"), sequence=2)
    problem = serving.look()
    assert "GET /healthz: 500" in str(problem)
    assert serving.installed() == "1.0-1"
    assert serving.role()["version"] == "1.0-1"


def test_role_that_dies_in_its_restart_is_noticed_at_once(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2", fault="dies"), sequence=2)
    problem = serving.look()
    assert isinstance(problem, UndoneError)
    assert "role web ended in its restart" in str(problem)
    assert serving.installed() == "1.0-1"
    # No init starts it again below a root of its own: that is said.
    assert not problem.serving
    assert serving.report()["state"] == "broken"


def test_build_that_fails_its_check_is_refused_before_installation(serving: OneMachine) -> None:
    since = serving.role()["since"]
    serving.publish(serving.package("1.0-2", fault="check fails"), sequence=2)
    problem = serving.look()
    assert isinstance(problem, RefusedError)
    assert "cannot import horizon" in str(problem)
    assert serving.installed() == "1.0-1"
    assert serving.role()["since"] == since


def test_check_that_hangs_is_cut_and_tried_again(serving: OneMachine) -> None:
    serving.environ["CHECK_SECONDS"] = "1"
    serving.restart_updater()
    serving.publish(serving.package("1.0-2", fault="check hangs"), sequence=2)
    problem = serving.look()  # the machine may only be slow
    assert isinstance(problem, PostponedError)
    assert "check failed: not done within 1 s" in str(problem)
    assert serving.installed() == "1.0-1"


def test_check_without_an_end_three_times_in_a_row_is_the_releases_fault(
    serving: OneMachine,
) -> None:
    serving.publish(serving.package("1.0-2", fault="check is killed"), sequence=2)
    for kind in (PostponedError, PostponedError, RefusedError):
        problem = serving.look()
        assert isinstance(problem, kind)
        assert "check failed: killed by SIGKILL" in str(problem)
        assert serving.installed() == "1.0-1"


def test_package_whose_updater_fails_its_check_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2", updater_check=1), sequence=2)
    assert "panorama-autoupdate check failed" in str(serving.look())
    assert serving.installed() == "1.0-1"


def test_package_that_would_lock_out_every_key_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2", allowed_signers=""), sequence=2)
    assert isinstance(serving.look(), RefusedError)
    assert serving.installed() == "1.0-1"


def test_package_whose_maintainer_script_fails_is_undone(serving: OneMachine) -> None:
    serving.publish(
        serving.package("1.0-2", scripts={"postinst": "echo no user left; exit 3"}), sequence=2
    )
    problem = serving.look()
    assert isinstance(problem, UndoneError) and problem.serving
    assert serving.dpkg_says() == "installed 1.0-1"


def test_failing_first_installation_removes_nothing_and_says_so(machine: OneMachine) -> None:
    machine.publish(machine.package("1.0-1", scripts={"postinst": "exit 3"}), sequence=1)
    problem = machine.look()
    assert isinstance(problem, UndoneError) and not problem.serving
    assert "no earlier package to go back to" in str(problem)
    assert machine.report()["state"] == "broken"
    assert (machine.root / "usr/bin/panorama").exists()


def test_package_installed_by_hand_is_kept_to_go_back_to(machine: OneMachine) -> None:
    first = machine.package("1.0-1")
    machine.publish(first, sequence=1)
    machine.look()
    (machine.settings.state_dir / "state.json").unlink()
    machine.start("web")
    machine.restart_updater()
    since = machine.role()["since"]
    assert machine.look() is None
    assert machine.role()["since"] == since
    machine.publish(machine.package("1.0-2", fault="restart fails"), sequence=2)
    machine.look()
    assert machine.installed() == "1.0-1"


def test_rollback_is_a_new_publication_of_an_older_package(serving: OneMachine) -> None:
    first = serving.package("1.0-0")
    serving.publish(first, sequence=2)
    assert serving.look() is None
    assert serving.installed() == "1.0-0"
    assert serving.role()["version"] == "1.0-0"


def test_same_package_published_again_is_accepted_without_installation(
    serving: OneMachine,
) -> None:
    since = serving.role()["since"]
    serving.publish(serving.package("1.0-1"), sequence=7)
    assert serving.look() is None
    assert [each.sequence for each in serving.state.accepted] == [7]
    assert serving.role()["since"] == since


def test_refused_package_published_with_a_new_sequence_is_tried_again(
    serving: OneMachine,
) -> None:
    broken = serving.package("1.0-2", fault="check fails")
    serving.publish(broken, sequence=2)
    serving.look()
    downloads = serving.bucket.count("GET")
    serving.publish(broken, sequence=3)
    assert isinstance(serving.look(), RefusedError)
    assert serving.bucket.count("GET") == downloads + 1


def test_hold_file_stops_updates_until_it_is_gone(serving: OneMachine) -> None:
    hold = serving.settings.hold_file
    hold.write_text("until the migration is done\n")
    serving.publish(serving.package("1.0-2"), sequence=2)
    problem = serving.look()
    assert isinstance(problem, HeldError)
    assert "until the migration is done" in str(problem)
    assert serving.report()["state"] == "held"
    assert serving.report()["release"] == "1.0-2"
    assert serving.installed() == "1.0-1"
    hold.unlink()
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_role_that_nobody_runs_is_left_alone(machine: OneMachine) -> None:
    machine.environ["ROLES"] = "web vision"
    machine.restart_updater()
    machine.publish(machine.package("1.0-1"), sequence=1)
    machine.look()
    machine.start("vision")
    machine.publish(machine.package("1.0-2"), sequence=2)
    assert machine.look() is None
    assert machine.role("vision")["version"] == "1.0-2"
    assert any("role web does not run here" in line for line in machine.log_lines())


def test_last_good_package_goes_back_with_no_network_at_all(serving: OneMachine) -> None:
    broken = serving.package("1.0-2", fault="restart fails")
    serving.publish(broken, sequence=2)
    download = serving.bucket.download

    def download_and_unplug(*arguments: object, **named: object) -> None:
        download(*arguments, **named)  # type: ignore[arg-type]
        serving.bucket.cut_off()

    serving.bucket.download = download_and_unplug  # type: ignore[method-assign]
    assert isinstance(serving.look(), UndoneError)
    assert serving.installed() == "1.0-1"
    assert serving.role()["version"] == "1.0-1"


def test_no_question_is_asked_about_an_edited_conffile(serving: OneMachine) -> None:
    # The package ships none; one that comes in error must not hang the machine.
    script = 'test "$DEBIAN_FRONTEND" = noninteractive && ! read answer'
    serving.publish(serving.package("1.0-2", scripts={"postinst": script}), sequence=2)
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_package_folder_that_cannot_be_written_postpones_the_update(serving: OneMachine) -> None:
    packages = serving.settings.state_dir / "packages"
    serving.publish(serving.package("1.0-2"), sequence=2)
    packages.rename(packages.with_name("away"))
    assert isinstance(serving.look(), StateError)
    packages.with_name("away").rename(packages)
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_nothing_but_the_last_good_package_is_kept(serving: OneMachine) -> None:
    for sequence in (2, 3):
        serving.publish(serving.package(f"1.0-{sequence}"), sequence=sequence)
        serving.look()
    assert not serving.settings.proof_dir.exists()
    good = serving.state.last_good
    assert good
    packages = serving.settings.state_dir / "packages"
    assert list(packages.iterdir()) == [serving.folder.package(good)]
