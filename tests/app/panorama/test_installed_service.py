"""The built executable at work: alone in a folder, replaced while it serves, end to end."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation, asking, children_of, installed
from project import BUILD, NAME
from waiting import wait_for

from develop.demo.photos import take_photos


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path / "installed") as place:
        yield place


FORM = "multipart/form-data; boundary=a-boundary"


def form(photos: Path) -> bytes:
    """Return the body that uploads all photos of a folder."""
    parts = [
        f'--a-boundary\r\nContent-Disposition: form-data; name="photos"; '
        f'filename="{photo.name}"\r\n\r\n'.encode()
        + photo.read_bytes()
        + b"\r\n"
        for photo in sorted(photos.iterdir())
    ]
    return b"".join(parts) + b"--a-boundary--\r\n"


def upload(place: Installation, photos: Path) -> str:
    """Upload all photos of a folder with the API; return the job's path."""
    status, body = place.ask("/api/panoramas", form(photos), **{"Content-Type": FORM})
    assert status == 202, body
    return f"/api/panoramas/{json.loads(body)['id']}"


def test_executable_alone_serves_with_nothing_beside_python3(place: Installation) -> None:
    (place.executable.parent / "stitch").unlink()
    assert [each.name for each in place.executable.parent.iterdir()] == [NAME]
    web = place.start("web")
    assert place.health() == {"status": "ok", "version": place.version}
    web.terminate()
    assert web.wait(60) == 0
    assert place.status("web") == {}, "a clean stop takes the status file away"


def test_missing_helper_is_said_by_check(place: Installation, tmp_path: Path) -> None:
    helper = place.executable.parent / "stitch"
    assert place.run("check").returncode == 0
    helper.rename(tmp_path / "stitch")
    result = place.run("check")
    assert result.returncode == 1
    [line] = [line for line in result.stdout.splitlines() if line.startswith("failed")]
    assert line.startswith(f"failed  helper: the helper is not at {helper}")
    assert "set STITCH to its path" in line
    # By setting; and where the package puts it.
    assert place.run("check", STITCH=str(tmp_path / "stitch")).returncode == 0
    libraries = place.folder / "lib" / NAME
    libraries.mkdir(parents=True)
    shutil.copy(BUILD / "stitch", libraries)
    assert place.run("check").returncode == 0


def test_check_changes_nothing(place: Installation) -> None:
    place.run("check")  # unpacks itself
    before = {str(path) for path in place.folder.rglob("*")}
    assert place.run("check").returncode == 0
    assert {str(path) for path in place.folder.rglob("*")} == before


def wait_for_more(answers: list[tuple[int, bytes]], count: int) -> None:
    before = len(answers)
    wait_for(lambda: len(answers) >= before + count, "more answers")


def test_replaced_executable_never_reaches_what_serves(place: Installation) -> None:
    place.start("web")
    second = place.edited("2.0-1", {"templates/base.html": ("</footer>", " SECOND</footer>")})
    truncated = place.folder / "truncated"
    truncated.write_bytes(second.read_bytes()[:1000])
    pages = ("/", "/healthz", "/static/style.css", f"/panoramas/{'0' * 32}", "/nothing")
    with asking(place, *pages) as answers:
        for new in (second, truncated, second, BUILD / NAME, second):
            place.install(new)
            wait_for_more(answers, 4 * len(pages))
        place.executable.unlink()
        wait_for_more(answers, 4 * len(pages))
    assert {status for status, _ in answers} == {200, 404}
    assert not [body for _, body in answers if b"SECOND" in body or b"2.0-1" in body]


def test_photos_become_a_panorama_over_a_restart_of_both_roles(
    place: Installation, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    take_photos(photos)
    pids = {role: place.start(role).pid for role in ("web", "vision")}
    job = upload(place, photos)
    place.install(place.edited("2.0-1", {"templates/base.html": ("</footer>", " 2</footer>")}))
    for role in pids:
        assert place.restart(role) == "2.0-1"

    wait_until_done(place, job)
    assert {role: place.status(role)["pid"] for role in pids} == pids
    place.wait_served_by("2.0-1")


def wait_until_done(place: Installation, job: str) -> None:
    def state() -> str:
        return str(json.loads(place.ask(job)[1])["state"])

    wait_for(lambda: state() in {"done", "failed"}, "the job's end")
    assert state() == "done", place.ask(job)


def test_long_request_and_long_job_end_well_after_a_restart(
    place: Installation, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    slow = tmp_path / "slow-stitch"
    slow.write_text(
        f"#!/bin/sh\n[ $# -lt 3 ] || {{ echo run >> {runs}; sleep 20; }}\n"
        f'exec {place.executable.parent}/stitch "$@"\n'
    )
    slow.chmod(0o755)
    place.set(STITCH=str(slow))
    photos = tmp_path / "photos"
    photos.mkdir()
    take_photos(photos)
    for role in ("web", "vision"):
        place.start(role)
    job = upload(place, photos)
    wait_for(runs.exists, "the job has begun")

    body = form(photos)
    slow_upload = socket.create_connection(("127.0.0.1", place.port))
    head = f"POST /api/panoramas HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
    slow_upload.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:1000])
    began = time.monotonic()

    place.install(place.edited("2.0-1", {"templates/base.html": ("</footer>", " 2</footer>")}))
    for role in ("web", "vision"):
        assert place.restart(role) == "2.0-1"
    # Over the restart, a piece a second.
    size = len(body) // 20
    for start in range(1000, len(body), size):
        time.sleep(1)
        slow_upload.sendall(body[start : start + size])
    answer = http.client.HTTPResponse(slow_upload)
    answer.begin()
    second = json.loads(answer.read())["id"]
    slow_upload.close()
    assert time.monotonic() - began > 19
    assert answer.status == 202

    wait_until_done(place, job)
    wait_until_done(place, f"/api/panoramas/{second}")
    # Each job was run once: the first by the old generation.
    assert runs.read_text() == "run\nrun\n"


