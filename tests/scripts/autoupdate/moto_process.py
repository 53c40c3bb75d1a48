"""S3 on loopback: moto's server, in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
from one_machine import wait_for


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run a server on a port that the system picks; yield its URL."""
    log = folder / "moto.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=output,
        )
    try:
        address = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
        wait_for(lambda: address.search(log.read_text()) or process.poll(), "moto serves")
        found = address.search(log.read_text())
        assert found, log.read_text()
        yield found[1]
    finally:
        process.terminate()
        process.wait()


def s3_client(url: str) -> Any:
    """Return botocore's own client, as the operator's tools use it."""
    session = botocore.session.Session()
    return session.create_client("s3", region_name="us-east-1", endpoint_url=url)
