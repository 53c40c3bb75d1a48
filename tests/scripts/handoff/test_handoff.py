"""The supervisor's promises, on real processes, signals and sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_service import EchoService, free_address, running, write_build
from waiting import wait_for

from handoff import RestartError, restart
from handoff.heritage import Heritage
from handoff.process import GenerationProcess


@pytest.fixture
def service(tmp_path: Path) -> Iterator[EchoService]:
    write_build(tmp_path / "program", "1")
    with running(tmp_path) as service:
        yield service


def alive(pid: int) -> bool:
    """Tell whether `pid` runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_restart_serves_the_new_build_under_the_same_pid(service: EchoService) -> None:
    assert service.ask() == "1"
    write_build(service.program, "2")
    service.restart_and_wait("2")
    service.wait_served_by("2")
    assert service.status()["pid"] == service.pid
    assert service.process.poll() is None


def test_supervisor_itself_becomes_the_new_version(service: EchoService) -> None:
    write_build(service.program, "2")
    service.restart_and_wait("2")
    cmdline = Path(f"/proc/{service.pid}/cmdline").read_text().split("\0")
    assert cmdline[-3:-1] == ["--as", "2"]
    write_build(service.program, "3")
    service.restart_and_wait("3")
    service.wait_served_by("3")


def test_older_version_takes_over_from_a_newer_one() -> None:
    # Which may hand over more than the older one knows.
    serving = GenerationProcess(pid=7, proof_fd=8, gate_fd=9, proof_deadline=1.0, version="2")
    heritage = Heritage([3], "127.0.0.1:8000", serving, [serving], restart_wanted=True)
    document = json.loads(heritage.to_json())
    for each in (document, document["serving"], document["draining"][0]):
        each["of_a_later_version"] = {"unknown": True}
    assert Heritage.from_json(json.dumps(document)) == heritage


def test_no_connection_is_lost_over_restarts_under_load(service: EchoService) -> None:
    stop, answers, lost = threading.Event(), [], []

    def client() -> None:
        while not stop.is_set():
            try:
                answers.append(service.ask())
            except (OSError, IndexError) as error:
                lost.append(error)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for each in clients:
        each.start()
    for version in ("2", "3", "4", "5", "6"):
        write_build(service.program, version)
        service.restart_and_wait(version)
    stop.set()
    for each in clients:
        each.join()
    assert not lost
    assert {"1", "6"} <= set(answers)


def test_request_under_way_ends_well_after_the_restart(service: EchoService) -> None:
    with service.connect() as client:
        client.sendall(b"1.5")
        write_build(service.program, "2")
        service.restart_and_wait("2")
        assert client.recv(100).split()[0] == b"1"


BAD_BUILDS = {
    "raises before it is ready": {"before_ready": "raise RuntimeError('bad day')"},
    "exits 0 at once": {"before_ready": "sys.exit(0)"},
    "says why it fails": {"before_ready": "generation.failed('no database'); time.sleep(60)"},
    "hangs": {"before_ready": "time.sleep(60)"},
    "is killed": {"before_ready": "os.kill(os.getpid(), signal.SIGKILL)"},
    "loses a worker": {"before_ready": "generation.workers(2)"},
    "has workers of two versions": {"before_ready": "generation.workers(2); generation.ready('0')"},
    "talks nonsense": {
        "before_ready": "os.write(generation._proof_fd, b'hello\\n'); time.sleep(60)"
    },
    "offers a malformed supervisor": {
        "before_ready": "os.write(generation._proof_fd, b'supervisor [1]\\n'); time.sleep(60)"
    },
    "offers a supervisor that is not there": {
        "before_ready": "generation.supervisor(['/nonexistent/program'], {})"
    },
    "has a supervisor that raises": {
        "before_supervisor": "if 'HANDOFF_TRIAL' in os.environ: raise RuntimeError('bad heir')"
    },
    "has a supervisor that hangs": {
        "before_supervisor": "if 'HANDOFF_TRIAL' in os.environ: time.sleep(60)"
    },
    "does not parse": {"before_supervisor": "def"},
}


