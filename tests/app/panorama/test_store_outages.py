"""Stores and credentials that are away for a while: no build is at fault for that."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from installation import Installation, children_of, installed
from project import ROOT
from waiting import wait_for

from develop.localcloud import LocalCloud
from develop.ports import free_port
from handoff import RestartError
from handoff.children import end_with_parent
from panorama.cloud import Clients
from panorama.cloud_jobs import CloudJobs
from panorama.errors import StoreAwayError, StoreError
from panorama.local_jobs import LocalJobs
from panorama.settings import Settings

ROLES = ["web", "vision"]


class Metadata:
    """An instance-metadata server that comes and goes: without it there are no credentials."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        self._folder = folder
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        document = {
            "instance_id": "i-1",
            "user_data": "",
            "role": "a-role",
            "credentials": {
                "AccessKeyId": cloud.environ["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": cloud.environ["AWS_SECRET_ACCESS_KEY"],
                "Token": "a-token",
            },
        }
        folder.mkdir()
        (folder / "127.0.0.1.json").write_text(json.dumps(document))
        self.environ = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self, delay: str = "0") -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "develop.lab.metadata_server", "127.0.0.1", str(self._port),
             str(self._folder), delay],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")}, stderr=subprocess.DEVNULL,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  # one call
        )  # fmt: skip
        wait_for(self._listens, "the metadata server")

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def stop(self) -> None:
        if self._server:
            self._server.kill()
            self._server.wait()
            self._server = None


@pytest.fixture
def metadata(tmp_path: Path, cloud: LocalCloud) -> Iterator[Metadata]:
    metadata = Metadata(tmp_path / "metadata", cloud)
    yield metadata
    metadata.stop()


@pytest.fixture
def place(
    tmp_path: Path, cloud: LocalCloud, bucket: str, metadata: Metadata
) -> Iterator[Installation]:
    queue = cloud.client("sqs").create_queue(QueueName=bucket)["QueueUrl"]
    settings = {
        "QUEUE_URL": queue,
        "BUCKET_URL": f"s3://{bucket}/photos",
        "REGION": cloud.environ["AWS_DEFAULT_REGION"],
        "AWS_ENDPOINT_URL": cloud.environ["AWS_ENDPOINT_URL"],
        "WORKERS": "1",
    }
    with installed(tmp_path / "installed", **settings) as place:
        place.environ.update(metadata.environ)
        yield place


def waits(place: Installation, role: str, generations: int) -> bool:
    """Tell whether so many generations of `role` have waited for their credentials so far."""
    said = place.log.read_text() if place.log.exists() else ""
    return said.count(f"{role}: waits: no AWS credentials") >= generations


@pytest.mark.parametrize("role", ROLES)
def test_credentials_that_are_late_are_waited_for(
    place: Installation, metadata: Metadata, role: str
) -> None:
    with ThreadPoolExecutor() as meanwhile:
        started = meanwhile.submit(place.start, role)
        wait_for(lambda: waits(place, role, 1) or started.done(), "the first start waits")
        metadata.start()
        pid = started.result().pid
        metadata.stop()
        restarted = meanwhile.submit(place.restart, role)
        wait_for(lambda: waits(place, role, 2) or restarted.done(), "the restart waits")
        assert not restarted.done()
        metadata.start()
        assert restarted.result() == place.version
    assert place.status(role)["pid"] == pid


def test_metadata_that_come_slowly_are_waited_for(place: Installation, metadata: Metadata) -> None:
    # botocore by itself waits 1 s.
    metadata.start(delay="1.5")
    place.start("web")
    assert place.ask("/healthz")[0] == 200


def test_credentials_that_stay_away_are_the_reason_of_the_refusal(
    place: Installation, metadata: Metadata
) -> None:
    metadata.start()
    place.set(PROOF_SECONDS="30")
    place.start("web")
    metadata.stop()
    reason = r"not proven within 30 s \(0 of 1 workers ready\): no AWS credentials"
    with pytest.raises(RestartError, match=reason):
        place.restart("web")
    assert place.status("web")["version"] == place.version


def test_queue_that_never_answers_is_the_reason_of_the_refusal(
    place: Installation, metadata: Metadata
) -> None:
    metadata.start()
    place.set(PROOF_SECONDS="40")
    place.start("web")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.set(AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RestartError, match=r"not proven within 40 s .*: cannot reach the"):
            place.restart("web")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"QUEUE_URL": "http://127.0.0.1/123456789012/none"}, "cannot reach the queue http"),
        ({"BUCKET_URL": "s3://none-of-this-name/photos"}, "cannot reach the bucket none-of"),
    ],
)
def test_store_that_is_not_there_is_not_waited_for(
    place: Installation, metadata: Metadata, role: str, settings: dict[str, str], reason: str
) -> None:
    metadata.start()
    place.start(role)
    place.set(**settings)
    with pytest.raises(RestartError, match=f"^{reason}"):
        place.restart(role)
    said = place.log.read_text()
    assert ": waits: " not in said
    assert "Traceback" not in said


def test_worker_that_begins_without_credentials_gets_them_later(
    place: Installation, metadata: Metadata
) -> None:
    metadata.start()
    web = place.start("web")
    leader = children_of(web.pid)[0]
    metadata.stop()
    workers = children_of(leader)
    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: set(children_of(leader)) - set(workers), "another worker")
    assert place.ask("/")[0] == 200
    assert place.ask("/healthz")[0] == 503
    metadata.start()
    wait_for(lambda: place.ask("/healthz")[0] == 200, "healthy again")
    assert web.poll() is None


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"AWS_PROFILE": "none"}, StoreError, "profile .none. could not be found"),
        ({"AWS_ACCESS_KEY_ID": "x"}, StoreError, "Partial credentials"),
        ({"AWS_EC2_METADATA_DISABLED": "true"}, StoreAwayError, "no AWS credentials"),
    ],
)
def test_only_what_may_pass_is_called_away(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], kind: type[StoreError], reason: str
) -> None:
    for name, text in changes.items():
        monkeypatch.setenv(name, text)
    url = f"https://sqs.us-east-1.amazonaws.com/1/{'-'.join(changes)}"
    store = CloudJobs(Settings(queue_url=url, bucket_url="s3://bucket"))
    with pytest.raises(StoreError, match=reason) as refusal:
        store.check()
    assert type(refusal.value) is kind


@pytest.mark.usefixtures("no_account")
def test_search_in_vain_holds_up_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        clients = Clients(Settings())
        with ThreadPoolExecutor() as threads:
            asked = [threads.submit(lambda: clients.s3) for _ in range(4)]
            wait_for(lambda: sum(each.done() for each in asked) == 3, "three refused")
            assert sum(each.running() for each in asked) == 1
            for each in asked:
                with pytest.raises(StoreAwayError):
                    each.result()


def test_database_that_another_holds_is_away(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreAwayError, match="database is locked"):
            LocalJobs(tmp_path).check()
