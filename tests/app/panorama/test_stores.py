"""Both kinds of store keep the same promises."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from develop.localcloud import LocalCloud
from panorama import cloud_jobs, local_jobs
from panorama.cloud import clients
from panorama.errors import StoreError
from panorama.jobs import DONE, FAILED, MAX_ATTEMPTS, QUEUED, STITCHING, Job, JobStore
from panorama.pictures import Pictures
from panorama.settings import Settings
from panorama.stores import open_jobs, open_pictures


@pytest.fixture(params=["local", "cloud"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    if request.param == "local":
        return Settings(state_dir=tmp_path)
    cloud: LocalCloud = request.getfixturevalue("cloud")
    bucket: str = request.getfixturevalue("bucket")
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    queue = cloud.client("sqs").create_queue(QueueName=bucket)["QueueUrl"]
    return Settings(queue_url=queue, bucket_url=f"s3://{bucket}/photos")


@pytest.fixture
def jobs(settings: Settings) -> JobStore:
    return open_jobs(settings)


@pytest.fixture
def pictures(settings: Settings) -> Pictures:
    return open_pictures(settings)


def test_job_is_taken_once_and_ends_as_told(jobs: JobStore) -> None:
    job = Job(photos=3)
    jobs.add(job)
    assert jobs.get(job.id) == replace(job, state=QUEUED)
    lease = jobs.take()
    assert lease
    assert lease.job.id == job.id
    assert jobs.take() is None
    jobs.heartbeat(lease, "matching")
    now = jobs.get(job.id)
    assert now
    assert (now.state, now.stage) == (STITCHING, "matching")
    jobs.finish(lease, replace(lease.job, state=DONE, width=1400, height=500))
    ended = jobs.get(job.id)
    assert ended
    assert (ended.state, ended.stage, ended.width, ended.height) == (DONE, "", 1400, 500)
    assert jobs.take() is None


def test_unknown_job_is_none(jobs: JobStore) -> None:
    jobs.check()
    assert jobs.get("0" * 32) is None


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make leases end at once: their length is a module's constant on purpose."""

    def set_lease() -> None:
        monkeypatch.setattr(local_jobs, "LEASE_SECONDS", 0)
        monkeypatch.setattr(cloud_jobs, "LEASE_SECONDS", 0)

    return set_lease


def test_job_of_a_dead_worker_is_taken_again_but_not_for_ever(
    jobs: JobStore, no_patience: Callable[[], None]
) -> None:
    no_patience()
    job = Job(photos=2)
    jobs.add(job)
    for _ in range(MAX_ATTEMPTS):
        lease = jobs.take()
        assert lease
        assert lease.job.id == job.id
    assert jobs.take() is None
    ended = jobs.get(job.id)
    assert ended
    assert ended.state == FAILED
    assert "interrupted" in ended.error


def test_pictures_come_back_as_they_were(pictures: Pictures, tmp_path: Path) -> None:
    pictures.check()
    pictures.put("a" * 32, "photo-1", io.BytesIO(b"pixels"))
    with pictures.open("a" * 32, "photo-1") as file:
        assert file.read() == b"pixels"
    copy = tmp_path / "copy"
    pictures.fetch("a" * 32, "photo-1", copy)
    assert copy.read_bytes() == b"pixels"


def test_missing_picture_is_a_store_error(pictures: Pictures) -> None:
    with pytest.raises(StoreError, match="photo-9"):
        pictures.open("b" * 32, "photo-9")


def test_worker_that_lost_its_lease_changes_nothing(
    settings: Settings, no_patience: Callable[[], None]
) -> None:
    stalled, other = open_jobs(settings), open_jobs(settings)
    stalled.add(Job(photos=2))
    no_patience()
    lost = stalled.take()
    lease = other.take()
    assert lost
    assert lease
    assert lost.job.id == lease.job.id
    other.heartbeat(lease, "matching")
    other.finish(lease, replace(lease.job, state=DONE, width=1400, height=500))
    stalled.finish(lost, replace(lost.job, state=FAILED, error="late"))
    now = other.get(lease.job.id)
    assert now
    assert (now.state, now.error, now.width) == (DONE, "", 1400)


def test_pictures_without_a_job_do_not_stay_for_ever(tmp_path: Path) -> None:
    pictures = open_pictures(Settings(state_dir=tmp_path))
    for job_id in ("a" * 32, "b" * 32):
        pictures.put(job_id, "photo-1", io.BytesIO(b"pixels"))
    os.utime(tmp_path / "pictures" / ("a" * 32), (1, 1))
    pictures.forget_older(3600)
    assert [each.name for each in (tmp_path / "pictures").iterdir()] == ["b" * 32]


def test_old_jobs_are_forgotten_with_their_pictures(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    jobs, pictures = open_jobs(settings), open_pictures(settings)
    old, new = Job(photos=2, created=1.0), Job(photos=2)
    for job in (old, new):
        pictures.put(job.id, "photo-1", io.BytesIO(b"pixels"))
        jobs.add(job)
    forgotten = jobs.forget_older(3600)
    assert forgotten == [old.id]
    for job_id in forgotten:
        pictures.forget(job_id)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [new.id]


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")


@pytest.mark.usefixtures("credentials")
def test_store_that_cannot_be_reached_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"jobs\.sqlite: unable to open"):
        local_jobs.LocalJobs(tmp_path / "missing").check()
    settings = Settings(
        queue_url="https://sqs.us-east-1.amazonaws.com/1/jobs",
        bucket_url="s3://bucket",
        aws_endpoint_url="http://127.0.0.1:1",
    )
    with pytest.raises(StoreError, match="cannot reach the queue"):
        cloud_jobs.CloudJobs(settings).check()


def test_bucket_url_that_is_none_is_refused() -> None:
    with pytest.raises(StoreError, match="is not s3://BUCKET"):
        cloud_jobs.CloudJobs(Settings(bucket_url="https://bucket"))


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("queue_url", "region", "expected"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/jobs", "us-east-1", "eu-west-1"),
        ("http://127.0.0.1:5000/1/jobs", "eu-north-1", "eu-north-1"),
    ],
)
def test_clients_use_the_region_that_the_settings_name(
    queue_url: str, region: str, expected: str
) -> None:
    settings = Settings(queue_url=queue_url, bucket_url="s3://bucket", region=region)
    assert clients(settings).sqs.meta.region_name == expected
    assert clients(settings).s3.meta.region_name == region
