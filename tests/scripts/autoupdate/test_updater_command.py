"""The program itself, as a process of its own, against S3 over HTTP."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launcher import LAUNCHER
from one_machine import RELEASE_KEY, OneMachine, one_machine
from package_maker import NAME, Package, signed
from waiting import wait_for

import autoupdate
from autoupdate.cli import EXIT_STATUSES
from autoupdate.errors import AutoupdateError
from develop.localcloud import LocalCloud

SOURCES = Path(autoupdate.__file__).parents[1]


class Operator:
    """The bucket of one test on the server that all share."""

    def __init__(self, cloud: LocalCloud, bucket: str) -> None:
        self._client = cloud.client("s3")
        self._bucket = bucket
        self._client.create_bucket(Bucket=bucket)

    def publish(self, package: Package, sequence: int, machine: OneMachine) -> None:
        metadata = signed(package.release(sequence), machine.key)
        self._client.put_object(
            Bucket=self._bucket, Key=RELEASE_KEY, Body=package.body, Metadata=metadata
        )

    def report(self) -> dict[str, object]:
        """Return the machine's report, empty before the first."""
        listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix="fleet/web-1.json")
        if not listed.get("Contents"):
            return {}
        found = self._client.get_object(Bucket=self._bucket, Key="fleet/web-1.json")
        report: dict[str, object] = json.loads(found["Body"].read())
        return report


@pytest.fixture
def host(tmp_path: Path, cloud: LocalCloud, request: pytest.FixtureRequest) -> Iterator[OneMachine]:
    """A machine whose updater is to be a process of its own."""
    bucket = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")
    with one_machine(
        tmp_path,
        None,
        **cloud.environ,
        BUCKET=bucket,
        INTERVAL="0.2",
        PYTHONPATH=str(SOURCES),
    ) as machine:
        yield machine


@pytest.fixture
def operator(host: OneMachine, cloud: LocalCloud) -> Operator:
    return Operator(cloud, host.environ["BUCKET"])


class Daemon:
    """The updater at work; launcher.py spares it the rests."""

    def __init__(self, host: OneMachine, command: list[str]) -> None:
        self._log = host.root / "updater.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=host.environ, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_line(self, text: str) -> None:
        wait_for(lambda: text in self.log(), f"{text!r} in the log")


@contextmanager
def daemon(host: OneMachine, *command: str) -> Iterator[Daemon]:
    running = Daemon(host, list(command) or [sys.executable, str(LAUNCHER)])
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def command(host: OneMachine, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "autoupdate", *words],
        env=host.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def status_of(kind: str) -> int:
    return next(status for each, status, _ in EXIT_STATUSES if each.__name__ == kind)


# At work


def test_published_releases_are_installed_served_and_reported(
    host: OneMachine, operator: Operator
) -> None:
    operator.publish(host.package("1.0-1"), 1, host)
    with daemon(host):
        wait_for(lambda: host.installed() == "1.0-1", "first version installed")
        process = host.start("web")
        operator.publish(host.package("1.0-2"), 2, host)
        wait_for(lambda: operator.report().get("version") == "1.0-2", "second version reported")
        assert host.role()["version"] == "1.0-2"
        assert host.role()["pid"] == process.pid
        operator.publish(host.package("1.0-3", fault="restart fails"), 3, host)
        wait_for(lambda: operator.report().get("state") == "undone", "third version undone")
        assert host.installed() == "1.0-2"
        roles = operator.report()["roles"]
        assert isinstance(roles, dict) and roles["web"]["version"] == "1.0-2"


def test_sigterm_ends_it_at_once_with_status_0(host: OneMachine, operator: Operator) -> None:
    host.environ["INTERVAL"] = "3600"
    operator.publish(host.package("1.0-1"), 1, host)
    with daemon(host) as running:
        running.wait_for_line("installed, no role runs here")
        running.process.terminate()
        assert running.process.wait() == 0
        assert running.log().endswith("panorama-autoupdate: stopped\n")


