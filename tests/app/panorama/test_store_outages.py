"""Stores and credentials that are away for a while: no build is at fault for that."""

import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, children_of, installed
from metadata import Metadata
from waiting import PATIENCE_SECONDS, wait_for

from develop.localcloud import LocalCloud
from handoff import RestartError
from panorama.cloud import CONFIG, Clients
from panorama.cloud_jobs import CloudJobs
from panorama.errors import StoreAwayError, StoreError
from panorama.local_jobs import LocalJobs
from panorama.settings import Settings

ROLES = ["web", "vision"]

CALLS: Any = CONFIG  # botocore's published types do not say what it holds
ATTEMPTS = CALLS.retries["total_max_attempts"]


@pytest.fixture
def metadata(tmp_path: Path, cloud: LocalCloud) -> Iterator[Metadata]:
    metadata = Metadata(tmp_path / "metadata", cloud)
    yield metadata
    metadata.stop()


@pytest.fixture(scope="session")
def stores(cloud: LocalCloud) -> dict[str, str]:
    """Make a bucket and a queue, which no test here changes; return the settings that name them."""
    cloud.client("s3").create_bucket(Bucket="outages")
    return {
        "QUEUE_URL": cloud.client("sqs").create_queue(QueueName="outages")["QueueUrl"],
        "BUCKET_URL": "s3://outages/photos",
        "REGION": cloud.environ["AWS_DEFAULT_REGION"],
        "AWS_ENDPOINT_URL": cloud.environ["AWS_ENDPOINT_URL"],
    }


@pytest.fixture
def place(tmp_path: Path, stores: dict[str, str], metadata: Metadata) -> Iterator[Installation]:
    with installed(tmp_path / "installed", **stores, WORKERS="1") as place:
        place.environ.update(metadata.environ)
        yield place


def wait_until_it_waits(
    place: Installation, role: str, generations: int, outcome: "Future[Any]"
) -> None:
    """Wait until so many generations of `role` have waited for their credentials so far."""

    def waited() -> bool:
        said = place.log.read_text() if place.log.exists() else ""
        return said.count(f"{role}: waits: no AWS credentials") >= generations

    wait_for(lambda: waited() or outcome.done(), f"{role} waits")
    assert not outcome.done()


def test_credentials_that_are_late_are_waited_for(place: Installation, metadata: Metadata) -> None:
    with ThreadPoolExecutor() as meanwhile:
        started = {role: meanwhile.submit(place.start, role) for role in ROLES}
        for role in ROLES:
            wait_until_it_waits(place, role, 1, started[role])
        metadata.start()
        pids = {role: started[role].result().pid for role in ROLES}
        metadata.stop()
        restarted = {role: meanwhile.submit(place.restart, role) for role in ROLES}
        for role in ROLES:
            wait_until_it_waits(place, role, 2, restarted[role])
        metadata.start()
        assert {restarted[role].result() for role in ROLES} == {place.version}
    assert {role: place.status(role)["pid"] for role in ROLES} == pids


def test_metadata_that_come_slowly_are_waited_for(place: Installation, metadata: Metadata) -> None:
    # botocore by itself waits 1 s, for each of three answers.
    metadata.start(delay="1.1")
    place.start("web")
    assert place.ask("/healthz")[0] == 200


def test_credentials_that_stay_away_are_the_reason_of_the_refusal(
    place: Installation, metadata: Metadata
) -> None:
    metadata.start()
    place.start("web")
    place.bound_proof("web", 4)
    metadata.stop()
    reason = r"not proven within 4 s \(0 of 1 workers ready\): no AWS credentials"
    with pytest.raises(RestartError, match=reason):
        place.restart("web")
    assert place.status("web")["version"] == place.version


def hang_up(listener: socket.socket, times: int) -> None:
    """Break off so many attempts at a call, which is tried again at once."""
    for _ in range(times):
        listener.accept()[0].close()


def test_queue_that_never_answers_is_the_reason_of_the_refusal(
    place: Installation, metadata: Metadata
) -> None:
    metadata.start()
    place.start("web")
    # One attempt's time-out, which is 8 s, and what the machine may be busy with.
    place.bound_proof("web", 12)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as meanwhile:
        silent.settimeout(PATIENCE_SECONDS)
        hung_up = meanwhile.submit(hang_up, silent, ATTEMPTS - 1)
        place.set(AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        reason = "not proven within 12 s .*: cannot reach the queue .*: Read timeout"
        with pytest.raises(RestartError, match=reason):
            place.restart("web")
        hung_up.result()


def test_call_that_is_never_answered_ends_while_a_restart_still_waits_for_its_reason() -> None:
    # botocore pauses at random, for so long at most (retries.standard.ExponentialBackoff).
    pauses = sum(2**number for number in range(ATTEMPTS - 1))
    seconds = ATTEMPTS * (CALLS.connect_timeout + CALLS.read_timeout) + pauses
    assert seconds < Settings().proof_seconds


@pytest.mark.parametrize("role", ROLES)
def test_store_that_is_not_there_is_not_waited_for(
    place: Installation, metadata: Metadata, role: str
) -> None:
    metadata.start()
    place.start(role)
    place.set(QUEUE_URL="http://127.0.0.1/123456789012/none")
    with pytest.raises(RestartError, match=r"^cannot reach the queue http"):
        place.restart(role)
    place.set(BUCKET_URL="s3://none-of-this-name/photos")
    with pytest.raises(RestartError, match=r"^cannot reach the bucket none-of"):
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
        silent.settimeout(PATIENCE_SECONDS)
        clients = Clients(Settings())
        with ThreadPoolExecutor() as threads:
            asked = [threads.submit(lambda: clients.s3) for _ in range(4)]
            wait_for(lambda: sum(each.done() for each in asked) == 3, "three refused")
            assert sum(each.running() for each in asked) == 1
            # The second connection comes when the first is given up. Then nobody listens any more.
            with silent.accept()[0], silent.accept()[0]:
                silent.close()
            for each in asked:
                with pytest.raises(StoreAwayError):
                    each.result()


def test_database_that_another_holds_is_away(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as other:
        # With a read lock in hand nobody waits for a writer (sqlite.org, sqlite3_busy_handler): the
        # change of the journal's mode is refused at once, not after BUSY_SECONDS.
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAwayError, match="database is locked"):
            LocalJobs(tmp_path).check()
