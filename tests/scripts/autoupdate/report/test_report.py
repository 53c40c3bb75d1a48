"""The report's body: machines that stand alike write the same bytes."""

import json

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
