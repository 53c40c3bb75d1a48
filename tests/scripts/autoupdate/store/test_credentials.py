"""Where credentials come from, and that they never grow old."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_server import RawServer, Script, answering, raw_server

from autoupdate.errors import BucketError
from autoupdate.store import metadata
from autoupdate.store.credentials import REFRESH_SECONDS, Credentials
from autoupdate.store.keys import Keys, Temporary

OK = "HTTP/1.1 200 OK"
BORN = 1_700_000_000.0


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a home without credentials, in an environment without any."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    return tmp_path


def role(key: str, expires: float) -> dict[str, str]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    return {"AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": at}


class Imds:
    """An instance metadata service whose role's credentials change as it is told."""

    def __init__(self) -> None:
        self.document: Any = role("ASIA1", BORN + 6 * 3600)
        self.status = OK

    def __call__(self, connection: Any, request: bytes) -> None:
        path = request.split()[1]
        body = b"machine\n"
        if path.endswith(b"/token"):
            assert request.startswith(b"PUT ")
            body = b"a-token"
        else:
            assert b"X-aws-ec2-metadata-token: a-token" in request
        if path.endswith(b"/machine"):
            body = json.dumps(self.document).encode()
        answering(self.status, f"Content-Length: {len(body)}", body=body)(connection, b"")


@pytest.fixture
def imds(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Imds, RawServer]]:
    script = Imds()
    with raw_server(script) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        yield script, server


def refusal(get: Callable[[], object]) -> str:
    with pytest.raises(BucketError) as caught:
        get()
    assert not caught.value.reached
    return str(caught.value)


# In their order


