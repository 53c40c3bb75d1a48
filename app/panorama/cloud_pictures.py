"""Pictures in S3."""

from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from panorama.cloud import s3_client, split_bucket_url, told_as_store_error
from panorama.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class CloudPictures:
    """BUCKET_URL/ID/NAME. Removal is the bucket's lifecycle rule's work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket, self._prefix = split_bucket_url(settings.bucket_url)

    @cached_property
    def _s3(self) -> "S3Client":
        return s3_client(self._settings)  # not kept if there are no credentials now

    def check(self) -> None:
        """Find credentials, no more: a machine may use its pictures, not ask about the bucket."""
        self._s3  # noqa: B018

    def put(self, job_id: str, name: str, picture: IO[bytes]) -> None:
        with told_as_store_error(f"keep {name} of job {job_id}"):
            self._s3.put_object(Bucket=self._bucket, Key=self._key(job_id, name), Body=picture)

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
        return self._s3.get_object(Bucket=self._bucket, Key=self._key(job_id, name))["Body"]

    def _key(self, job_id: str, name: str) -> str:
        return f"{self._prefix}{job_id}/{name}"
