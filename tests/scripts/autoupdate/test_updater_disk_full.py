"""The disk full from any point of an update on: one more look, with room again, ends in order."""

import pytest
from in_order import assert_in_order, assert_serves
from one_machine import OneMachine
from points import NEEDS_ROOM, Point, Runner
from updates import DONE, Updates, at_each


def test_disk_full_from_any_point_on_is_in_order_after_one_more_look(
    serving: OneMachine, updates: Updates, updaters: Runner, subtests: pytest.Subtests
) -> None:
    updates.publish()
    points = [each for each in updaters.trace(serving) if each.call in NEEDS_ROOM]

    def fill_and_look(point: Point) -> None:
        version = updates.publish()
        updaters.run(serving, point, "disk")
        assert updaters.run(serving) == DONE
        assert_in_order(serving, version)
        assert_serves(serving, version)

    at_each(points, fill_and_look, subtests)
    filled = {(each.program, each.call) for each in points}
    assert {("updater", "write"), ("tar", "write"), ("dpkg", "write"), ("dpkg", "link")} <= filled
