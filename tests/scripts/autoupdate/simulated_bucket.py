"""A bucket in memory, whose every lie and failure a test can choose.

A worked example::

    >>> bucket = SimulatedBucket()
    >>> bucket.put("stable/a.deb", b"four", {"release": "{}", "signature": "s"})
    >>> offer = bucket.head("stable/a.deb")
    >>> offer.size, offer.release
    (4, '{}')
    >>> received = []
    >>> bucket.download("stable/a.deb", offer.etag, 4, received.append, seconds=1)
    >>> received
    [b'four']
    >>> bucket.cut_after = 2
    >>> bucket.download("stable/a.deb", offer.etag, 4, received.append, seconds=1)
    Traceback (most recent call last):
    autoupdate.errors.BucketError: download cut short: 2 of 4 bytes
    >>> bucket.requests
    ['HEAD stable/a.deb', 'GET stable/a.deb', 'GET stable/a.deb']
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoupdate.errors import BucketError
from autoupdate.store.bucket import Offer


@dataclass(frozen=True)
class _Object:
    body: bytes
    metadata: Mapping[str, str]

    @property
    def etag(self) -> str:
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


class SimulatedBucket:
    """Keeps autoupdate.store.bucket.Bucket, and whatever fault is set."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.reports: list[bytes] = []
        self.unreachable: BucketError | None = None  # raised by every request
        self.refuses_reports = False
        self.cut_after: int | None = None  # bytes of a download
        self.sends_instead: bytes | None = None  # of the body
        self.replaced_before_download = False
        self.size_said: int | None = None  # by HEAD
        self._objects: dict[str, _Object] = {}

    def put(self, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        self._objects[key] = _Object(body, metadata)

    def copy_objects_of(self, other: "SimulatedBucket") -> None:
        self._objects = dict(other._objects)

    def delete(self, key: str) -> None:
        del self._objects[key]

    def cut_off(self) -> None:
        """Let nothing through any more."""
        self.unreachable = BucketError("cannot resolve a-bucket", reached=False)

    def count(self, method: str) -> int:
        return sum(1 for request in self.requests if request.startswith(f"{method} "))

    # What the updater calls

    def head(self, key: str) -> Offer:
        found = self._ask("HEAD", key)
        metadata = found.metadata
        size = len(found.body) if self.size_said is None else self.size_said
        return Offer(found.etag, size, metadata.get("release", ""), metadata.get("signature", ""))

    def download(
        self, key: str, etag: str, size: int, write: Callable[[bytes], object], seconds: float
    ) -> None:
        found = self._ask("GET", key)
        if self.replaced_before_download or found.etag != etag:
            raise BucketError("s3 answers 412: the object was replaced during the download")
        body = found.body if self.sends_instead is None else self.sends_instead
        if self.cut_after is not None:
            write(body[: self.cut_after])
            raise BucketError(f"download cut short: {self.cut_after} of {size} bytes")
        if len(body) != size:
            raise BucketError(f"s3 sends {len(body)} bytes, the release is {size}")
        write(body)

    def put_report(self, key: str, body: bytes) -> None:
        self.requests.append(f"PUT {key}")
        if self.unreachable or self.refuses_reports:
            raise self.unreachable or BucketError("s3 answers 403 AccessDenied")
        self.reports.append(body)

    def _ask(self, method: str, key: str) -> _Object:
        self.requests.append(f"{method} {key}")
        if self.unreachable:
            raise self.unreachable
        if key not in self._objects:
            raise BucketError("s3 answers 404: no such object or bucket")
        return self._objects[key]
