"""The bucket as the updater sees it: three requests, and how long to wait after failures."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# Doubling stops here: 2 ** 10 is far beyond every longest pause.
_MAX_DOUBLINGS = 10


@dataclass(frozen=True)
class Offer:
    """What one HEAD tells; nothing of it is verified.

    Two offers are equal when nothing has changed. The ETag alone would not
    do: the same bytes published again, with a new sequence, keep theirs.
    """

    etag: str
    size: int  # bytes of the body, as the server says
    release: str  # metadata, "" if absent
    signature: str  # metadata, "" if absent


class Bucket(Protocol):
    """What the updater asks of S3. Every method raises BucketError."""

    def head(self, key: str) -> Offer:
        """Return what `key` offers now."""

    def download(
        self, key: str, etag: str, size: int, write: Callable[[bytes], object], seconds: float
    ) -> None:
        """Pass exactly `size` bytes of the body to `write`, if it still has `etag`.

        Never passes more. The body's length and its end are the server's
        word: both are checked.
        """

    def put_report(self, key: str, body: bytes) -> None:
        """Store a report."""


def pause(failures: int, first: float, longest: float) -> float:
    """Return seconds to wait after the n-th failure in a row: exponential, with jitter.

    Half of it is random, so that a fleet does not return all at once ("equal
    jitter", AWS Architecture Blog, Exponential Backoff And Jitter).
    """
    full: float = min(longest, first * 2 ** min(failures - 1, _MAX_DOUBLINGS))
    return full * random.uniform(0.5, 1)  # noqa: S311  # nothing secret hangs on it
