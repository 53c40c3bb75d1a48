"""The report: when it is written, and that machines that stand alike write the same bytes."""

import json

from clocks import JumpingClock
from one_machine import OneMachine

from autoupdate.machine.role_status import RoleStatus
from autoupdate.report.report import FORMAT, Standing, compose

STANDING = Standing("current", version="1.0-2", sequence=2, offered="1.0-2", offered_sequence=2)


def role(pid: int, since: str, state: str = "ready") -> RoleStatus:
    return RoleStatus(pid=pid, version="1.0-2", state=state, since=since, error="", owner=0)


def test_machines_that_stand_alike_write_the_same_bytes() -> None:
    one = {"web": role(7, "2026-11-23T08:10:00Z"), "vision": role(8, "2026-11-23T08:11:00Z")}
    other = {"vision": role(99, "2026-11-24T00:00:00Z"), "web": role(98, "2026-11-24T00:00:01Z")}
    assert compose(STANDING, one) == compose(STANDING, other)
    assert compose(STANDING, one) != compose(STANDING, {**one, "web": role(7, "", "failed")})


def test_report_says_its_format_and_nothing_of_one_machine_alone() -> None:
    document = json.loads(
        compose(STANDING, {"web": role(7, "2026-11-23T08:10:00Z"), "vision": None})
    )
    assert document["format"] == FORMAT == 1
    assert document["roles"] == {"web": {"version": "1.0-2", "state": "ready"}}
    assert not {"machine", "time", "pid", "since"} & document.keys()


def test_reports_repeat_every_fifteen_minutes(serving: OneMachine) -> None:
    serving.clock = JumpingClock(ends_at=3600)
    serving.restart_updater()
    serving.bucket.reports.clear()
    serving.updater.run()
    assert 4 <= len(serving.bucket.reports) <= 5


def test_report_that_cannot_be_written_stops_no_update(serving: OneMachine) -> None:
    serving.bucket.refuses_reports = True
    serving.publish(serving.package("1.0-2"), sequence=2)
    assert serving.look() is None
    assert serving.installed() == "1.0-2"
    complaints = [line for line in serving.log_lines() if "cannot write fleet/" in line]
    assert len(complaints) == 1
