"""The supervisor: the process that the init tracks, from first start to last.

It is one loop over blocked signals. Nothing runs in a signal handler: signals
stay pending in the kernel, which merges repeated ones, until ``sigtimedwait``
takes them, and they stay pending through exec. None can kill the process by
coming too early, and none is lost.
"""

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from handoff import listener, lock, protocol, status
from handoff.generation import Generation
from handoff.heritage import Heritage
from handoff.notify import Notifier
from handoff.process import GenerationProcess

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
SIGNALS = STOP_SIGNALS | {signal.SIGUSR2, signal.SIGCHLD}

# Generations that drain at the same time. One more restart waits for the
# oldest of them rather than cut what it still answers.
MAX_DRAINING = 8

BUSY_TICK_SECONDS = 0.02  # while a generation proves itself: its pipe is polled
DRAIN_TICK_SECONDS = 0.2
IDLE_TICK_SECONDS = 10.0

EXIT_DONE, EXIT_FAILED = 0, 1


class HandoffError(Exception):
    """The supervisor cannot do its work; the message says why in one line."""


@dataclass(frozen=True)
class Role:
    """What one supervisor runs, and within which bounds."""

    name: str  # names the status file and the log lines
    command: Sequence[str]  # of a generation; command[0] is the executable's full path
    status_file: Path
    address: str | None = None  # HOST:PORT, or /path of a Unix socket; None: it listens on nothing
    grace_seconds: float = 90.0  # from SIGTERM until what still drains is cut
    proof_seconds: float = 60.0  # from start until every worker has said ready
    log_prefix: str = field(default="handoff")


