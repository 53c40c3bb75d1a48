"""What S3's answers mean, other than the one hoped for, and what to do about each."""

import http.client
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime

from autoupdate.errors import BucketError

_MAX_ERROR_BYTES = 4096

# S3 refuses what is signed at another time (Amazon S3 API Reference, Error
# responses: RequestTimeTooSkewed).
_MAX_CLOCK_SKEW_SECONDS = 15 * 60


def refusal(response: http.client.HTTPResponse, region: str) -> BucketError:
    """Return what an answer other than 200 says."""
    status = response.status
    code = _error_code(response.read(_MAX_ERROR_BYTES))
    elsewhere = response.getheader("x-amz-bucket-region", region)
    if elsewhere != region and status in {301, 307, 400, 403}:
        return BucketError(f"the bucket is in {elsewhere:.40}; set REGION={elsewhere:.40}")
    if status in {429, 500, 502, 503, 504}:
        return BucketError(f"s3 answers {status}{code}: overloaded", overloaded=True)
    meaning = {
        403: "not allowed, or no such object; see the instance profile's policy"
        + _clock_skew(response.getheader("Date")),
        404: "no such object or bucket",
        412: "the object was replaced during the download",
    }
    return BucketError(f"s3 answers {status}{code}: {meaning.get(status, response.reason)}")


def why_unreached(host: str, error: OSError | http.client.HTTPException) -> str:
    """Return in words what went wrong before or during an answer."""
    if isinstance(error, socket.gaierror):
        return f"cannot resolve {host}: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"no answer from {host}: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"cannot trust {host}: {error.verify_message}"
    if isinstance(error, OSError):
        return f"cannot reach {host}: {error.strerror or error}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the answer of {host} was cut short"
    return f"{host} does not answer in HTTP: {type(error).__name__}"


def announced_length(response: http.client.HTTPResponse) -> int | None:
    text = response.getheader("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _error_code(body: bytes) -> str:
    """Return the code in S3's XML error, found without an XML parser: strangers write it."""
    match = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", body)
    return f" {match[1].decode()}" if match else ""


def _clock_skew(date: str | None) -> str:
    """Return what is wrong with this machine's clock, by a Date header; "" if nothing."""
    try:
        seconds = time.time() - parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return ""
    if abs(seconds) <= _MAX_CLOCK_SKEW_SECONDS:
        return ""
    direction = "ahead of" if seconds > 0 else "behind"
    return f"; this machine's clock is {abs(seconds) / 60:.0f} min {direction} S3's: set it"
