"""The two AWS clients of the service, made only when it is told to use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from panorama.jobs import StoreError
from panorama.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

# Bounds for each call: a request waits no longer for a store than its client waits for it.
CONFIG = Config(connect_timeout=3, read_timeout=15, retries={"mode": "standard", "max_attempts": 3})


def s3_client(settings: Settings) -> S3Client:
    client: S3Client = boto3.session.Session().client(
        "s3",
        region_name=settings.region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=CONFIG,
    )
    return client


def sqs_client(settings: Settings) -> SQSClient:
    """Return a client for the region that the queue's URL names, if it names one.

    https://sqs.REGION.amazonaws.com/ACCOUNT/NAME (AWS General Reference, SQS endpoints).
    """
    host = settings.queue_url.split("/")[2] if "//" in settings.queue_url else ""
    parts = host.split(".")
    region = parts[1] if len(parts) > 3 and parts[0] == "sqs" else settings.region
    client: SQSClient = boto3.session.Session().client(
        "sqs",
        region_name=region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=CONFIG,
    )
    return client


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
