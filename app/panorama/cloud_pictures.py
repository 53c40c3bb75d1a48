"""Pictures in S3."""

from pathlib import Path
from typing import IO, cast

from botocore.exceptions import ClientError

from panorama.cloud import clients, split_bucket_url, told_as_store_error
from panorama.settings import Settings


class CloudPictures:
    """BUCKET_URL/ID/NAME. Removal is the bucket's lifecycle rule's work."""

    def __init__(self, settings: Settings) -> None:
        self._bucket, self._prefix = split_bucket_url(settings.bucket_url)
        self._clients = clients(settings)
        self._is_there = False

    def check(self) -> None:
        """Ask, once, whether the bucket is there.

        By a key that is not: a machine may write and read its pictures, not ask about the bucket.
        """
        if self._is_there:
            return
        with told_as_store_error(f"reach the bucket {self._bucket}"):
            try:
                self._body("0", "check")
            except ClientError as error:
                # Without s3:ListBucket, a missing key answers 403.
                if error.response["Error"]["Code"] not in {"NoSuchKey", "AccessDenied"}:
                    raise
        self._is_there = True

    def put(self, job_id: str, name: str, picture: IO[bytes]) -> None:
        with told_as_store_error(f"keep {name} of job {job_id}"):
            key = self._key(job_id, name)
            self._clients.s3.put_object(Bucket=self._bucket, Key=key, Body=picture)

    def fetch(self, job_id: str, name: str, path: Path) -> None:
        with told_as_store_error(f"read {name} of job {job_id}"), path.open("wb") as file:
            for block in self._body(job_id, name).iter_chunks(1 << 16):
                file.write(block)

    def open(self, job_id: str, name: str) -> IO[bytes]:
        with told_as_store_error(f"read {name} of job {job_id}"):
            return cast("IO[bytes]", self._body(job_id, name))

    def forget(self, job_id: str) -> None:
        """Do nothing: jobs in the cloud are not listed, the lifecycle rule removes them."""

    def forget_older(self, seconds: float) -> None:
        """Do nothing, as above."""

    def _body(self, job_id: str, name: str):  # type: ignore[no-untyped-def]  # botocore's own class
        return self._clients.s3.get_object(Bucket=self._bucket, Key=self._key(job_id, name))["Body"]

    def _key(self, job_id: str, name: str) -> str:
        return f"{self._prefix}{job_id}/{name}"
