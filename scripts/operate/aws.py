"""AWS as the desk asks it: clients of boto3, and what goes wrong in a person's words.

Example::

    ec2 = client("ec2", "eu-west-1")
    with asking("eu-west-1"):
        ec2.describe_vpcs()
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from operate.errors import AwsError

CONNECTIONS = 16

_CONFIG = Config(
    connect_timeout=10,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=CONNECTIONS,
)

# Amazon S3 API Reference, "Error responses"; IAM, CloudFormation and EC2 have their own names for
# the same. A HEAD has no body: there the code is the status.
NOT_FOUND = frozenset({"404", "NoSuchKey", "NoSuchBucket"})
PRECONDITION_FAILED = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict", "409"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
                      "RequestExpired"})  # fmt: skip
_UNKNOWN_KEY = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "AuthFailure",
                          "UnrecognizedClientException", "SignatureDoesNotMatch"})  # fmt: skip
_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_CLOCK = frozenset({"RequestTimeTooSkewed"})
_BUSY = frozenset({"SlowDown", "503", "ServiceUnavailable", "Throttling", "RequestLimitExceeded"})

_GET_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def client(service: str, region: str) -> Any:
    """Return boto3's client of a service; AWS_ENDPOINT_URL and AWS_PROFILE are boto3's own.

    Raises:
        AwsError: AWS_PROFILE names no profile.
    """
    with asking(region):
        return boto3.session.Session(region_name=region).client(service, config=_CONFIG)


@contextmanager
def asking(region: str) -> Iterator[None]:
    """Turn what boto3 raises inside into what a person can act on.

    Raises:
        AwsError: whatever went wrong, in one line.
    """
    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"].get("Code", ""))
        said = " ".join(str(error.response["Error"].get("Message", "")).split())
        raise AwsError(_refusal(code, said), code, said) from error
    except BotoCoreError as error:
        raise AwsError(_failure(error, region)) from error


def _refusal(code: str, said: str) -> str:
    said = said or code
    if code in _EXPIRED:
        return f"the AWS credentials have expired; get new ones (aws sso login): {said}"
    if code in _UNKNOWN_KEY:
        return f"AWS does not know these credentials; {_GET_CREDENTIALS}: {said}"
    if code in _DENIED:
        return f"AWS denies it to these credentials; the role Publisher of make stack may: {said}"
    if code in _CLOCK:
        return f"this computer's clock is wrong, so that AWS takes no request of it: {said}"
    if code in _BUSY:
        return f"AWS is busy; try again: {said}"
    return said if code in said else f"{said} ({code})"


def _failure(error: BotoCoreError, region: str) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"there are no AWS credentials; {_GET_CREDENTIALS}: {said}"
    if isinstance(error, ProfileNotFound):
        return f"AWS_PROFILE: {said}"
    if isinstance(error, SSOError | TokenRetrievalError | CredentialRetrievalError):
        return f"the AWS credentials cannot be had; log in again (aws sso login): {said}"
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | HTTPClientError):
        return f"AWS is not reached: {said}{_doubt(region)}"
    return said


def _doubt(region: str) -> str:
    """Say so if the region is none that botocore knows: its servers have no address then."""
    session = boto3.session.Session()
    known = [
        each
        for partition in session.get_available_partitions()
        for each in session.get_available_regions("s3", partition)
    ]
    if region in known:
        return ""
    alike = difflib.get_close_matches(region, known, 1)
    return f"; REGION {region} may be wrong" + "".join(f", is it {each}?" for each in alike)
