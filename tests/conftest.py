"""Fixtures that several folders of tests share."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud import LocalCloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    """Run one S3 and SQS on loopback for the whole session; each test uses names of its own."""
    with LocalCloud("session") as cloud:
        yield cloud


@pytest.fixture
def bucket(cloud: LocalCloud, tmp_path: Path) -> str:
    """Make a versioned bucket for one test."""
    name = f"test-{abs(hash(tmp_path)):x}"
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def signing_key(tmp_path: Path) -> Path:
    """Make an SSH key, as an operator would."""
    return make_key(tmp_path / "signing-key")


def make_key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True
    )
    return path
