"""Running another program: without input, within a time limit, its output bounded."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoupdate.errors import MachineError

_MAX_OUTPUT_BYTES = 1 << 16

# dpkg insists on finding ldconfig and start-stop-daemon.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What the init says to the updater is not for its children.
_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int | None  # exit status, or minus the signal's number; None: cut for time
    output: str  # the last of stdout and stderr, 64 KB at most
    seconds: float

    @property
    def succeeded(self) -> bool:
        return self.status == 0

    @property
    def cause(self) -> str:
        """How it failed, with its last words."""
        if self.status is None:
            how = f"not done within {self.seconds:.0f} s"
        elif self.status < 0:
            how = f"killed by {signal.Signals(-self.status).name}"
        else:
            how = f"exit status {self.status}"
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return f"{how}: {lines[-1]}" if lines else how


def run(
    command: Sequence[str | Path],
    *,
    seconds: float,
    environ: Mapping[str, str] | None = None,
    leave_no_child: bool = False,
    user: os.stat_result | None = None,
) -> Ended:
    """Run `command` in a process group of its own and wait for it.

    At the time limit the whole group is killed. What a program that ends in
    time leaves running is killed too if `leave_no_child`: a maintainer script
    may start a daemon, a check may not. With `user` it runs as the owner of
    that file, and with its group alone.

    Raises:
        MachineError: there is no such program, or it may not be run.
    """
    began = time.monotonic()
    inherited = os.environ if environ is None else environ
    try:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={name: text for name, text in inherited.items() if name not in _PRIVATE},
            cwd="/",
            start_new_session=True,
            user=user.st_uid if user else None,
            group=user.st_gid if user else None,
            extra_groups=[] if user else None,
        )
    except OSError as error:
        raise MachineError(f"cannot run {command[0]}: {error.strerror}") from error
    with process:
        output = _Tail(process)
        in_time = _take_until_end(process, output, began + seconds)
        if not in_time or leave_no_child:
            # Not waited for yet, so that no other group can have its number.
            _kill_group(process)
        status = process.wait()
        if not in_time:
            return Ended(None, output.text(), seconds)
        return Ended(status, output.text(), time.monotonic() - began)


def _take_until_end(process: "subprocess.Popen[bytes]", output: "_Tail", deadline: float) -> bool:
    """Take what `process` writes until it ends; tell whether that was before `deadline`.

    Its pipe alone would not tell: it may be closed earlier, or held open by a child.

    Raises:
        MachineError: this process may open no more descriptors.
    """
    try:
        ended = os.pidfd_open(process.pid)
    except OSError as error:
        # Without a descriptor left nobody could see its end.
        _kill_group(process)
        raise MachineError(f"cannot watch {process.args!r:.80}: {error.strerror}") from error
    try:
        while (left := deadline - time.monotonic()) > 0:
            if ended in select.select([ended, *output.sources()], [], [], left)[0]:
                return True
            output.read()
        return False
    finally:
        os.close(ended)


class _Tail:
    """The end of a program's output; never waits for whoever else holds its pipe."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout  # noqa: S101  # Popen's types cannot say that it was asked for
        self._fd = process.stdout.fileno()
        self._tail = b""
        self._open = True
        os.set_blocking(self._fd, False)

    def sources(self) -> list[int]:
        """Return the descriptors from which more may come."""
        return [self._fd] if self._open else []

    def read(self) -> bool:
        """Take what there is; tell whether there was anything."""
        try:
            chunk = os.read(self._fd, _MAX_OUTPUT_BYTES)
        except BlockingIOError:
            return False
        self._open = bool(chunk)
        self._tail = (self._tail + chunk)[-_MAX_OUTPUT_BYTES:]
        return self._open

    def text(self) -> str:
        # A child left behind may write for ever: only so much more is read.
        for _ in range(16):
            if not self.read():
                break
        return self._tail.decode(errors="replace")


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
