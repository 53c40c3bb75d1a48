"""A server on loopback that answers as S3 would, with what a test tells it to say.

For what moto never does: refusals by code, another region, another clock.

    with CannedS3(lambda *_: Answer(403, error("AccessDenied"))) as url:
        subprocess.run([...], env={"AWS_ENDPOINT_URL": url, ...})
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def error(code: str, message: str = "as it is", more: str = "") -> bytes:
    """Return the body of a refusal (Amazon S3 API Reference, REST error responses)."""
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


class CannedS3:
    """Answers each request by `answer(method, path, If-Match)`, the query in the path."""

    def __init__(self, answer: Callable[[str, str, str], Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                said = answer(self.command, self.path, self.headers.get("If-Match", ""))
                self.send_response_only(said.status)
                headers = {"Date": self.date_time_string(), **said.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said.body)

            do_GET = do_HEAD = do_PUT = do_POST = reply  # noqa: N815  # http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
