"""The bucket on S3: one kept-alive connection, on the standard library alone.

boto3's client would cost 46 MB and 2.6 ms of CPU a request, most of it for the
description of an API of which three calls are used here; and a new machine,
which asks by this very module for its first release, does not have it.
"""

import http.client
import ssl
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from autoupdate.errors import BucketError
from autoupdate.store import sigv4
from autoupdate.store.answers import announced_length, refusal, why_unreached
from autoupdate.store.bucket import Offer
from autoupdate.store.endpoint import bucket_url
from autoupdate.store.keys import Keys
from autoupdate.time_limit import time_limit

# Of one call to the network, and of one whole request that is not a download.
SOCKET_SECONDS = 10
REQUEST_SECONDS = 20

_CHUNK_BYTES = 1 << 16
_MAX_ANSWER_BYTES = 4096


class S3Bucket:
    """One bucket, over one connection."""

    def __init__(
        self,
        bucket: str,
        region: str,
        keys: Callable[[], Keys],
        endpoint_url: str = "",
        ca_bundle: str = "",
        user_agent: str = "slipway",
    ) -> None:
        self._region = region
        self._user_agent = user_agent
        self.base_url = bucket_url(bucket, region, endpoint_url)
        self._host = urllib.parse.urlsplit(self.base_url).netloc
        self._ca_bundle = ca_bundle
        self._keys = keys
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None

    def head(self, key: str) -> Offer:
        with self._answer("HEAD", key) as response:
            return Offer(
                etag=response.getheader("ETag", ""),
                size=announced_length(response) or 0,
                release=response.getheader("x-amz-meta-release", ""),
                signature=response.getheader("x-amz-meta-signature", ""),
            )

    def download(
        self, key: str, etag: str, size: int, write: Callable[[bytes], object], seconds: float
    ) -> None:
        unchanged = {"If-Match": etag}
        with self._answer("GET", key, unchanged, seconds=seconds) as response:
            announced = announced_length(response)
            if announced not in {None, size}:
                raise BucketError(f"s3 sends {announced} bytes, the release is {size}")
            left = size
            while chunk := response.read(min(_CHUNK_BYTES, left + 1)):
                if len(chunk) > left:
                    raise BucketError(f"s3 sends more than the release's {size} bytes")
                write(chunk)
                left -= len(chunk)
            if left:
                raise BucketError(f"download cut short: {size - left} of {size} bytes")

    def put_report(self, key: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        with self._answer("PUT", key, headers, body):
            return  # 200 says it all

    def close(self) -> None:
        """Give the connection back; the next request opens another."""
        if self._connection:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _answer(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = REQUEST_SECONDS,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a response with status 200, its body unread.

        What fails here or in the caller's block costs the connection: nobody
        knows what is still in it.
        """
        try:
            keys = self._keys()  # which has bounds of its own
            with time_limit(seconds):
                response = self._send(keys, method, key, headers or {}, body)
                if response.status != http.client.OK:
                    raise refusal(response, self._region)
                yield response
                # Only an answer that was read to its end leaves room for the next.
                response.read(_MAX_ANSWER_BYTES)
                if not response.isclosed():
                    self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise BucketError(why_unreached(self._host, error), reached=False) from error
        except BaseException:
            self.close()
            raise

    def _send(
        self, keys: Keys, method: str, key: str, headers: Mapping[str, str], body: bytes
    ) -> http.client.HTTPResponse:
        url = f"{self.base_url}/{urllib.parse.quote(key, safe='/~')}"
        headers = {"user-agent": self._user_agent, **headers}
        request = _Request(
            method,
            urllib.parse.urlsplit(url).path,
            sigv4.signed(method, url, headers, body, keys, self._region),
            body,
        )
        kept_alive = self._connection is not None and self._connection.sock is not None
        try:
            return self._send_once(request)
        except ConnectionError:
            if not kept_alive:
                raise
            # The server closed it while it was idle, which is its right (RFC 9112, 9.3).
            self.close()
            return self._send_once(request)

    def _send_once(self, request: "_Request") -> http.client.HTTPResponse:
        connection = self._connection = self._connection or self._connect()
        connection.request(request.method, request.path, request.body or None, request.headers)
        return connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        if self.base_url.startswith("http:"):
            return http.client.HTTPConnection(self._host, timeout=SOCKET_SECONDS)
        self._tls = self._tls or load_certificates(self._ca_bundle)
        return http.client.HTTPSConnection(self._host, timeout=SOCKET_SECONDS, context=self._tls)


@dataclass(frozen=True)
class _Request:
    """A signed request, which may be sent twice."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def load_certificates(ca_bundle: str) -> ssl.SSLContext:
    """Return a TLS context that trusts `ca_bundle`, or what the system trusts.

    It is made once: loading 140 certificates costs ten times a handshake.

    Raises:
        OSError: the file is missing or holds none.
    """
    return ssl.create_default_context(cafile=ca_bundle or None)