def test_environment_comes_first(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    write(home, "[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert Credentials().get() == Keys("ENV", "secret", "")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert Credentials().get() == Keys("ENV", "secret", "t")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_pair_is_said_and_stands_for_no_other_identity(
    imds: tuple[Imds, RawServer], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "half")
    assert "is not set, and the other half of the pair is" in refusal(Credentials().get)
    assert imds[1].requests == []


def write(home: Path, text: str) -> Path:
    path = home / ".aws/credentials"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_file_is_read_again_when_somebody_has_rotated_its_keys(home: Path) -> None:
    credentials = Credentials()
    for key in ("FIRST", "SECOND"):
        write(home, f"[default]\naws_access_key_id={key}\naws_secret_access_key=s%s\n")
        assert credentials.get() == Keys(key, "s%s", "")


def test_profile_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    path.write_text(
        "[default]\naws_access_key_id=A\naws_secret_access_key=a\n"
        "[ops]\naws_access_key_id=B\naws_secret_access_key=b\naws_session_token=t\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "ops")
    assert Credentials().get() == Keys("B", "b", "t")


@pytest.mark.parametrize("text", ["no section\n", "[default\n", "\0\xff"])
def test_damaged_file_is_named(home: Path, text: str) -> None:
    path = write(home, "")
    path.write_bytes(text.encode("latin-1"))
    assert str(path) in refusal(Credentials().get)


# The instance profile


def test_instance_profile_is_asked_once_and_not_for_each_request(
    imds: tuple[Imds, RawServer],
) -> None:
    _, server = imds
    credentials = Credentials(lambda: BORN, lambda: BORN)
    assert credentials.get() == credentials.get() == Keys("ASIA1", "s", "t")
    assert len(server.requests) == 3


def test_keys_are_fetched_anew_before_they_end(imds: tuple[Imds, RawServer]) -> None:
    script, _ = imds
    now = [BORN]
    credentials = Credentials(lambda: now[0], lambda: now[0])
    assert credentials.get().access_key == "ASIA1"
    script.document = role("ASIA2", BORN + 12 * 3600)
    now[0] = BORN + 6 * 3600 - REFRESH_SECONDS - 1
    assert credentials.get().access_key == "ASIA1"
    now[0] += 1
    assert credentials.get().access_key == "ASIA2"


def test_outage_of_the_service_is_lived_through_while_the_keys_are_valid(
    imds: tuple[Imds, RawServer],
) -> None:
    script, _ = imds
    now = [BORN]
    credentials = Credentials(lambda: now[0], lambda: now[0])
    assert credentials.get().access_key == "ASIA1"
    script.status = "HTTP/1.1 500 Internal Server Error"
    now[0] = BORN + 6 * 3600 - 1
    assert credentials.get().access_key == "ASIA1"
    now[0] += 1
    assert "answers 500" in refusal(credentials.get)
    script.status, script.document = OK, role("ASIA2", BORN + 12 * 3600)
    assert credentials.get().access_key == "ASIA2"


def test_keys_that_the_service_extends_in_its_own_outage_are_used(
    imds: tuple[Imds, RawServer],
) -> None:
    script, server = imds
    script.document = role("ASIA-OLD", BORN - 60)
    credentials = Credentials(lambda: BORN, lambda: BORN)
    assert credentials.get() == credentials.get() == Keys("ASIA-OLD", "s", "t")
    assert len(server.requests) == 3, "not for each request even then"


def test_clock_that_is_set_back_leaves_no_keys_in_use_that_have_ended(
    imds: tuple[Imds, RawServer],
) -> None:
    script, _ = imds
    now, monotonic = [BORN + 365 * 86400], [0.0]
    credentials = Credentials(lambda: now[0], lambda: monotonic[0])
    assert credentials.get().access_key == "ASIA1"
    now[0], monotonic[0] = BORN, 120.0
    assert credentials.get().access_key == "ASIA1"
    script.document = role("ASIA2", BORN + 12 * 3600)
    now[0], monotonic[0] = BORN + 6 * 3600, 6 * 3600.0
    assert credentials.get().access_key == "ASIA2"


def test_answer_that_is_nested_without_end_is_said(imds: tuple[Imds, RawServer]) -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    imds[0].document = deep
    assert "give the instance a profile" in refusal(Credentials().get)
    with pytest.raises(ValueError, match="no credentials in"):
        Temporary.parse("[" * 60_000)


@pytest.mark.parametrize(
    "document",
    [
        [],
        "x",
        {},
        {"Code": "Failed"},
        {**role("A", BORN), "Expiration": 7},
        {**role("A", BORN), "Token": "a\nb"},
        {**role("A", BORN), "Token": "€"},
        {**role("A", BORN), "SecretAccessKey": {}},
    ],
)
def test_answer_that_holds_no_keys_is_said(imds: tuple[Imds, RawServer], document: object) -> None:
    imds[0].document = document
    assert "give the instance a profile" in refusal(Credentials().get)


def test_service_that_is_switched_off_is_not_asked(
    imds: tuple[Imds, RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "AWS_EC2_METADATA_DISABLED" in refusal(Credentials().get)
    assert imds[1].requests == []


def test_service_that_sends_a_byte_now_and_then_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trickle(connection: Any, _request: bytes) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"a" * 4000:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            return  # whom it was for has gone

    monkeypatch.setattr(metadata, "SECONDS", 0.2)
    with raw_server(trickle) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        assert "does not answer: not done within 0.2 s" in refusal(Credentials().get)


# A container's provider


def container(key: str = "ASIAECS") -> Script:
    body = json.dumps(role(key, time.time() + 3600)).encode()
    return answering(OK, f"Content-Length: {len(body)}", body=body)


def test_container_gives_keys_for_the_token_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a-secret\n")
    with raw_server(container()) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1?id=7")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert Credentials().get().access_key == "ASIAECS"
        assert server.requests[0].startswith(b"GET /v1?id=7 ")
        assert b"Authorization: a-secret\r\n" in server.requests[0]


@pytest.mark.parametrize("url", ["http://example.org/", "http://10.0.0.1/", "http:///x"])
def test_token_is_sent_to_no_other_machine_without_tls(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a-secret")
    assert "without TLS" in refusal(Credentials().get)
