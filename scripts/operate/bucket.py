"""The bucket of the releases, as the desk uses it: its one way to S3.

Example::

    bucket = Bucket("releases-acme", "eu-west-1")
    found = bucket.head("stable/panorama-server.deb")
    bucket.put(key, body, metadata, over=found and found.etag)
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from operate import aws
from operate.errors import AwsError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Of an empty body there is no range (RFC 9110, 14.2).
_NO_RANGE = frozenset({"InvalidRange", "416"})

PACKAGE_TYPE = "application/vnd.debian.binary-package"


@dataclass(frozen=True)
class Found:
    """One version of an object."""

    etag: str
    version: str  # its ID, "" where the bucket keeps no versions
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Listed:
    """One object of a listing."""

    key: str
    etag: str
    size: int  # bytes
    age_seconds: float | None  # by the bucket's clock; None if it does not tell the time


class Bucket:
    """One bucket. Every method raises AwsError when S3 refuses or cannot be asked."""

    def __init__(self, name: str, region: str) -> None:
        self.name = name
        self._region = region
        self._s3: S3Client = aws.client("s3", region)
        # Before boto3's own, which would go to the other region without a word: machines, which
        # have REGION from the same settings, would not.
        self._s3.meta.events.register_first("needs-retry.s3", self._refuse_other_region)

    def exists(self) -> bool:
        """Tell whether there is such a bucket that we may look into."""
        try:
            with self._asking():
                self._s3.head_bucket(Bucket=self.name)
        except AwsError as error:
            if error.code in aws.NOT_FOUND:
                return False
            raise
        return True

    def head(self, key: str, version: str = "") -> Found | None:
        """Return what is there, or None if nothing is."""
        try:
            with self._asking():
                answer = self._s3.head_object(Bucket=self.name, Key=key, **_of(version))
        except AwsError as error:
            if error.code in aws.NOT_FOUND:
                return None
            raise
        # Some S3 servers answer with names in capitals.
        metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
        return Found(answer["ETag"], answer.get("VersionId", ""), metadata)

    def get(self, key: str, most: int, *, version: str = "", etag: str = "") -> bytes:
        """Return the first `most` bytes of a body.

        With an `etag` its code is in aws.PRECONDITION_FAILED when there is another by now.
        """
        condition: Any = {"IfMatch": etag} if etag else {}
        try:
            with self._asking():
                answer = self._s3.get_object(
                    Bucket=self.name, Key=key, Range=f"bytes=0-{most - 1}", **_of(version),
                    **condition,
                )  # fmt: skip
                # A server may pass over the range.
                return answer["Body"].read(most)
        except AwsError as error:
            if error.code in _NO_RANGE:
                return b""
            raise

    def put(self, key: str, body: bytes, metadata: Mapping[str, str], *, over: str | None) -> None:
        """Put an object over the one with the ETag `over`, or where none is, in one part.

        Its code is in aws.PRECONDITION_FAILED when there is another by now.
        """
        condition: Any = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        with self._asking():
            self._s3.put_object(
                Bucket=self.name, Key=key, Body=body, Metadata=metadata,
                ContentType=PACKAGE_TYPE, ChecksumAlgorithm="SHA256", **condition,
            )  # fmt: skip

    def versions(self, key: str) -> Iterator[str]:
        """Yield the IDs of an object's versions, newest first."""
        with self._asking():
            pages = self._s3.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self.name, Prefix=key):
                for each in page.get("Versions", []):
                    if each["Key"] == key:
                        yield each["VersionId"]

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose keys begin with `prefix`."""
        with self._asking():
            pages = self._s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                now = _bucket_time(page["ResponseMetadata"]["HTTPHeaders"])
                for each in page.get("Contents", []):
                    written = each["LastModified"]
                    age = max(0.0, (now - written).total_seconds()) if now else None
                    yield Listed(each["Key"], each["ETag"], each["Size"], age)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with aws.asking(self._region):
                yield
        except AwsError as error:
            if error.code != "NoSuchBucket":
                raise
            message = f"there is no bucket {self.name}; make stack makes it"
            raise AwsError(message, error.code, error.said) from error

    def _refuse_other_region(self, response: Any, **_: object) -> None:
        if response is None or response[0].status_code not in {301, 307, 400}:
            return
        parsed = response[1]
        # Amazon S3 API Reference, HeadBucket: x-amz-bucket-region, in refusals as well.
        its_region = parsed["ResponseMetadata"]["HTTPHeaders"].get(
            "x-amz-bucket-region", parsed.get("Error", {}).get("Region")
        )
        if its_region and its_region != self._region:
            raise AwsError(
                f"the bucket {self.name} is in the region {its_region}; set REGION={its_region}",
                "PermanentRedirect",
            )


def _of(version: str) -> Any:
    return {"VersionId": version} if version else {}


def _bucket_time(headers: Mapping[str, str]) -> datetime | None:
    """Return when the server answered, by its own clock (RFC 9110, 6.6.1)."""
    try:
        return parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
