"""The two AWS clients of the service, made only when it is told to use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from panorama.jobs import StoreError
from panorama.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

# Bounds for each call: a request waits no longer for a store than its client waits for it.
CONFIG = Config(connect_timeout=3, read_timeout=15, retries={"mode": "standard", "max_attempts": 3})

# botocore gives the metadata service 1 s and one try: too little for a machine that is busy with
# proving its next release.
METADATA_SECONDS = 5
METADATA_ATTEMPTS = 2


def s3_client(settings: Settings) -> S3Client:
    """Return a client that has credentials.

    Raises:
        StoreError: there are none now.
    """
    client: S3Client = _session().client(
        "s3",
        region_name=settings.region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=CONFIG,
    )
    return client


def sqs_client(settings: Settings) -> SQSClient:
    """Return a client for the region that the queue's URL names, if it names one.

    https://sqs.REGION.amazonaws.com/ACCOUNT/NAME (AWS General Reference, SQS endpoints).

    Raises:
        StoreError: there are no credentials now.
    """
    host = settings.queue_url.split("/")[2] if "//" in settings.queue_url else ""
    parts = host.split(".")
    region = parts[1] if len(parts) > 3 and parts[0] == "sqs" else settings.region
    client: SQSClient = _session().client(
        "sqs",
        region_name=region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=CONFIG,
    )
    return client


def _session() -> boto3.session.Session:
    """Return a session that has found credentials: a client made without never gets any."""
    core = botocore.session.Session()
    core.set_config_variable("metadata_service_timeout", METADATA_SECONDS)
    core.set_config_variable("metadata_service_num_attempts", METADATA_ATTEMPTS)
    try:
        found = core.get_credentials()
    except BotoCoreError as error:
        raise StoreError(f"cannot get AWS credentials: {error}") from error
    if found is None:
        raise StoreError(
            "no AWS credentials; give the instance a profile, or set AWS_ACCESS_KEY_ID"
        )
    return boto3.session.Session(botocore_session=core)


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
        raise StoreError(f"cannot {what}: {error}") from error
