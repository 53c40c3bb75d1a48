"""The two AWS clients of the service, made only when it is told to use them."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from panorama.jobs import StoreAwayError, StoreError
from panorama.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

NO_CREDENTIALS = "no AWS credentials; give the instance a profile, or set AWS_ACCESS_KEY_ID"

# Bounds for each call. A restart has to hear from its stores within PROOF_SECONDS why it waits, and
# SQS answers a long poll sooner than this.
CONFIG = Config(
    connect_timeout=3, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3}
)

# botocore gives the metadata service 1 s and one try: too little for a machine that is busy with
# proving its next release.
METADATA = {"metadata_service_timeout": 5, "metadata_service_num_attempts": 2}

# After a search for credentials in vain: what asks meanwhile is refused at once.
SEARCH_PAUSE_SECONDS = 3.0


class Clients:
    """The AWS clients of this process, for all of its threads.

    Made when first needed: a client that is made when there are no credentials never gets any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: boto3.session.Session | None = None
        self._search_at = 0.0  # time.monotonic()
        self._s3: S3Client | None = None
        self._sqs: SQSClient | None = None

    @property
    def s3(self) -> S3Client:
        """A client of the region that the settings name.

        Raises:
            StoreAwayError: there are no credentials now.
        """
        with self._lock:
            if self._s3 is None:
                self._s3 = self._find_session().client(
                    "s3", region_name=self._settings.region or None, **self._options()
                )
            return self._s3

    @property
    def sqs(self) -> SQSClient:
        """A client of the region that the queue's URL names, if it names one.

        https://sqs.REGION.amazonaws.com/ACCOUNT/NAME (AWS General Reference, SQS endpoints).

        Raises:
            StoreAwayError: there are no credentials now.
        """
        url = self._settings.queue_url
        parts = url.split("/")[2].split(".") if "//" in url else []
        region = parts[1] if len(parts) > 3 and parts[0] == "sqs" else self._settings.region
        with self._lock:
            if self._sqs is None:
                self._sqs = self._find_session().client(
                    "sqs", region_name=region or None, **self._options()
                )
            return self._sqs

    def _options(self) -> dict[str, Any]:
        return {"endpoint_url": self._settings.aws_endpoint_url or None, "config": CONFIG}

    def _find_session(self) -> boto3.session.Session:
        if self._session is None:
            if time.monotonic() < self._search_at:
                raise StoreAwayError(NO_CREDENTIALS)
            core = botocore.session.Session()
            for name, least in METADATA.items():
                core.set_config_variable(name, max(least, core.get_config_variable(name)))
            if core.get_credentials() is None:
                self._search_at = time.monotonic() + SEARCH_PAUSE_SECONDS
                raise StoreAwayError(NO_CREDENTIALS)
            self._session = boto3.session.Session(botocore_session=core)
        return self._session


@functools.cache
def clients(settings: Settings) -> Clients:
    """Return the clients that jobs and pictures share."""
    return Clients(settings)


def split_bucket_url(bucket_url: str) -> tuple[str, str]:
    """Split s3://BUCKET/PREFIX into the bucket and the prefix of keys, which ends with a slash.

    Raises:
        StoreError: it is no such URL.
    """
    scheme, _, rest = bucket_url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise StoreError(f"BUCKET_URL {bucket_url!r} is not s3://BUCKET or s3://BUCKET/PREFIX")
    return bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


@contextmanager
def told_as_store_error(what: str) -> Iterator[None]:
    """Turn what AWS says into one line."""
    try:
        yield
    except ClientError as error:
        kind = StoreAwayError if _may_pass(error) else StoreError
        raise kind(f"cannot {what}: {error}") from error
    except BotoCoreError as error:
        raise StoreAwayError(f"cannot {what}: {error}") from error


def _may_pass(error: ClientError) -> bool:
    """Tell whether AWS itself is in trouble, or asks for patience; not for what it denies."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code = error.response["Error"]["Code"]
    return status >= 500 or status == 429 or "Throttl" in code or "Expired" in code
