"""The two AWS clients of the service, made only when it is told to use them."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
)

from panorama.errors import StoreAwayError, StoreError
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

PASSING_CODES = re.compile(r"Throttl|Expired|TimeTooSkewed|RequestTimeout|OperationAborted")
PASSING_ERRORS = (ConnectionError, HTTPClientError, CredentialRetrievalError)

# What asks while a thread searches for credentials, or soon after one has in vain, is refused.
SEARCH_SECONDS = 1.0
SEARCH_PAUSE_SECONDS = 3.0


class Clients:
    """The AWS clients of this process, for all of its threads.

    Made when first needed: a client that is made when there are no credentials never gets any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._making = threading.Lock()
        self._searching = threading.Lock()
        self._next_search = 0.0  # time.monotonic()
        self._session: boto3.session.Session | None = None
        self._s3: S3Client | None = None
        self._sqs: SQSClient | None = None

    @property
    def s3(self) -> S3Client:
        """A client of the region that the settings name.

        Raises:
            StoreAwayError: there are no credentials now.
            StoreError: with these settings there is no such client.
        """
        if self._s3 is None:
            self._s3 = self._make("s3", self._settings.region)
        return self._s3

    @property
    def sqs(self) -> SQSClient:
        """A client of the region that the queue's URL names, if it names one.

        https://sqs.REGION.amazonaws.com/ACCOUNT/NAME (AWS General Reference, SQS endpoints).

        Raises:
            StoreAwayError, StoreError: as above.
        """
        url = self._settings.queue_url
        parts = url.split("/")[2].split(".") if "//" in url else []
        named = len(parts) > 3 and parts[0] == "sqs"
        if self._sqs is None:
            self._sqs = self._make("sqs", parts[1] if named else self._settings.region)
        return self._sqs

    def _make(self, service: str, region: str) -> Any:
        session = self._find_session()
        with self._making:  # a session makes one at a time
            try:
                return session.client(
                    service,
                    region_name=region or None,
                    endpoint_url=self._settings.aws_endpoint_url or None,
                    config=CONFIG,
                )
            except ValueError as error:
                raise StoreError(f"cannot use {service}: {error}") from error

    def _find_session(self) -> boto3.session.Session:
        if self._session is None:
            # One thread searches. The others wait no longer than a search takes that succeeds.
            if not self._searching.acquire(timeout=SEARCH_SECONDS):
                raise StoreAwayError(NO_CREDENTIALS)
            try:
                self._session = self._session or self._search()
            finally:
                self._searching.release()
        return self._session

    def _search(self) -> boto3.session.Session:
        if time.monotonic() < self._next_search:
            raise StoreAwayError(NO_CREDENTIALS)
        core = botocore.session.Session()
        for name, least in METADATA.items():
            core.set_config_variable(name, max(least, core.get_config_variable(name)))
        if core.get_credentials() is None:
            self._next_search = time.monotonic() + SEARCH_PAUSE_SECONDS
            raise StoreAwayError(NO_CREDENTIALS)
        return boto3.session.Session(botocore_session=core)


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
    except (BotoCoreError, ClientError) as error:
        kind = StoreAwayError if _may_pass(error) else StoreError
        raise kind(f"cannot {what}: {error}") from error


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    """Tell whether AWS is not reached, is in trouble or asks for patience; not for what it denies.

    Codes: Amazon S3 API Reference, "Error responses"; Amazon SQS API Reference, "Common errors".
    """
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        return status >= 500 or status == 429 or bool(PASSING_CODES.search(code))
    return isinstance(error, PASSING_ERRORS)
