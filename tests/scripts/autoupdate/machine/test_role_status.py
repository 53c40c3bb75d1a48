"""ROLE.json is written by a service with fewer rights: what it may make the updater do."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_server import answering, raw_server

from autoupdate.machine import role_status
from autoupdate.machine.role_status import RoleStatus

NOBODY = 65534

# Prints "ready", then which signal came.
LISTENER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
print("ready", flush=True)
print(signal.sigwait([signal.SIGUSR2]).name, flush=True)
"""


@pytest.fixture
def listener() -> Iterator["subprocess.Popen[str]"]:
    """A process of this user that waits for SIGUSR2."""
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def claim(pid: int, owner: int | None = None) -> RoleStatus:
    return RoleStatus(pid, "1.0-1", "ready", "", "", os.getuid() if owner is None else owner)


def document(**changes: object) -> bytes:
    fields = {"role": "web", "pid": 4242, "version": "1.0-1", "state": "ready",
              "since": "2026-11-23T08:10:00Z", "error": ""}  # fmt: skip
    return json.dumps({**fields, **changes}).encode()


def test_signal_reaches_a_process_of_the_files_owner(listener: "subprocess.Popen[str]") -> None:
    assert role_status.send_usr2(claim(listener.pid))
    assert listener.stdout and listener.stdout.readline() == "SIGUSR2\n"


def test_process_of_another_user_is_never_signalled(listener: "subprocess.Popen[str]") -> None:
    assert not role_status.send_usr2(claim(listener.pid, owner=NOBODY))
    listener.send_signal(signal.SIGTERM)
    assert listener.wait() == -signal.SIGTERM


def test_process_that_has_ended_is_not_signalled() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not role_status.send_usr2(claim(process.pid))


def test_zombie_does_not_count_as_running() -> None:
    # Its exit status is not asked for until the end of the test.
    process = subprocess.Popen(["true"])
    stat = Path(f"/proc/{process.pid}/stat")
    while ") Z " not in stat.read_text():
        assert process.pid
    assert not role_status.is_alive(claim(process.pid))
    process.wait()


@pytest.mark.parametrize("pid", [1, 0, -1, True, "17", 4.5, None, 2**40, [2]])
def test_claim_of_a_pid_that_no_role_has_is_ignored(pid: object) -> None:
    assert role_status.parse(document(pid=pid), owner=0) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"[" * 60_000, b"\xff\xfe", b"{}"])
def test_file_that_makes_no_sense_is_no_file(body: bytes) -> None:
    assert role_status.parse(body, owner=0) is None


def test_endless_texts_are_cut() -> None:
    status = role_status.parse(document(error="e" * 50_000, version="v" * 5000), owner=0)
    assert status and len(status.error) == len(status.version) == 400


@given(st.binary(max_size=300) | st.dictionaries(st.text(), st.integers()).map(json.dumps).map(
    str.encode))  # fmt: skip
def test_any_bytes_are_a_status_or_none(body: bytes) -> None:
    role_status.parse(body, owner=0)


def test_owner_is_the_files_not_the_documents(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    path.write_bytes(document(owner=0, uid=0))
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    status = role_status.read(path)
    assert status and status.owner == path.stat().st_uid


def test_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "roots.json").write_bytes(document())
    (tmp_path / "web.json").symlink_to(tmp_path / "roots.json")
    assert role_status.read(tmp_path / "web.json") is None


def test_pipe_in_the_files_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web.json")
    assert role_status.read(tmp_path / "web.json") is None


def test_folder_and_absence_are_no_status(tmp_path: Path) -> None:
    assert role_status.read(tmp_path) is None
    assert role_status.read(tmp_path / "none.json") is None


# /healthz


def test_health_answers_its_version() -> None:
    body = b'{"status":"ok","version":"1.0-2"}'
    with raw_server(answering("HTTP/1.0 200 OK", f"Content-Length: {len(body)}", body=body)) as it:
        port = int(it.url.rpartition(":")[2])
        # A listener on every address is asked on this machine's own.
        for host in ("127.0.0.1", "0.0.0.0", ""):  # noqa: S104
            assert role_status.ask_health(host, port) == "1.0-2"


@pytest.mark.parametrize(
    ("line", "body", "says"),
    [
        ("HTTP/1.0 503 Down", b'{"reason":"no table jobs"}', "503: .*no table jobs"),
        ("HTTP/1.0 200 OK", b"fine", "no version in the answer"),
        ("HTTP/1.0 200 OK", b"[]", "no version in the answer"),
        ("HTTP/1.0 200 OK", b"[" * 50_000, "no version in the answer"),
        ("banana", b"", "no answer in HTTP"),
    ],
)
def test_health_that_is_none_is_said(line: str, body: bytes, says: str) -> None:
    script = answering(line, f"Content-Length: {len(body)}", body=body)
    with raw_server(script) as server, pytest.raises(ValueError, match=says):
        role_status.ask_health("127.0.0.1", int(server.url.rpartition(":")[2]))