@pytest.mark.parametrize("build", BAD_BUILDS.values(), ids=BAD_BUILDS.keys())
def test_bad_build_is_refused_and_the_old_one_serves_on(
    tmp_path: Path, build: dict[str, Any]
) -> None:
    write_build(tmp_path / "program", "1")
    with running(tmp_path, PROOF="2") as service:
        write_build(service.program, "2", **build)
        service.restart()
        service.wait_status(state="failed", version="1")
        assert service.status()["error"]
        assert service.ask() == "1"
        assert len(service.generations()) == 1
        write_build(service.program, "3")
        service.restart_and_wait("3")
        service.wait_served_by("3")


@pytest.mark.parametrize("damage", ["removed", "not executable", "wrong interpreter", "empty"])
def test_executable_that_cannot_run_is_refused(service: EchoService, damage: str) -> None:
    content = service.program.read_text()
    service.program.unlink()
    if damage == "not executable":
        service.program.write_text(content)
    elif damage == "wrong interpreter":
        service.program.write_text("#!/nonexistent/python\n")
        service.program.chmod(0o755)
    elif damage == "empty":
        service.program.touch(0o755)
    service.restart()
    service.wait_status(state="failed", version="1")
    assert str(service.program) in service.status()["error"]
    assert service.ask() == "1"


def test_fifty_signals_in_a_moment_end_on_the_newest_build(service: EchoService) -> None:
    for number in range(2, 52):
        write_build(service.program, str(number))
        service.restart()
    service.wait_status(version="51", state="ready")
    service.wait_served_by("51")