class Supervisor:
    """Keeps one generation serving; see the package's docstring for the protocol."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._notifier = Notifier()
        self._lock = -1
        self._listeners: list[socket.socket] = []
        self._bound_to: str | None = None
        self._serving: GenerationProcess | None = None
        self._candidate: GenerationProcess | None = None
        self._trial: GenerationProcess | None = None  # of the candidate's supervisor command
        self._draining: list[GenerationProcess] = []
        self._restart_wanted = False
        self._stop_signals = 0
        self._exit_status: int | None = None

    def run(self) -> int:
        """Supervise until told to stop. Returns the process's exit status.

        Raises:
            HandoffError: the status file cannot be written, or another supervisor writes it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        inherited = os.environ.pop(protocol.INHERIT, None)
        if inherited is None:
            self._begin()
        elif protocol.TRIAL in os.environ:
            return self._answer_trial(Heritage.from_json(inherited))
        else:
            self._resume(Heritage.from_json(inherited))
        while self._exit_status is None:
            self._wait_for_signals()
            self._advance()
        self._leave()
        return self._exit_status

    # Starting, and becoming the next version

    def _begin(self) -> None:
        try:
            self._lock = lock.take(self._lock_file())
        except BlockingIOError:
            raise HandoffError(
                f"cannot start: {self._role.name} runs already, see {self._role.status_file}; "
                "stop that one first"
            ) from None
        except OSError as error:
            raise HandoffError(f"cannot use {self._lock_file()}: {error.strerror}") from error
        self._publish("starting")
        self._listeners = listener.passed_in()
        if self._role.address and not self._listeners:
            self._bound_to = self._role.address
            try:
                self._listeners = [listener.bind(self._role.address, self._log)]
            except OSError as error:
                self._fail(f"cannot listen on {self._role.address}: {error.strerror}")
                return
        self._candidate = self._start(self._role.command)

    def _resume(self, heritage: Heritage) -> None:
        """Take over from the previous version of this process."""
        heritage.set_inheritable(False)
        self._listeners = [socket.socket(fileno=fd) for fd in heritage.listeners]
        self._bound_to = heritage.bound_to
        self._serving = heritage.serving
        self._draining = heritage.draining
        self._restart_wanted = heritage.restart_wanted
        self._lock = heritage.lock
        if self._lock < 0:
            try:
                self._lock = lock.take(self._lock_file())
            except OSError as error:  # it serves all the same
                self._log(f"cannot lock {self._lock_file()}: {error.strerror}")
        self._tell_ready(self._serving)

    def _become(self, takeover: dict[str, Any], serving: GenerationProcess) -> None:
        """Re-execute in place as the new version; on failure stay what we are."""
        try:
            self._heritage(serving).exec_into(takeover)
        except OSError as error:
            self._log(f"stays the previous version: cannot run {takeover['argv'][0]}: {error}")

    def _heritage(self, serving: GenerationProcess) -> Heritage:
        return Heritage(
            [each.fileno() for each in self._listeners],
            self._bound_to,
            serving,
            self._draining,
            self._restart_wanted,
            self._lock,
        )

    def _answer_trial(self, heritage: Heritage) -> int:
        """Prove, as a child of the present supervisor, that this one could take over from it.

        It takes over from a stand-in: a generation that only sleeps.
        """
        del os.environ[protocol.TRIAL]
        generation = Generation.from_environ(os.environ)
        if generation is None:
            raise HandoffError("is on trial without a supervisor to tell")
        stand_in = GenerationProcess.start(["/bin/sleep", "60"], os.environ, [], 60)
        with tempfile.TemporaryDirectory() as folder:
            self._role = replace(self._role, status_file=Path(folder) / "trial.json")
            try:
                self._resume(Heritage([], None, stand_in, [], restart_wanted=False))
                self._take_signals(BUSY_TICK_SECONDS)
                self._advance()
            finally:
                stand_in.kill()
        if self._exit_status is None:
            generation.ready(f"heir of {heritage.serving.pid}")
        return EXIT_DONE

    # The loop

    def _wait_for_signals(self) -> None:
        self._take_signals(self._tick_seconds())
        self._notifier.watchdog()

    def _take_signals(self, wait_seconds: float) -> None:
        received = signal.sigtimedwait(SIGNALS, wait_seconds)
        while received is not None:
            if received.si_signo == signal.SIGUSR2:
                self._restart_wanted = True
            elif received.si_signo in STOP_SIGNALS:
                self._stop_signals += 1
            received = signal.sigtimedwait(SIGNALS, 0)

    def _tick_seconds(self) -> float:
        if self._candidate:
            tick = BUSY_TICK_SECONDS
        elif self._draining or self._stop_signals:
            tick = DRAIN_TICK_SECONDS
        else:
            tick = IDLE_TICK_SECONDS
        return min(tick, self._notifier.watchdog_seconds or tick)

    def _advance(self) -> None:
        self._watch_draining()
        if self._stop_signals:
            self._advance_stop()
            return
        self._watch_serving()
        if self._exit_status is None and self._candidate:
            self._watch_candidate(self._candidate)
        if self._restart_wanted and not self._candidate and self._exit_status is None:
            self._begin_restart()

    def _watch_draining(self) -> None:
        for process in list(self._draining):
            if process.reap():
                self._draining.remove(process)
            elif time.monotonic() > process.drain_deadline:
                self._log(f"cut generation {process.pid} ({process.version}): not done in time")
                process.kill()
                self._draining.remove(process)

    def _watch_serving(self) -> None:
        if not self._serving:
            return
        self._serving.hear()
        if self._serving.failure:
            self._log(f"a worker of {self._serving.version} failed: {self._serving.failure}")
            self._serving.failure = ""
        ended = self._serving.reap()
        if ended:
            # The init starts us afresh, with its own bounds on how often.
            self._serving = None
            self._fail(f"the serving generation {ended}")

    # A restart

    def _begin_restart(self) -> None:
        if len(self._draining) >= MAX_DRAINING:
            return
        self._restart_wanted = False
        self._log(f"restarting into {self._role.command[0]}")
        self._notifier.reloading()
        self._publish("restarting")
        self._candidate = self._start(self._role.command)

    def _watch_candidate(self, candidate: GenerationProcess) -> None:
        waited_for = candidate.waits
        candidate.hear()
        if candidate.waits not in {"", waited_for}:
            self._log(f"waits: {candidate.waits}")
        ended = candidate.reap()  # with the last that it said
        refusal: str | None = candidate.failure or ended
        if not refusal and time.monotonic() > candidate.proof_deadline:
            ready = f"{candidate.workers_ready} of {candidate.workers_expected} workers ready"
            refusal = f"not proven within {self._role.proof_seconds:g} s ({ready})"
            if candidate.waits:
                refusal += f": {candidate.waits}"
        if not refusal and candidate.proven:
            refusal = self._watch_trial(candidate)
            if refusal is None:
                return
        if refusal:
            self._refuse(refusal)
        elif candidate.proven:
            self._accept(candidate)

    def _watch_trial(self, candidate: GenerationProcess) -> str | None:
        """Try the candidate's supervisor command. None: under way; "": passed; else why not."""
        if not candidate.takeover or not self._serving:
            return ""
        if not self._trial:
            environ = {**candidate.takeover["environ"], protocol.TRIAL: "1"}
            environ[protocol.INHERIT] = self._heritage(self._serving).to_json()
            self._trial = self._start(candidate.takeover["argv"], environ, listeners=False)
            return None
        ended = self._trial.reap()
        if not ended:
            return None
        trial, self._trial = self._trial, None
        if trial.proven and ended == "exited with status 0":
            return ""
        return f"its supervisor cannot take over: {trial.failure or ended}"

    def _accept(self, candidate: GenerationProcess) -> None:
        try:
            candidate.open_gate()
        except BrokenPipeError:
            self._refuse("it died as it was let in")
            return
        previous, self._serving, self._candidate = self._serving, candidate, None
        if previous:
            previous.terminate(self._role.grace_seconds)
            self._draining.append(previous)
            self._log(f"serving {candidate.version}; {previous.version} finishes what it has begun")
            if candidate.takeover:
                self._become(candidate.takeover, candidate)
        else:
            self._log(f"serving {candidate.version}")
        self._tell_ready(candidate)

    def _refuse(self, reason: str) -> None:
        self._kill_candidate()
        if not self._serving:
            self._fail(reason)
            return
        self._log(f"refused to restart: {reason}; {self._serving.version} serves on")
        self._take_signals(0)
        if self._restart_wanted:  # as in _tell_ready: it is not over
            return
        self._publish("failed", reason)
        self._notifier.ready(f"serving {self._serving.version}; restart refused: {reason}")

    def _kill_candidate(self) -> None:
        for process in (self._trial, self._candidate):
            if process:
                process.kill()
        self._trial = self._candidate = None

    # The end

    def _advance_stop(self) -> None:
        self._kill_candidate()
        if self._serving:
            self._log("stopping: finishing what has begun")
            self._notifier.stopping()
            self._publish("draining")
            self._close_listeners()
            self._serving.terminate(self._role.grace_seconds)
            self._draining.append(self._serving)
            self._serving = None
        if not self._draining:
            self._exit_status = EXIT_DONE
        elif self._stop_signals > 1:
            self._log("stopping at once: told twice")
            self._exit_status = EXIT_FAILED

    def _fail(self, reason: str) -> None:
        self._log(f"gives up: {reason}")
        self._publish("failed", reason)
        self._exit_status = EXIT_FAILED

    def _leave(self) -> None:
        self._kill_candidate()
        for process in self._draining:
            process.kill()
        self._close_listeners()
        if self._exit_status == EXIT_DONE:
            self._role.status_file.unlink(missing_ok=True)

    def _close_listeners(self) -> None:
        for each in self._listeners:
            each.close()
        if self._listeners and self._bound_to and self._bound_to.startswith("/"):
            Path(self._bound_to).unlink(missing_ok=True)
        self._listeners = []

    # Words to the outside

    def _lock_file(self) -> Path:
        return self._role.status_file.with_name(f".{self._role.status_file.stem}.lock")

    def _start(
        self, argv: Sequence[str], extra: dict[str, str] | None = None, *, listeners: bool = True
    ) -> GenerationProcess:
        environ = {**protocol.child_environment(), **(extra or {})}
        if self._bound_to:
            environ[protocol.BOUND] = self._bound_to
        fds = [each.fileno() for each in self._listeners] if listeners else []
        return GenerationProcess.start(argv, environ, fds, self._role.proof_seconds)

    def _tell_ready(self, serving: GenerationProcess) -> None:
        # Whoever signals and then sees "ready" may believe that it answers
        # that signal: with another one pending, the restart is not over.
        self._take_signals(0)
        if self._restart_wanted:
            self._log(f"serving {serving.version}; another restart is wanted")
        else:
            self._publish("ready")
            self._notifier.ready(f"serving {serving.version}")

    def _publish(self, state: str, error: str = "") -> None:
        version = self._serving.version if self._serving else ""
        document = status.Status(self._role.name, os.getpid(), version, state, error)
        try:
            status.write(self._role.status_file, document)
        except OSError as cause:
            if not self._serving and not self._candidate:
                raise HandoffError(
                    f"cannot write {self._role.status_file}: {cause.strerror}"
                ) from cause
            # A full disk must not end the service.
            self._log(f"cannot write {self._role.status_file}: {cause.strerror}")

    def _log(self, text: str) -> None:
        try:
            os.write(sys.stderr.fileno(), f"{self._role.log_prefix}: {text}\n".encode())
        except OSError:
            # A full disk or a reader gone behind stderr must not end the service;
            # the status file carries what matters.
            return
