"""Reading reports from servers that are not as moto is: another clock, other ETags, changes."""

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from canned_s3 import Answer, CannedS3, error

from operate.channel import Channel
from operate.reports import Report, read_reports

CURRENT = {"state": "current", "version": "1.0-2", "sequence": 2,
           "roles": {"web": {"version": "1.0-2", "state": "ready"}}}  # fmt: skip


class Fleet:
    """A bucket whose clock, ETags and bodies a test sets: S3's answers, without S3."""

    def __init__(self) -> None:
        self.now = datetime(2020, 1, 1, 12, 0, tzinfo=timezone.utc)
        self.headers: dict[str, str] | None = None
        self.listed: dict[str, tuple[str, str, int]] = {}  # by key: ETag, LastModified, size
        self.bodies: dict[str, tuple[str, bytes]] = {}  # by key: ETag, body
        self.fetched: list[str] = []

    def report(self, machine: str, etag: str, document: object, written: str = "11:59:00") -> None:
        body = json.dumps(document).encode()
        key = f"fleet/{machine}.json"
        self.listed[key] = (etag, f"2020-01-01T{written}Z", len(body))
        self.bodies[key] = (etag, body)

    def answer(self, method: str, path: str, condition: str) -> Answer:
        key = path.partition("?")[0].removeprefix("/releases/")
        if key not in self.bodies:
            return self._listing() if "list-type=2" in path else Answer(404, error("NoSuchKey"))
        assert method == "GET"
        self.fetched.append(key)
        etag, body = self.bodies[key]
        if condition and condition != etag:
            return Answer(412, error("PreconditionFailed"))
        return Answer(206, body, {"ETag": etag})

    def _listing(self) -> Answer:
        contents = "".join(
            f"<Contents><Key>{key}</Key><ETag>{etag}</ETag><LastModified>{written}</LastModified>"
            f"<Size>{size}</Size></Contents>"
            for key, (etag, written, size) in self.listed.items()
        )
        date = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        return Answer(200, body.encode(), {"Date": date} if self.headers is None else self.headers)

    def read(self) -> dict[str, Report]:
        channel = Channel("tiny", "releases", "us-east-1", "stable", "")
        return {each.machine: each for each in read_reports(channel)}


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    fleet = Fleet()
    with CannedS3(fleet.answer) as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield fleet


def test_age_is_told_by_the_buckets_clock_alone(fleet: Fleet) -> None:
    # This computer's clock is years ahead of it.
    fleet.report("web-1", '"1"', CURRENT, written="11:59:18")
    fleet.report("web-2", '"1"', CURRENT, written="11:20:00")
    found = fleet.read()
    assert (found["web-1"].seen_seconds, found["web-1"].state) == (42, "current")
    assert (found["web-2"].seen_seconds, found["web-2"].state) == (2400, "silent")


def test_age_of_a_bucket_that_tells_no_time_is_unknown_and_not_current(fleet: Fleet) -> None:
    fleet.headers = {"Date": "today"}
    fleet.report("web-1", '"1"', CURRENT)
    assert fleet.read()["web-1"].state == "silent"


def test_reports_with_one_etag_are_read_once_and_others_each(fleet: Fleet) -> None:
    for number in range(5):
        fleet.report(f"web-{number}", '"same"', CURRENT)
    # As with SSE-KMS, where the ETag is no digest.
    for number in range(3):
        fleet.report(f"kms-{number}", f'"{number}"', CURRENT)
    found = fleet.read()
    assert len(fleet.fetched) == 4
    assert {each.standing.version for each in found.values()} == {"1.0-2"}


def test_same_etag_of_another_size_is_read_apart(fleet: Fleet) -> None:
    fleet.report("web-1", '"same"', CURRENT)
    fleet.report("web-2", '"same"', {**CURRENT, "state": "held"})
    found = fleet.read()
    assert (found["web-1"].state, found["web-2"].state) == ("current", "held")


def test_report_that_is_replaced_meanwhile_speaks_for_no_other(fleet: Fleet) -> None:
    for number in range(3):
        fleet.report(f"web-{number}", '"old"', CURRENT)
    changed = json.dumps({**CURRENT, "state": "broken"}).encode()
    fleet.bodies["fleet/web-0.json"] = ('"new"', changed)
    found = fleet.read()
    assert [found[f"web-{number}"].state for number in range(3)] == ["broken", "current", "current"]


def test_report_that_has_gone_meanwhile_is_no_error(fleet: Fleet) -> None:
    fleet.report("web-1", '"1"', CURRENT)
    fleet.report("web-2", '"2"', CURRENT)
    del fleet.bodies["fleet/web-1.json"]
    found = fleet.read()
    assert (list(found), found["web-2"].state) == (["web-2"], "current")
