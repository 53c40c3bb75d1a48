"""Fixtures of several folders, the order of all tests, and how a story of them breaks off."""

import os
import random
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from project import BUILD, NAME, ROOT

from develop.localcloud import LocalCloud
from operate.settings import SETTINGS

OF_MAKE = ("VERSION", "COMMIT", "SOURCE_DATE_EPOCH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")


def pytest_configure() -> None:
    # In the background of a script it is ignored, by all that the tests start, too (POSIX shell
    # command language, asynchronous lists): no test of Ctrl-C could pass.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What make exports, settings of whoever runs the tests among it, is for none of them.
    for name in (*(each.name for each in SETTINGS), *OF_MAKE):
        if name != "NAME":
            os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the real machines, which take longest."""
    items.sort(key=lambda item: item.get_closest_marker("boot") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Here, for a run without pytest-xdist.
    from whole_files import WholeFiles

    return WholeFiles(config, log)


@pytest.fixture
def rounds() -> int:
    """Return how long a soak is: $ROUNDS."""
    return int(os.environ.get("ROUNDS") or 100)


@pytest.fixture
def lots(request: pytest.FixtureRequest) -> random.Random:
    """Return what a soak draws its lots from: the same for the same $SEED."""
    return random.Random(f"{os.environ.get('SEED')} {request.node.name}")


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    """Run one S3 and SQS on loopback for all tests of a worker; each uses names of its own."""
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


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an SSH key, as an operator would."""
    path = tmp_path_factory.mktemp("key") / "signing-key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]
    subprocess.run([*keygen, path], check=True)
    return path


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Path:
    """Make the .deb of what `make build` built."""
    output = tmp_path_factory.mktemp("package") / f"{NAME}-server.deb"
    environ = {
        **os.environ,
        "NAME": NAME,
        "VERSION": "1.0-1",
        "MAINTAINER": "Ann <ann@example.org>",
        "SIGNING_KEY": str(signing_key),
        "BUCKET": "",
        "SOURCE_DATE_EPOCH": "1700000000",
        "OUTPUT": str(output),
    }
    executables = [BUILD / NAME, BUILD / f"{NAME}-autoupdate", BUILD / "stitch"]
    subprocess.run([ROOT / "packaging" / "deb", *executables], env=environ, check=True)
    return output


# The tests of real machines tell a story: what follows a failure could only fail more slowly.
BROKEN_OFF: dict[Path, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.get_closest_marker("boot") and item.path not in BROKEN_OFF:
        BROKEN_OFF[item.path] = item.name
        # The machines are gone when somebody reads of it.
        story: Any = item.funcargs.get("story") if isinstance(item, pytest.Function) else None
        if story:
            report.sections.extend(story.told_by_machines())
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path in BROKEN_OFF:
        pytest.fail(f"not tried: {BROKEN_OFF[item.path]} has failed", pytrace=False)
