"""fleet status: a table of what hostile machines may have written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project import ROOT

from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import sign
from develop.localcloud import LocalCloud


class Fleet:
    """A bucket with a release and reports."""

    def __init__(self, cloud: LocalCloud, bucket: str, key: Path) -> None:
        self._s3 = cloud.client("s3")
        self._bucket = bucket
        self._key = key
        self.environ = {
            **os.environ, **cloud.environ,
            "NAME": "tiny", "BUCKET": bucket, "CHANNEL": "stable", "SIGNING_KEY": str(key),
        }  # fmt: skip

    def publish(self, version: str, sequence: int) -> None:
        release = Release("tiny-server", version, "all", "0" * 64, 1, sequence,
                          "2026-11-23T08:10:00Z", "", "stable")  # fmt: skip
        metadata = to_metadata(release, sign(release.to_json(), self._key, "tiny-release"))
        key = "stable/tiny-server.deb"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=b"1", Metadata=metadata)

    def report(self, machine: str, /, **fields: object) -> None:
        """Store a well-formed report."""
        document = {
            "format": 1,
            "state": "current",
            "version": "1.0-2",
            "sequence": 2,
            "error": None,
            "roles": {"web": {"version": "1.0-2", "state": "ready"}},
            **fields,
        }
        self.write(machine, json.dumps(document).encode())

    def write(self, machine: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=f"fleet/{machine}.json", Body=body)

    def status(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "operate", "status"], cwd=ROOT / "scripts",
            env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def fleet(cloud: LocalCloud, bucket: str, signing_key: Path) -> Fleet:
    fleet = Fleet(cloud, bucket, signing_key)
    fleet.publish("1.0-2", 2)
    return fleet


def test_machines_on_the_release_are_a_table_and_exit_status_0(fleet: Fleet) -> None:
    fleet.report("web-2")
    fleet.report("web-1")
    result = fleet.status()
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["MACHINE", "STATE", "VERSION", "SEQUENCE", "ROLES", "SEEN"]
    assert [line.split()[0] for line in lines[1:3]] == ["web-1", "web-2"]
    assert "web 1.0-2 ready" in lines[1]
    assert lines[3] == "2 of 2 machines are on the release in the bucket: 1.0-2 (sequence 2)"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"version": "1.0-1", "state": "undone", "error": "it did not work"}, "it did not work"),
        ({"state": "held", "error": "held by HOLD"}, "held"),
        ({"sequence": 1}, "1.0-2"),
        ({"roles": {"web": {"version": "1.0-2", "state": "failed"}}}, "web 1.0-2 failed"),
        ({"roles": {"web": {"version": "1.0-2", "state": "ended"}}}, "web 1.0-2 ended"),
    ],
)
def test_machine_that_is_elsewhere_is_exit_status_3(
    fleet: Fleet, fields: dict[str, Any], word: str
) -> None:
    fleet.report("web-1")
    fleet.report("web-2", **fields)
    result = fleet.status()
    assert result.returncode == 3
    assert word in result.stdout
    assert "1 of 2 machines" in result.stdout


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no json", b"[]", b"[" * 50_000, b'{"roles": 7, "time": {}, "state": ["x"]}',
        b'{"state": "current", "version": "\\u001b[2J\\u001b[1;1H", "error": "\\r\\nweb-9 fine"}',
        b'{"error": "' + b"x" * 60_000 + b'"}', b"x" * 100_000,
        b'{"time": "9999-99-99T00:00:00Z", "roles": {"a": {"version": {}}}}', b"\xff\xfe\x00",
    ],
)  # fmt: skip
def test_hostile_report_harms_neither_terminal_nor_table(fleet: Fleet, body: bytes) -> None:
    fleet.report("web-1")
    fleet.write("web-2", body)
    result = fleet.status()
    assert result.returncode in {0, 3}, result.stderr
    assert result.stderr == ""
    assert all(character.isprintable() or character == "\n" for character in result.stdout)
    assert len(result.stdout) < 2000
    assert ["web-1" in result.stdout, "web-2" in result.stdout] == [True, True]


def test_report_of_an_earlier_updater_still_reads(fleet: Fleet) -> None:
    # It told its name, its time, and its processes.
    role = {"pid": 7, "version": "1.0-2", "state": "ready", "since": "2026-11-23T08:10:00Z"}
    fleet.report("web-1", time="2099-01-01T00:00:00Z", roles={"web": role}, machine="web-9")
    result = fleet.status()
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"^web-1 +current +1\.0-2 +2 +web 1\.0-2 ready +\d+ s ago$", result.stdout, re.M
    )


def test_report_of_a_later_updater_shows_what_is_known_of_it(fleet: Fleet) -> None:
    fleet.write("web-1", b'{"format": 2, "state": "current", "mood": "fine", "sequence": 2}')
    assert re.search(r"^web-1 +current +\? +2 +- +\d+ s ago$", fleet.status().stdout, re.M)


# Many machines


def test_of_reports_that_are_alike_one_is_read(fleet: Fleet, cloud: LocalCloud) -> None:
    for number in range(120):
        fleet.report(f"web-{number:03}")
    fleet.report("web-200", state="held", error="held by HOLD")
    before = cloud.requests("GET")
    result = fleet.status()
    # The listing, and two kinds of reports.
    assert cloud.requests("GET") - before == 3
    assert "120 of 121 machines are on the release" in result.stdout


def test_many_machines_are_counted_and_those_elsewhere_listed(fleet: Fleet) -> None:
    for number in range(60):
        fleet.report(f"web-{number:03}")
    for number in range(55):
        fleet.report(f"bad-{number:03}", state="undone", version="1.0-1", error=f"reason {number}")
    result = fleet.status()
    assert result.returncode == 3
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["MACHINES", "STATE", "VERSION", "SEQUENCE", "ROLES", "SEEN"]
    assert lines[1].split()[:4] == ["60", "current", "1.0-2", "2"]
    assert lines[2].split()[:4] == ["55", "undone", "1.0-1", "2"]
    assert "web-000" not in result.stdout
    assert lines[6].startswith("bad-000")
    assert lines[7] == "  reason 0"
    assert lines[-2] == "and 5 more machines"
    assert lines[-1] == "60 of 115 machines are on the release in the bucket: 1.0-2 (sequence 2)"


def test_many_machines_that_are_all_on_the_release_are_exit_status_0(fleet: Fleet) -> None:
    for number in range(51):
        fleet.report(f"web-{number:03}")
    result = fleet.status()
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 3


def test_hostile_kinds_of_reports_do_not_fill_the_terminal(fleet: Fleet) -> None:
    for number in range(130):
        fleet.report(f"web-{number:03}", state=f"odd-{number}", error="x" * 1000)
    lines = fleet.status().stdout.splitlines()
    assert "and 80 more ways to stand" in lines
    assert "and 80 more machines" in lines
    assert len(lines) < 170
    assert max(map(len, lines)) < 400


def test_no_machine_yet_is_said(fleet: Fleet) -> None:
    result = fleet.status()
    assert result.returncode == 3
    assert "0 of 0 machines" in result.stdout


def test_machine_that_may_be_kept_from_releases_says_so(fleet: Fleet) -> None:
    fleet.report("web-1", state="refused", silent=True, error="signed by an unknown key")
    said = fleet.status().stdout
    assert "  nothing valid from the bucket for half an hour: signed by an unknown key\n" in said
