"""Stores and credentials that are away for a while: no build is at fault for that."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from installation import Installation, children_of, installed
from project import ROOT
from waiting import wait_for

from children import end_with_parent
from handoff import RestartError
from localcloud import LocalCloud
from ports import free_port

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

    def start(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "lab.metadata_server", "127.0.0.1", str(self._port),
             str(self._folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")}, stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,  # noqa: PLW1509  # one call
        )  # fmt: skip

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
    place.set(WORKERS="1")
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


@pytest.mark.parametrize("role", ROLES)
def test_credentials_that_stay_away_are_the_reason_of_the_refusal(
    place: Installation, metadata: Metadata, role: str
) -> None:
    metadata.start()
    place.start(role)
    metadata.stop()
    place.set(PROOF_SECONDS="20")
    with pytest.raises(RestartError, match="no AWS credentials; give the instance a profile"):
        place.restart(role)
    assert place.status(role)["version"] == place.version


def test_worker_that_begins_without_credentials_gets_them_later(
    place: Installation, metadata: Metadata
) -> None:
    place.set(WORKERS="1")
    metadata.start()
    web = place.start("web")
    leader = children_of(web.pid)[0]
    metadata.stop()
    os.kill(children_of(leader)[0], signal.SIGKILL)
    wait_for(lambda: "begins without its stores: no AWS" in place.log.read_text(), "a new worker")
    status, body = place.ask("/healthz")
    assert (status, b"version" in body) == (503, False)
    metadata.start()
    wait_for(lambda: place.ask("/healthz")[0] == 200, "healthy again")
    assert web.poll() is None
