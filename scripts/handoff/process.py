"""The supervisor's side of one generation: start it, hear its proof, end it."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from handoff import protocol
from handoff.children import end_with_parent

# Descriptors are moved above this before they are laid out from 3 on.
_HIGH_FD = 100


@dataclass
class GenerationProcess:
    """One generation: its leader's process ID, its two pipes, and what it has said.

    Everything here is plain data, so that it can cross the supervisor's exec.
    """

    pid: int
    proof_fd: int
    gate_fd: int
    proof_deadline: float  # time.monotonic() seconds, the same across exec
    drain_deadline: float = 0.0
    workers_expected: int = 1
    workers_ready: int = 0
    version: str = ""
    waits: str = ""  # for what, as it last said
    failure: str = ""
    takeover: dict[str, Any] | None = None
    unread: str = ""
    ended: str = ""  # how the leader ended, as a clause; "" while it lives

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        environ: Mapping[str, str],
        listeners: Sequence[int],
        proof_seconds: float,
    ) -> "GenerationProcess":
        """Fork and exec `argv` as a generation; a failing exec is told on the proof pipe."""
        proof_read, proof_write = os.pipe()
        gate_read, gate_write = os.pipe()
        os.set_blocking(proof_read, False)
        supervisor_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_generation(argv, environ, listeners, proof_write, gate_read, supervisor_pid)
        os.close(proof_write)
        os.close(gate_read)
        return cls(pid, proof_read, gate_write, time.monotonic() + proof_seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def proven(self) -> bool:
        return not self.failure and self.workers_ready >= self.workers_expected

    def hear(self) -> None:
        """Take in what the generation has written to its proof pipe since last time."""
        while True:
            try:
                data = os.read(self.proof_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self.unread = (self.unread + data.decode(errors="replace")).split("\n")
            self.unread = self.unread[: protocol.MAX_LINE_BYTES]
            for line in lines:
                self._take(line)

    def _take(self, line: str) -> None:
        keyword, _, text = line.partition(" ")
        if keyword == "ready":
            self.workers_ready += 1
            self.waits = ""  # whoever waits still says so again
            if self.version and text != self.version:
                self.failure = f"workers of one generation say {self.version} and {text}"
            self.version = text
        elif keyword == "workers" and text.isdecimal() and int(text) > 0:
            self.workers_expected = int(text)
        elif keyword == "supervisor":
            self.takeover = _parse_takeover(text)
            if self.takeover is None:
                self.failure = f"its supervisor line is malformed: {text[:80]!r}"
        elif keyword == "waits":
            self.waits = text
        elif keyword == "failed":
            self.failure = self.failure or text
        else:
            self.failure = self.failure or f"it said {line[:80]!r} on its proof pipe"

    def open_gate(self) -> None:
        os.write(self.gate_fd, b"1")

    def terminate(self, grace_seconds: float) -> None:
        """Ask the generation to finish what it has begun and go."""
        self.drain_deadline = time.monotonic() + grace_seconds
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the generation at once, and reap its leader."""
        if not self.ended:
            self._kill_group()
            self._reap(os.WEXITED)

    def reap(self) -> str:
        """Return how the leader ended, or "" while it lives."""
        return self.ended or self._reap(os.WEXITED | os.WNOHANG)

    def _reap(self, options: int) -> str:
        # WNOWAIT: the group is killed while its ID cannot have been given away yet.
        result = os.waitid(os.P_PID, self.pid, options | os.WNOWAIT)
        if result is None:
            return ""
        self._kill_group()
        os.waitpid(self.pid, 0)
        self.hear()
        os.close(self.proof_fd)
        os.close(self.gate_fd)
        if result.si_code == os.CLD_EXITED:
            self.ended = f"exited with status {result.si_status}"
        else:
            self.ended = f"was killed by {signal.Signals(result.si_status).name}"
        return self.ended

    def _kill_group(self) -> None:
        for kill, target in ((os.kill, self.pid), (os.killpg, self.pid)):
            try:
                kill(target, signal.SIGKILL)
            except ProcessLookupError:  # the group is made by the child: it may not be there yet
                continue


def _parse_takeover(text: str) -> dict[str, Any] | None:
    try:
        takeover = json.loads(text)
        argv, environ = takeover["argv"], takeover["environ"]
    except (ValueError, KeyError, TypeError):
        return None
    if not (isinstance(argv, list) and argv and isinstance(environ, dict)):
        return None
    words = [*argv, *environ.keys(), *environ.values()]
    return takeover if all(isinstance(word, str) for word in words) else None


def _become_generation(
    argv: Sequence[str],
    environ: Mapping[str, str],
    listeners: Sequence[int],
    proof_fd: int,
    gate_fd: int,
    supervisor_pid: int,
) -> None:
    """In the forked child: lay out descriptors, restore signals, exec. Never returns."""
    try:
        # A group of its own: Ctrl-C in a terminal reaches the supervisor alone.
        os.setpgid(0, 0)
        # The supervisor's death, however sudden, is ours, whatever the init does.
        end_with_parent(supervisor_pid)
        high = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)
            for fd in (*listeners, proof_fd, gate_fd)
        ]
        proof_fd = high[-2]
        for target, fd in enumerate(high, start=protocol.LISTEN_FDS_START):
            os.dup2(fd, target, inheritable=True)
        proof_target = protocol.LISTEN_FDS_START + len(listeners)
        child_environ = {
            **environ,
            protocol.PROOF_FD: str(proof_target),
            protocol.GATE_FD: str(proof_target + 1),
            protocol.WAITS: "1",
        }
        if listeners:
            child_environ["LISTEN_FDS"] = str(len(listeners))
            child_environ["LISTEN_PID"] = str(os.getpid())
        # Dispositions and the mask pass through exec: the program starts with the defaults.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python itself
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(argv[0], list(argv), child_environ)
    except (
        BaseException
    ) as error:  # whatever it is, the child must not run on as a second supervisor
        cause = error.strerror if isinstance(error, OSError) else repr(error)
        os.write(proof_fd, f"failed cannot run {argv[0]}: {cause}\n".encode())
    finally:
        os._exit(127)