def test_signal_during_the_start_is_neither_fatal_nor_lost(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1", before_ready="time.sleep(0.3)")
    with running(tmp_path, wait=False) as service:
        service.wait_status(state="starting")
        write_build(service.program, "2")
        service.restart()
        service.wait_status(version="2", state="ready")
        service.wait_served_by("2")


def test_stop_finishes_the_request_under_way_and_exits_0(service: EchoService) -> None:
    with service.connect() as client:
        client.sendall(b"0.5")
        # The generation has taken the connection once another one is answered.
        service.ask()
        service.process.terminate()
        assert client.recv(100).split()[0] == b"1"
    assert service.process.wait(20) == 0
    assert not service.status_file.exists()


def test_second_stop_signal_ends_it_at_once(service: EchoService) -> None:
    with service.connect() as client:
        client.sendall(b"60")
        service.ask()
        children = service.generations()
        service.process.terminate()
        service.wait_status(state="draining")
        service.process.terminate()
        assert service.process.wait(20) == 1
    assert not any(map(alive, children))


def test_what_drains_longer_than_the_grace_is_cut_and_logged(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    with running(tmp_path, GRACE="0.5") as service:
        with service.connect() as client:
            client.sendall(b"60")
            service.ask()
            write_build(service.program, "2")
            service.restart_and_wait("2")
            assert client.recv(100) == b""
        wait_for(lambda: len(service.generations()) == 1, "the old generation is gone")
        assert "not done in time" in service.log()


def test_killed_supervisor_leaves_no_orphan_and_no_stuck_port(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    with running(tmp_path) as service:
        children = service.generations()
        service.process.kill()
        service.process.wait()
        with running(tmp_path, address=service.address, wait=False) as again:
            wait_for(lambda: again.status().get("pid") == again.pid, "the new life has begun")
            again.wait_status(state="ready")
            assert again.ask() == "1"
        assert not any(map(alive, children))


def test_killed_generation_ends_the_supervisor_so_that_init_starts_afresh(
    service: EchoService,
) -> None:
    os.kill(service.generations()[0], signal.SIGKILL)
    assert service.process.wait(20) == 1
    assert "SIGKILL" in service.status()["error"]


def test_first_start_that_fails_says_why_and_exits_1(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1", before_ready="generation.failed('no database')")
    with running(tmp_path, wait=False) as service:
        assert service.process.wait(20) == 1
        assert service.status()["error"] == "no database"


def test_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with running(tmp_path, address=address, wait=False) as service:
            assert service.process.wait(20) == 1
            assert f"cannot listen on {address}: Address already in use" in service.log()


def test_second_supervisor_of_a_role_leaves_the_first_alone(
    service: EchoService, tmp_path: Path
) -> None:
    write_build(service.program, "2")
    service.restart_and_wait("2")  # the lock outlives its exec
    before = service.status()
    second = subprocess.run(
        [service.program, "web"],
        env={"STATUS_FILE": str(service.status_file), "ADDRESS": free_address()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr == (
        f"echo: cannot start: web runs already, see {service.status_file}; stop that one first\n"
    )
    assert service.status() == before
    service.process.kill()
    service.process.wait()
    # What a killed one left is no reason not to start.
    with running(tmp_path, wait=False) as another:
        wait_for(lambda: another.status()["pid"] == another.pid, "the second's own status")
        another.wait_status(state="ready")
        assert another.ask() == "2"


def test_what_a_build_waited_for_is_why_it_was_refused(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    with running(tmp_path, PROOF="5") as service:
        waits = "generation.waits('no key yet'); generation.waits('no door yet')"
        write_build(service.program, "2", before_ready=f"{waits}; time.sleep(60)")
        service.restart()
        service.wait_status(state="failed", version="1")
        why = "not proven within 5 s (0 of 1 workers ready): no door yet"
        assert service.status()["error"] == why
        assert "echo: waits: no door yet\n" in service.log()


def test_missing_folder_of_the_status_file_is_one_clear_line(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    result = subprocess.run(
        [tmp_path / "program", "web"],
        env={"STATUS_FILE": str(tmp_path / "none/web.json"), "ADDRESS": free_address()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    lock = tmp_path / "none/.web.lock"
    assert result.stderr == f"echo: cannot use {lock}: No such file or directory\n"


def test_unix_socket_is_served_over_a_restart_and_removed_at_the_end(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    address = str(tmp_path / "socket")
    with running(tmp_path, address=address) as service:
        write_build(service.program, "2")
        service.restart_and_wait("2")
        service.wait_served_by("2")
        service.process.terminate()
        assert service.process.wait(20) == 0
    assert not Path(address).exists()


def test_socket_passed_in_by_the_init_is_served_over_a_restart(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        starter = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3, True); "
            "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}; "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        status_file = tmp_path / "web.json"
        with status_file.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    starter,
                    str(listener.fileno()),
                    tmp_path / "program",
                    "web",
                ],
                env={"STATUS_FILE": str(status_file)},
                pass_fds=[listener.fileno()],
                stderr=log,
            )
    service = EchoService(tmp_path / "program", status_file, f"127.0.0.1:{port}", process)
    try:
        service.wait_status(state="ready")
        assert service.ask() == "1"
        write_build(service.program, "2")
        service.restart_and_wait("2")
        service.wait_served_by("2")
    finally:
        process.kill()
        process.wait()


def test_systemd_is_told_of_readiness_reloads_and_the_end(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(20)
        with running(tmp_path, NOTIFY_SOCKET=notify) as service:
            assert b"READY=1\nSTATUS=serving 1" in manager.recv(4096)
            write_build(service.program, "2")
            service.restart()
            assert b"RELOADING=1\nMONOTONIC_USEC=" in manager.recv(4096)
            assert b"READY=1\nSTATUS=serving 2" in manager.recv(4096)
            service.process.terminate()
            assert manager.recv(4096) == b"STOPPING=1"


def test_watchdog_hears_of_the_supervisor_before_and_after_its_exec(tmp_path: Path) -> None:
    write_build(tmp_path / "program", "1")
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(20)
        with running(tmp_path, NOTIFY_SOCKET=notify, WATCHDOG_USEC="400000") as service:

            def alive_again() -> None:
                while manager.recv(4096) != b"WATCHDOG=1":
                    continue

            for version in ("2", "3"):
                alive_again()
                alive_again()
                # Nobody listens meanwhile, for longer than the messages find room to wait.
                write_build(service.program, version)
                service.restart_and_wait(version)
                wait_for(lambda: "cannot notify" in service.log(), "the manager's deafness")
            alive_again()


def test_waiting_for_a_restart_tells_the_new_version(service: EchoService) -> None:
    write_build(service.program, "2")
    assert restart(service.status_file, wait_seconds=20) == "2"


def test_waiting_for_a_refused_restart_tells_why(service: EchoService) -> None:
    write_build(service.program, "2", before_ready="generation.failed('no database')")
    with pytest.raises(RestartError, match="no database; 1 serves"):
        restart(service.status_file, wait_seconds=20)


def test_waiting_during_another_restart_answers_for_the_newest_build(service: EchoService) -> None:
    write_build(service.program, "2", before_ready="time.sleep(0.3)")
    service.restart()
    service.wait_status(state="restarting")
    write_build(service.program, "3")
    assert restart(service.status_file, wait_seconds=20) == "3"


def test_restart_of_what_does_not_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="does not run"):
        restart(tmp_path / "web.json")