def test_sigusr2_makes_it_look_at_once_with_new_settings(
    host: OneMachine, operator: Operator
) -> None:
    host.environ["INTERVAL"] = "3600"
    (host.root / "etc/default/panorama").write_text("CHANNEL=quiet\n")
    operator.publish(host.package("1.0-1"), 1, host)
    with daemon(host) as running:
        running.wait_for_line("s3 answers 404")
        (host.root / "etc/default/panorama").write_text("CHANNEL=stable\n")
        running.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: host.installed() == "1.0-1", "installed")
        assert running.process.poll() is None


def test_start_without_the_bucket_waits_for_it(host: OneMachine) -> None:
    host.environ["AWS_ENDPOINT_URL"] = "http://no-such-host.invalid"
    with daemon(host) as running:
        running.wait_for_line("cannot resolve no-such-host.invalid")
        assert running.process.poll() is None
        running.process.terminate()
        assert running.process.wait() == 0


def unpacked_updater(
    folder: Path, version: str, edit: tuple[str, str] = ("import random", "import random")
) -> str:
    """Lay out a build of this very updater as its executable unpacks itself; return a starter."""
    build = folder / f"unpacked-{version}"
    for package in ("autoupdate", "handoff"):
        shutil.copytree(SOURCES / package, build / package, ignore=shutil.ignore_patterns("*.pyc"))
    file = build / "autoupdate/updater.py"
    assert edit[0] in file.read_text()
    file.write_text(file.read_text().replace(*edit))
    about = {"name": f"{NAME}-autoupdate", "version": version, "commit": "8c1f9d0"}
    (build / "build.json").write_text(json.dumps(about))
    return f"#!/bin/sh\nPYTHONPATH='{build}' exec '{sys.executable}' '{LAUNCHER}' \"$@\"\n"


@pytest.fixture
def first(host: OneMachine, operator: Operator, tmp_path: Path) -> Iterator[Daemon]:
    """Version 1.0-1 is installed, and its updater at work."""
    starter = unpacked_updater(tmp_path, "1.0-1")
    operator.publish(host.package("1.0-1", updater=starter), 1, host)
    program = tmp_path / "first"
    program.write_text(starter)
    program.chmod(0o755)
    with daemon(host, str(program)) as running:
        running.wait_for_line("1.0-1 follows s3://")
        wait_for(lambda: operator.report().get("state") == "current", "first version installed")
        yield running


def test_new_updater_takes_over_in_place(
    first: Daemon, host: OneMachine, operator: Operator, tmp_path: Path
) -> None:
    second = host.package("1.0-2", updater=unpacked_updater(tmp_path, "1.0-2"))
    operator.publish(second, 2, host)
    first.wait_for_line("becomes version 1.0-2")
    first.wait_for_line("1.0-2 follows s3://")
    wait_for(lambda: operator.report().get("updater") == "1.0-2", "the new updater reports")
    assert first.process.poll() is None


@pytest.mark.parametrize(
    "edit",
    [
        ("offer = self._bucket.head(", "offer = self._buckett.head("),
        ("self._conclude(problem)", "raise SystemExit(70)"),
        # What most likely keeps an updater from looking: it says that it is the bucket's fault.
        ("offer = self._bucket.head(", "raise BucketError('no signature'); ("),
    ],
)
def test_updater_that_passes_its_check_but_cannot_look_is_taken_back(
    first: Daemon, host: OneMachine, operator: Operator, tmp_path: Path, edit: tuple[str, str]
) -> None:
    bad = host.package("1.0-2", updater=unpacked_updater(tmp_path, "1.0-2", edit))
    operator.publish(bad, 2, host)
    first.wait_for_line("undid release 1.0-2 (sequence 2): its updater cannot look at the bucket")
    assert host.installed() == "1.0-1"
    wait_for(lambda: operator.report().get("state") == "undone", "the report says so")
    # And the machine is not lost: the next release comes through.
    good = host.package("1.0-3", updater=unpacked_updater(tmp_path, "1.0-3"))
    operator.publish(good, 3, host)
    first.wait_for_line("1.0-3 follows s3://")
    assert host.installed() == "1.0-3"


