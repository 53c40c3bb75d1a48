"""The bucket over real HTTP: the local cloud's S3, and servers that answer what no S3 would."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from raw_server import RawServer, Script, answering, raw_server

from autoupdate.errors import BucketError
from autoupdate.store.credentials import Credentials
from autoupdate.store.endpoint import bucket_url
from autoupdate.store.s3 import S3Bucket
from develop.localcloud import LocalCloud

KEY = "stable/panorama-server.deb"
OK = ("HTTP/1.1 200 OK", 'ETag: "1"')


@pytest.fixture(autouse=True)
def _no_connection_left_open(aws: str) -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def stored(aws: str, cloud: LocalCloud) -> Callable[..., None]:
    """Store an object as the operator's AWS CLI would."""
    client = cloud.client("s3")
    client.create_bucket(Bucket="a-bucket")

    def store(body: bytes, **metadata: str) -> None:
        client.put_object(Bucket="a-bucket", Key=KEY, Body=body, Metadata=metadata)

    return store


opened: list[S3Bucket] = []


def at(url: str) -> S3Bucket:
    opened.append(S3Bucket("a-bucket", "us-east-1", Credentials().get, url))
    return opened[-1]


def never(_chunk: bytes) -> None:
    pytest.fail("passed on a byte")


def fails(ask: Callable[[], object]) -> BucketError:
    with pytest.raises(BucketError) as caught:
        ask()
    return caught.value


# Against the local cloud


def test_head_tells_what_was_published(aws: str, stored: Callable[..., None]) -> None:
    stored(b"body", release='{"a":1}', signature="c2ln")
    offer = at(aws).head(KEY)
    assert (offer.size, offer.release, offer.signature) == (4, '{"a":1}', "c2ln")


def test_same_bytes_with_other_metadata_are_another_offer(
    aws: str, stored: Callable[..., None]
) -> None:
    stored(b"body", release="1", signature="c2ln")
    first = at(aws).head(KEY)
    stored(b"body", release="2", signature="c2ln")
    second = at(aws).head(KEY)
    assert first.etag == second.etag
    assert first != second


def test_download_gives_the_body(aws: str, stored: Callable[..., None]) -> None:
    body = os.urandom(300_000)
    stored(body)
    bucket = at(aws)
    received: list[bytes] = []
    bucket.download(KEY, bucket.head(KEY).etag, len(body), received.append, 60)
    assert b"".join(received) == body


def test_object_replaced_since_the_head_is_not_downloaded(
    aws: str, stored: Callable[..., None]
) -> None:
    stored(b"one")
    bucket = at(aws)
    etag = bucket.head(KEY).etag
    stored(b"two")
    error = fails(lambda: bucket.download(KEY, etag, 3, never, 60))
    assert "replaced during the download" in str(error)


def test_report_is_stored(aws: str, stored: Callable[..., None]) -> None:
    bucket = at(aws)
    bucket.put_report("fleet/web-1.json", b"{}")
    assert bucket.head("fleet/web-1.json").size == 2


def test_missing_object_is_said(aws: str, stored: Callable[..., None]) -> None:
    assert "404" in str(fails(lambda: at(aws).head("stable/nothing.deb")))


# Connections


def test_one_connection_serves_every_poll() -> None:
    with raw_server(answering(*OK, "Content-Length: 0")) as server:
        bucket = at(server.url)
        for _ in range(5):
            bucket.head(KEY)
        assert server.connections == 1


def test_connection_that_the_server_closed_meanwhile_is_opened_again() -> None:
    def answer_and_close(connection: socket.socket, request: bytes) -> None:
        answering(*OK, "Content-Length: 0")(connection, request)
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(answer_and_close) as server:
        bucket = at(server.url)
        for _ in range(3):
            assert bucket.head(KEY).etag == '"1"'
        assert server.connections == 3


def test_server_that_closes_without_an_answer_is_asked_once_more_at_most() -> None:
    with raw_server(lambda connection, _: connection.shutdown(socket.SHUT_RDWR)) as server:
        error = fails(lambda: at(server.url).head(KEY))
        assert not error.reached
        assert len(server.requests) == 1


def test_nobody_listening_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    error = fails(lambda: at(f"http://127.0.0.1:{port}").head(KEY))
    assert str(error) == f"cannot reach 127.0.0.1:{port}: Connection refused"
    assert not error.reached


def test_name_that_does_not_resolve_is_unreachable() -> None:
    error = fails(lambda: at("http://no-such-host.invalid").head(KEY))
    assert str(error).startswith("cannot resolve no-such-host.invalid: ")


def test_answer_that_trickles_for_ever_is_cut() -> None:
    def trickle(connection: socket.socket, _request: bytes) -> None:
        while True:
            connection.sendall(b"H")
            time.sleep(0.01)

    with raw_server(trickle) as server:
        error = fails(lambda: at(server.url).download(KEY, "1", 3, never, 0.3))
    assert "not done within 0.3 s" in str(error)


