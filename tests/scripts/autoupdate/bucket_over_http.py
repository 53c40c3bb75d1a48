"""A SimulatedBucket that processes can reach: S3 over HTTP, as far as an updater asks for it.

Example::

    with bucket_over_http(machine.bucket) as url:
        machine.environ["AWS_ENDPOINT_URL"] = url
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from simulated_bucket import SimulatedBucket

from autoupdate.errors import BucketError


@contextmanager
def bucket_over_http(bucket: SimulatedBucket) -> Iterator[str]:
    """Serve `bucket` under any bucket's name; yield the endpoint's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # The body, a second packet, would wait for the receipt of the head.
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self._send_object()

        def do_GET(self) -> None:
            self._send_object()

        def do_PUT(self) -> None:
            bucket.put_report(self._key(), self.rfile.read(int(self.headers["Content-Length"])))
            self._send(200)

        def log_message(self, *_: object) -> None:
            """Say nothing: a test asks the bucket what it was asked."""

        def _key(self) -> str:
            return self.path.split("/", maxsplit=2)[2]

        def _send_object(self) -> None:
            body = bytearray()
            try:
                offer = bucket.head(self._key())
                if self.command == "GET":
                    etag = self.headers["If-Match"]
                    bucket.download(self._key(), etag, offer.size, body.extend, seconds=0)
            except BucketError:
                self._send(404)
                return
            metadata = {"release": offer.release, "signature": offer.signature}
            headers = {f"x-amz-meta-{name}": text for name, text in metadata.items()}
            self._send(200, {"ETag": offer.etag, **headers}, bytes(body), offer.size)

        def _send(
            self,
            status: int,
            headers: dict[str, str] | None = None,
            body: bytes = b"",
            length: int = 0,
        ) -> None:
            self.send_response(status)
            for name, text in {**(headers or {}), "Content-Length": str(length)}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