# Once, and what it exits with


def test_once_installs_and_exits_0(host: OneMachine, operator: Operator) -> None:
    operator.publish(host.package("1.0-1"), 1, host)
    assert command(host, "--once").returncode == 0
    assert host.installed() == "1.0-1"
    assert command(host, "--once").returncode == 0


def test_once_exits_by_cause(host: OneMachine, operator: Operator) -> None:
    def once() -> int:
        ended = command(host, "--once")
        assert ended.stderr.count("\n") >= 1
        assert "Traceback" not in ended.stderr
        return ended.returncode

    assert once() == status_of("BucketError")
    operator.publish(host.package("1.0-1", fault="check fails"), 1, host)
    assert once() == status_of("RefusedError")
    operator.publish(host.package("1.0-2", scripts={"postinst": "exit 3"}), 2, host)
    assert once() == status_of("UndoneError")
    host.settings.hold_file.touch()
    operator.publish(host.package("1.0-3"), 3, host)
    assert once() == status_of("HeldError")
    with host.folder.locked():
        assert once() == status_of("StateError")
    host.environ["INTERVAL"] = "never"
    assert once() == status_of("SettingsError")


def test_every_kind_of_error_has_an_exit_status_of_its_own() -> None:
    kinds = set(AutoupdateError.__subclasses__())
    assert {kind for kind, _, _ in EXIT_STATUSES} == kinds
    statuses = [status for _, status, _ in EXIT_STATUSES]
    assert len(set(statuses)) == len(statuses)
    assert not {0, 1, 2} & set(statuses)


# The other commands


def test_status_says_what_is_known_without_the_network(
    host: OneMachine, operator: Operator
) -> None:
    operator.publish(host.package("1.0-1"), 1, host)
    command(host, "--once")
    operator.publish(host.package("1.0-2", fault="check fails"), 2, host)
    command(host, "--once")
    host.environ["AWS_ENDPOINT_URL"] = "http://no-such-host.invalid"
    ended = command(host, "status")
    rows = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert ended.returncode == 0
    assert rows["machine"] == "web-1"
    assert rows["installed"] == "1.0-1"
    assert rows["good"].startswith("1.0-1 (sequence 1,")
    assert rows["accepted"].startswith("1.0-2 (sequence 2,")
    assert "cannot import horizon" in rows["refused"]


def test_status_of_a_machine_that_never_updated(host: OneMachine) -> None:
    assert "installed  nothing" in command(host, "status").stdout


def test_check_passes_here_and_changes_nothing(host: OneMachine) -> None:
    before = sorted(host.root.rglob("*"))
    ended = command(host, "check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(host.root.rglob("*")) == before


def test_check_names_everything_that_is_missing(host: OneMachine) -> None:
    host.settings.allowed_signers.unlink()
    host.environ["AWS_CA_BUNDLE"] = "/no/such/file"
    ended = command(host, "check")
    assert ended.returncode == 1
    assert "cannot read" in ended.stderr and "allowed_signers" in ended.stderr
    assert "certificates" in ended.stderr


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_check_refuses_signers_that_others_may_write(host: OneMachine, mode: int) -> None:
    host.settings.allowed_signers.chmod(mode)
    assert "may be written by others" in command(host, "check").stderr


def test_help_lists_commands_settings_and_exit_statuses(host: OneMachine) -> None:
    text = command(host, "--help").stdout
    for word in ("--once", "status", "check", "INTERVAL", "[10]", "SIGUSR2", "  10  "):
        assert word in text


def test_version_is_all_that_version_prints(host: OneMachine) -> None:
    assert command(host, "--version").stdout == "0+source\n"


def test_unknown_word_is_wrong_usage(host: OneMachine) -> None:
    ended = command(host, "upgrade", "now")
    assert (ended.returncode, ended.stderr) == (
        2,
        "panorama-autoupdate: cannot understand 'upgrade now'; see panorama-autoupdate --help\n",
    )