@pytest.mark.parametrize(
    "script",
    [
        answering("SSH-2.0-OpenSSH_9.2"),
        answering("HTTP/1.1 banana"),
        answering("HTTP/1.1 200 OK", "A: " + "a" * 70_000),
        answering("HTTP/1.1 200 OK", *[f"A{each}: b" for each in range(1000)]),
        answering("\x00\x01\x02"),
    ],
)
def test_answer_that_is_no_http_is_an_error_of_the_bucket(script: Script) -> None:
    with raw_server(script) as server:
        assert not fails(lambda: at(server.url).head(KEY)).reached


# Bodies


def download(server: RawServer, size: int) -> tuple[str, int]:
    """Download, and return what was wrong and how many bytes were passed on."""
    received: list[bytes] = []
    error = fails(lambda: at(server.url).download(KEY, '"1"', size, received.append, 30))
    return str(error), sum(map(len, received))


def test_body_longer_than_signed_is_cut_at_its_announcement() -> None:
    with raw_server(answering(*OK, "Content-Length: 5000", body=b"a" * 5000)) as server:
        assert download(server, 4000) == ("s3 sends 5000 bytes, the release is 4000", 0)


def test_endless_body_is_cut_at_the_signed_size() -> None:
    def pour(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"a" * 0x1000 + b"\r\n")

    with raw_server(pour) as server:
        error, passed_on = download(server, 100_000)
    assert "more than the release's 100000 bytes" in error
    assert passed_on <= 100_000


def test_body_cut_short_is_an_error() -> None:
    def cut(connection: socket.socket, request: bytes) -> None:
        answering(*OK, "Content-Length: 4000", body=b"a" * 1000)(connection, request)
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(cut) as server:
        error, _ = download(server, 4000)
    assert "cut short" in error


# What the answers mean


def test_bucket_in_another_region_is_named() -> None:
    script = answering("HTTP/1.1 301 Moved", "x-amz-bucket-region: eu-west-1", "Content-Length: 0")
    with raw_server(script) as server:
        error = fails(lambda: at(server.url).head(KEY))
    assert str(error) == "the bucket is in eu-west-1; set REGION=eu-west-1"


def test_throttling_asks_for_patience() -> None:
    body = b"<Error><Code>SlowDown</Code></Error>"
    script = answering("HTTP/1.1 503 Slow", f"Content-Length: {len(body)}", body=body)
    with raw_server(script) as server:
        error = fails(lambda: at(server.url).put_report("fleet/web-1.json", b"{}"))
    assert error.overloaded
    assert "503 SlowDown" in str(error)


def test_clock_that_is_wrong_is_said_with_the_refusal() -> None:
    date = formatdate(time.time() + 7200, usegmt=True)
    script = answering("HTTP/1.1 403 Forbidden", f"Date: {date}", "Content-Length: 0")
    with raw_server(script) as server:
        error = fails(lambda: at(server.url).head(KEY))
    assert "this machine's clock is 120 min behind S3's" in str(error)


def test_refusal_without_a_wrong_clock_blames_no_clock() -> None:
    date = formatdate(time.time(), usegmt=True)
    script = answering("HTTP/1.1 403 Forbidden", f"Date: {date}", "Content-Length: 0")
    with raw_server(script) as server:
        assert "clock" not in str(fails(lambda: at(server.url).head(KEY)))


@pytest.mark.parametrize(
    ("bucket", "region", "url"),
    [
        ("demo", "eu-west-1", "https://demo.s3.eu-west-1.amazonaws.com"),
        ("my.demo", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/my.demo"),
        ("demo", "cn-north-1", "https://demo.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_address_follows_bucket_and_region(bucket: str, region: str, url: str) -> None:
    assert bucket_url(bucket, region) == url


# Credentials


def test_machine_without_credentials_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    error = fails(lambda: at("http://127.0.0.1:1").head(KEY))
    assert "give the instance a profile" in str(error)


def test_credentials_come_from_the_instance_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    role = (
        b'{"Code":"Success","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"t0ken",'
        b'"Expiration":"2999-01-01T00:00:00Z"}'
    )

    def metadata(connection: socket.socket, request: bytes) -> None:
        path = request.split()[1]
        body = b"token" if path.endswith(b"/token") else b"machine"
        if path.endswith(b"/machine"):
            body = role
        answering("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", body=body)(connection, b"")

    with raw_server(metadata) as imds, raw_server(answering(*OK, "Content-Length: 0")) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url)
        bucket = at(server.url)
        bucket.head(KEY)
        bucket.head(KEY)
        assert imds.requests[0].startswith(b"PUT /latest/api/token")
        assert len(imds.requests) == 3, "asked once, not per poll"
    assert b"Credential=ASIAROLE/" in server.requests[0]
    assert b"x-amz-security-token: t0ken" in server.requests[0]
