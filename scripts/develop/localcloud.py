"""S3 and SQS on loopback, for the demo and the tests: moto's server as a process.

Programs reach it through the standard AWS_ENDPOINT_URL; none of them knows
that it is local. It ends with the process that started it, however that ends.

    with LocalCloud("releases") as cloud:
        subprocess.run([...], env={**os.environ, **cloud.environ})
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from types import TracebackType

import boto3

from handoff.children import end_with_parent

START_SECONDS = 60


class LocalCloudError(Exception):
    """The server did not start; the message ends with what it said."""


class LocalCloud:
    """A running server with one versioned bucket and one queue."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._log = tempfile.NamedTemporaryFile(prefix="localcloud-")  # noqa: SIM115  # closed in stop
        self._process: subprocess.Popen[bytes] | None = None
        self.environ: dict[str, str] = {}
        self.queue_url = ""

    def __enter__(self) -> "LocalCloud":
        self._process = subprocess.Popen(
            # Port 0: the kernel picks one that is free.
            [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", "0"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509
        )
        try:
            self.environ = _environment(self._wait_until_it_answers(self._process))
            self._make_bucket_and_queue()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.kill()  # it keeps nothing that a gentler end would save
            self._process.wait()
        self._log.close()

    def client(self, service: str):  # type: ignore[no-untyped-def]  # boto3 makes clients at run time
        """Return a boto3 client of this cloud."""
        return boto3.session.Session().client(
            service,
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            region_name=self.environ["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
        )

    def requests(self, method: str) -> int:
        """Return how many requests of `method` were answered so far."""
        return Path(self._log.name).read_text(errors="replace").count(f'"{method} /')

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> str:
        """Return the server's URL."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            said = Path(self._log.name).read_text(errors="replace")
            if found := re.search(r"http://127\.0\.0\.1:\d+", said):
                try:
                    urllib.request.urlopen(f"{found[0]}/moto-api/", timeout=5).close()
                except urllib.error.URLError:
                    continue
                return found[0]
            time.sleep(0.05)
        said = Path(self._log.name).read_text(errors="replace")
        raise LocalCloudError(f"the local S3 did not start: {said.strip()[-500:]}")

    def _make_bucket_and_queue(self) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=self._bucket)
        s3.put_bucket_versioning(Bucket=self._bucket, VersioningConfiguration={"Status": "Enabled"})
        queue = self.client("sqs").create_queue(QueueName=f"{self._bucket}-jobs")
        self.queue_url = queue["QueueUrl"]


def _environment(url: str) -> dict[str, str]:
    """Return what makes any AWS client use this server, and no account of the user's."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
