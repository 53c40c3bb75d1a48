"""A bucket that lies, breaks off, or is not there."""

import doctest

import pytest
import simulated_bucket
from clocks import JumpingClock
from one_machine import RELEASE_KEY, OneMachine

from autoupdate.errors import BucketError, PostponedError
from autoupdate.store.bucket import pause


def test_worked_example_of_the_simulator_holds() -> None:
    assert doctest.testmod(simulated_bucket).failed == 0


def test_download_cut_short_is_tried_again(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    serving.bucket.cut_after = 1000
    problem = serving.look()
    assert isinstance(problem, PostponedError)
    assert "download cut short" in str(problem)
    assert serving.report()["state"] == "waiting"
    assert list((serving.settings.state_dir / "packages").glob("*.part")) == []
    serving.bucket.cut_after = None
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


@pytest.mark.parametrize("sent", [b"", b"short", b"long" * 100_000])
def test_body_of_another_length_is_never_installed(serving: OneMachine, sent: bytes) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    serving.bucket.sends_instead = sent
    assert isinstance(serving.look(), PostponedError)
    assert serving.installed() == "1.0-1"


def test_object_replaced_during_the_download_is_looked_at_anew(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    serving.bucket.replaced_before_download = True
    assert isinstance(serving.look(), PostponedError)
    serving.bucket.replaced_before_download = False
    serving.publish(serving.package("1.0-3"), sequence=3)
    assert serving.look() is None
    assert serving.installed() == "1.0-3"


def test_missing_object_is_said_once(serving: OneMachine) -> None:
    serving.bucket.delete(RELEASE_KEY)
    lines = len(serving.log_lines())
    for _ in range(10):
        assert isinstance(serving.look(), BucketError)
    assert len(serving.log_lines()) == lines + 1
    assert serving.state.condition == "s3 answers 404: no such object or bucket"


def test_hour_without_the_bucket_costs_a_handful_of_lines(serving: OneMachine) -> None:
    hour = JumpingClock(ends_at=3600)
    serving.clock = hour
    serving.restart_updater()
    lines = len(serving.log_lines())
    serving.bucket.cut_off()
    serving.bucket.requests.clear()
    serving.updater.run()
    # One for the outage, one for how long it lasts.
    assert len(serving.log_lines()) == lines + 2
    assert "no valid answer from the bucket for 30 min" in serving.log_lines()[-1]
    assert serving.bucket.count("PUT") == 0
    # Its return is noticed within one interval.
    assert max(hour.rests) <= serving.settings.interval_seconds


def test_machine_kept_from_releases_says_so_in_its_report(serving: OneMachine) -> None:
    # A bucket in other hands answers, but with nothing that a trusted key has signed.
    package = serving.package("1.0-2")
    serving.bucket.put(RELEASE_KEY, package.body, {"release": "{}", "signature": "x"})
    serving.clock = JumpingClock(ends_at=3600)
    serving.restart_updater()
    serving.updater.run()
    assert serving.report()["silent"] is True
    assert "no valid answer from the bucket for 30 min" in "".join(serving.log_lines())
    # The first valid answer ends it.
    serving.publish(package, sequence=2)
    serving.clock = JumpingClock(ends_at=60)
    serving.restart_updater()
    serving.updater.look()
    assert serving.report()["silent"] is False


def test_overloaded_bucket_is_given_ever_more_time(serving: OneMachine) -> None:
    clock = JumpingClock(ends_at=3600)
    serving.clock = clock
    serving.restart_updater()
    serving.bucket.unreachable = BucketError("s3 answers 503 SlowDown", overloaded=True)
    serving.updater.run()
    assert max(clock.rests) > 10 * serving.settings.interval_seconds
    assert max(clock.rests) <= 30 * serving.settings.interval_seconds


def test_outage_whose_causes_alternate_takes_one_line_for_each(serving: OneMachine) -> None:
    lines = len(serving.log_lines())
    for _ in range(20):
        for cause in ("cannot resolve a-bucket", "no answer from a-bucket"):
            serving.bucket.unreachable = BucketError(cause, reached=False)
            serving.look()
    assert len(serving.log_lines()) == lines + 2
    serving.bucket.unreachable = None
    serving.look()
    assert serving.log_lines()[-1].endswith("the bucket answers again")


def test_pauses_double_up_to_the_longest_and_are_never_alike() -> None:
    for failures in range(1, 2000):
        assert 0.5 <= pause(failures, 1, 60) <= 60
    assert all(30 <= pause(100, 1, 60) <= 60 for _ in range(100))
    assert len({pause(3, 1, 60) for _ in range(100)}) > 90


def test_condition_names_when_it_began(serving: OneMachine) -> None:
    serving.bucket.cut_off()
    serving.look()
    since = serving.state.condition_since
    serving.look()
    assert serving.state.condition_since == since != ""
    serving.bucket.unreachable = None
    serving.look()
    assert serving.state.condition == ""
