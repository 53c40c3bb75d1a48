"""SIGKILL at each point of an update, an undo and a first installation.

One more look must then bring the machine in order. The updater is a process of
its own, dpkg the real one; points.py says what a point is. `make soak`
kills at random moments, for as long as one likes.
"""

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from bucket_over_http import bucket_over_http
from in_order import assert_in_order, assert_serves
from one_machine import OneMachine, one_machine
from points import START, Point, Runner
from updates import DONE, KILLED, STATUS_OF, Updates, at_each, updated

from autoupdate.errors import PostponedError, RefusedError, UndoneError

# With them every phase of dpkg has a process of its own.
SCRIPTS = dict.fromkeys(("preinst", "postinst", "prerm", "postrm"), "exit 0")


@pytest.fixture
def updates_with_scripts(serving: OneMachine, updaters: Runner) -> Iterator[Updates]:
    with updated(serving, updaters, **SCRIPTS) as updates:
        yield updates


def victims(point: Point) -> tuple[str, ...]:
    """Return who ends when all that is at work at `point` ends at once."""
    return ("updater",) if point.program == "updater" else ("updater", "group")


def test_update_killed_at_any_change_is_finished_by_one_more_look(
    serving: OneMachine, updates: Updates, updaters: Runner, subtests: pytest.Subtests
) -> None:
    updates.publish()
    points = [each for each in updaters.trace(serving) if each.changes]

    def kill_and_look(point: Point) -> None:
        version = updates.publish()
        assert updaters.run(serving, point, *victims(point)) == KILLED
        assert updaters.run(serving) == DONE
        assert_in_order(serving, version)
        assert_serves(serving, version)

    at_each(points, kill_and_look, subtests)
    # The journal before each step, dpkg's own, and the files that it replaces.
    renamed = [each.subject for each in points if each.call == "rename"]
    assert renamed.count("var/lib/panorama-autoupdate/state.json") >= 7
    assert renamed.count("var/lib/dpkg/status") == 1
    assert {"usr/bin/panorama", "usr/bin/panorama-autoupdate"} < set(renamed)
    assert sum(each.call == "signal" for each in points) == 2


def test_update_killed_while_a_program_goes_on_alone_is_finished_by_one_more_look(
    serving: OneMachine, updates_with_scripts: Updates, updaters: Runner, subtests: pytest.Subtests
) -> None:
    updates_with_scripts.publish()
    points = [each for each in updaters.trace(serving) if each.call == START]

    def kill_and_look(point: Point) -> None:
        version = updates_with_scripts.publish()
        assert updaters.run(serving, point, "updater") == KILLED
        # On a busy machine it may still be at work where the new build is to be proven.
        while (status := updaters.run(serving)) == STATUS_OF[PostponedError]:
            pass
        assert status == DONE
        assert_in_order(serving, version)
        assert_serves(serving, version)

    at_each(points, kill_and_look, subtests)
    assert {"dpkg", "dpkg-deb", "ssh-keygen", "tar"} <= {each.program for each in points}
    scripts = {each.subject.rpartition("/")[2] for each in points if each.program == "sh"}
    assert {"panorama", "panorama-autoupdate"} <= scripts, "both checks"
    assert {"preinst", "panorama-server.postinst", "panorama-server.prerm"} <= scripts


def of_dpkg(points: Sequence[Point]) -> list[Point]:
    """Return what the dpkg that installs, and all that it starts, comes to."""
    begin = next(n for n, each in enumerate(points) if each.subject.startswith("--force"))
    end = next(n for n, each in enumerate(points) if n > begin and each.program == "updater")
    return list(points[begin:end])


def test_update_whose_dpkg_is_killed_alone_is_undone_in_the_same_look(
    serving: OneMachine, updates_with_scripts: Updates, updaters: Runner, subtests: pytest.Subtests
) -> None:
    updates_with_scripts.publish()
    points = of_dpkg(updaters.trace(serving))

    def kill_and_look(point: Point) -> None:
        good = serving.installed()
        updates_with_scripts.publish()
        assert updaters.run(serving, point, "group") == STATUS_OF[UndoneError]
        assert_in_order(serving, good, "undone")
        assert_serves(serving, good)

    # Where dpkg writes down how far it is, and where it starts others.
    at_each([each for each in points if each.call in {START, "rename"}], kill_and_look, subtests)


def test_undo_killed_at_any_change_is_finished_by_one_more_look(
    serving: OneMachine, updates: Updates, updaters: Runner, subtests: pytest.Subtests
) -> None:
    updates.publish_broken()
    changes = [each for each in updaters.trace(serving) if each.changes]
    # Until the role refuses to restart it is an update like another.
    told = next(n for n, each in enumerate(changes) if each.call == "signal")

    def kill_and_look(point: Point) -> None:
        good = updates.publish_broken()
        assert updaters.run(serving, point, *victims(point)) == KILLED
        # Refused is what is left to say when it was undone before the kill.
        assert updaters.run(serving) in {STATUS_OF[UndoneError], STATUS_OF[RefusedError]}
        assert_in_order(serving, good, "undone")
        assert_serves(serving, good)

    points = changes[told:]
    at_each(points, kill_and_look, subtests)
    assert any(each.subject == "var/lib/dpkg/status" for each in points)


@contextmanager
def empty_machine(folder: Path) -> Iterator[OneMachine]:
    """Yield a machine on which nothing is installed, with a first release to install."""
    with one_machine(folder) as machine:
        machine.publish(machine.package("1.0"), sequence=1)
        with bucket_over_http(machine.bucket) as machine.environ["AWS_ENDPOINT_URL"]:
            yield machine


def test_first_installation_killed_at_any_change_is_finished_by_one_more_look(
    tmp_path: Path, updaters: Runner, subtests: pytest.Subtests
) -> None:
    with empty_machine(tmp_path) as machine:
        shutil.rmtree(machine.settings.state_dir)
        empty = tmp_path / "empty"
        shutil.copytree(machine.root, empty)

        def kill_and_look(point: Point) -> None:
            shutil.rmtree(machine.root)
            shutil.copytree(empty, machine.root)
            assert updaters.run(machine, point, *victims(point)) == KILLED
            assert updaters.run(machine) == DONE
            assert_in_order(machine, "1.0")

        # What lies in the folder of the proof an update has shown: nobody looks at it again.
        proof = "var/cache/panorama-proof/"
        traced = (each for each in updaters.trace(machine) if each.changes)
        points = [each for each in traced if not each.subject.startswith(proof)]
        at_each(points, kill_and_look, subtests)
        assert "var/lib/panorama-autoupdate/packages" in {each.subject for each in points}


@pytest.mark.soak
def test_update_killed_at_random_moments_is_finished_by_one_more_look(
    serving: OneMachine, updates: Updates, updaters: Runner, rounds: int, lots: random.Random
) -> None:
    began = time.monotonic()
    updates.publish_broken()
    updaters.run(serving)
    longest_seconds = time.monotonic() - began
    for number in range(rounds):
        broken, with_children = lots.random() < 0.5, lots.random() < 0.5
        seconds = lots.uniform(0, longest_seconds)
        print(f"{number}: {broken=}, killed after {seconds:.4f} s, {with_children=}")
        version = updates.publish_broken() if broken else updates.publish()
        updaters.kill_after(serving, seconds, with_children=with_children)
        assert (updaters.run(serving) == DONE) is not broken
        assert_in_order(serving, version, "undone" if broken else "current")
        assert_serves(serving, version)
