"""The program's side: what a generation says to its supervisor, and hears."""

import json
import os
import select
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence

from handoff import protocol

POLL_SECONDS = 1.0


class Generation:
    """This process's end of the protocol. Survives fork: every worker may use it."""

    def __init__(
        self, proof_fd: int, gate_fd: int, bound_to: str | None, *, waits_known: bool
    ) -> None:
        self._waits_known = waits_known
        self._proof_fd = proof_fd
        self._gate_fd = gate_fd
        self.bound_to = bound_to
        # Helpers that this generation runs must not hold its pipes open.
        os.set_inheritable(proof_fd, False)
        os.set_inheritable(gate_fd, False)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> "Generation | None":
        """Return this process's generation, or None if no supervisor started it.

        The variables are taken out of `environ`, so that no child mistakes
        them for its own. ``LISTEN_FDS`` and ``LISTEN_PID`` stay: servers that
        know sd_listen_fds(3) read them.
        """
        if protocol.TRIAL in environ:  # a supervisor on trial, not a generation
            return None
        proof_fd = environ.pop(protocol.PROOF_FD, None)
        gate_fd = environ.pop(protocol.GATE_FD, None)
        if proof_fd is None or gate_fd is None:
            return None
        bound_to = environ.pop(protocol.BOUND, None)
        waits_known = environ.pop(protocol.WAITS, None) is not None
        return cls(int(proof_fd), int(gate_fd), bound_to, waits_known=waits_known)

    def workers(self, count: int) -> None:
        """Say how many workers will each call `ready`."""
        self._say("workers", str(count))

    def supervisor(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Say by which command the supervisor becomes this version; argv[0] is a full path."""
        self._say("supervisor", json.dumps({"argv": list(argv), "environ": dict(environ)}))

    def ready(self, version: str) -> None:
        """Say that this worker is loaded and healthy, and which version it is."""
        self._say("ready", version)

    def waits(self, reason: str) -> None:
        """Say what keeps this worker from being ready yet, as often as you like."""
        if self._waits_known:
            self._say("waits", reason)

    def failed(self, reason: str) -> None:
        """Say that this generation will not serve, and why."""
        self._say("failed", reason)

    def wait_accepted(self, tick: Callable[[], None] | None = None) -> bool:
        """Block until the supervisor lets this generation take work.

        Args:
            tick: called about once a second meanwhile, for a server whose
                parent wants a sign of life.

        Returns:
            True: take work. False: the supervisor is gone; exit.
        """
        gate = select.poll()
        gate.register(self._gate_fd, select.POLLIN)
        while True:
            for _, event in gate.poll(POLL_SECONDS * 1000):
                return bool(event & select.POLLIN)
            if tick:
                tick()

    @property
    def accepted(self) -> bool:
        """Tell whether this generation has been let in."""
        gate = select.poll()
        gate.register(self._gate_fd, select.POLLIN)
        return any(event & select.POLLIN for _, event in gate.poll(0))

    @staticmethod
    def listeners() -> list[socket.socket]:
        """Return the inherited sockets, for a server that does not read LISTEN_FDS itself."""
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            return []
        first = protocol.LISTEN_FDS_START
        count = int(os.environ.get("LISTEN_FDS", "0"))
        return [socket.socket(fileno=fd) for fd in range(first, first + count)]

    def _say(self, keyword: str, text: str) -> None:
        line = f"{keyword} {protocol.one_line(text)}\n"
        try:
            os.write(self._proof_fd, line.encode())
        except BrokenPipeError:
            # Nobody listens once the supervisor is gone; the gate then says so.
            return