def test_idle_kept_connections_answer_once_more_after_a_restart(place: Installation) -> None:
    place.start("web")
    idle = [http.client.HTTPConnection("127.0.0.1", place.port) for _ in range(8)]

    def ask(connection: http.client.HTTPConnection) -> tuple[str, str | None]:
        # Without a look whether the server has closed it, as a load balancer's pool does.
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return json.loads(answer.read())["version"], answer.headers["Connection"]

    for connection in idle:
        assert ask(connection) == (place.version, "keep-alive")
    second = place.edited("2.0-1", {"templates/base.html": ("</footer>", " 2</footer>")})
    place.install(second)
    place.restart("web")
    time.sleep(5)  # longer than gunicorn lingers by itself
    for connection in idle:
        assert ask(connection) == (place.version, "close")
        connection.close()
    place.wait_served_by("2.0-1")


def test_connections_opened_in_advance_are_answered_after_a_restart(place: Installation) -> None:
    place.start("web")
    opened = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(8)]
    place.install(place.edited("2.0-1", {"templates/base.html": ("</footer>", " 2</footer>")}))
    place.restart("web")
    time.sleep(6.5)  # longer than gunicorn waits for a first byte by itself
    for connection in opened:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        connection.close()


def test_worker_that_dies_while_the_store_is_away_costs_one_worker(place: Installation) -> None:
    web = place.start("web")
    leader = children_of(web.pid)[0]
    # The store is away: no SQLite in a folder's place.
    for name in ("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"):
        (place.folder / "state" / name).unlink(missing_ok=True)
    (place.folder / "state/jobs.sqlite").mkdir()
    workers = children_of(leader)
    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: len(set(children_of(leader)) - set(workers)) == 1, "another worker")
    assert web.poll() is None
    wait_for(lambda: place.ask("/")[0] == 200, "pages that need no store")


def test_old_builds_leave_the_cache_when_their_last_process_has(place: Installation) -> None:
    place.start("web")
    for number in range(1, 4):
        edit = {"templates/base.html": ("</footer>", f" {number}</footer>")}
        place.install(place.edited(f"2.0-{number}", edit))
        place.restart("web")

    def builds() -> list[str]:
        return [each.name for each in (place.folder / "cache").iterdir() if each.is_dir()]

    def one_is_left() -> bool:
        # Whatever starts next clears up.
        assert place.run("check").returncode == 0
        return len(builds()) == 1

    wait_for(one_is_left, "old builds are removed")


def test_help_names_every_setting_and_command(place: Installation) -> None:
    text = place.run("--help").stdout
    for word in ("web", "vision", "check", "restart", "PORT", "CACHE_DIR", "SIGUSR2", "GRACE"):
        assert re.search(rf"\b{word}\b", text)


@pytest.mark.parametrize("words", [["serve"], [], ["web", "now"], ["restart", "all"]])
def test_wrong_usage_is_one_line_and_exit_status_2(place: Installation, words: list[str]) -> None:
    result = place.run(*words)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "--help" in line


def test_restart_command_tells_the_outcome_by_its_exit_status(place: Installation) -> None:
    place.start("web")
    result = place.run("restart", "--wait", "web")
    assert (result.returncode, result.stdout) == (0, f"web serves {place.version}\n")
    place.set(PORT="1")
    result = place.run("restart", "--wait", "web")
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{NAME} restart: HOST and PORT now say 127.0.0.1:1")


def test_foreign_status_folder_is_named_with_its_variable(place: Installation) -> None:
    place.set(RUNTIME_DIR="/proc/nowhere")
    result = place.run("web")
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{NAME} web: cannot make RUNTIME_DIR /proc/nowhere")


def test_no_process_is_left_when_it_stops(place: Installation) -> None:
    web = place.start("web")
    family = [pid for child in children_of(web.pid) for pid in (child, *children_of(child))]
    assert len(family) >= 3
    web.terminate()
    assert web.wait(60) == 0
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
