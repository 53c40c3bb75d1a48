"""Processes that end with the demo, however it ends."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from handoff.children import end_with_parent

STOP_SECONDS = 15


class DemoError(Exception):
    """The demo cannot go on; the message says why in one line."""


def start(
    argv: Sequence[str | Path], environ: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start `argv` with its output appended to `log`.

    In a session of its own: Ctrl-C reaches the demo alone, which then ends the
    others in order.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  # only a system call, before any thread is
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process` and whatever is left of its session."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):  # the usual case: nothing is left
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], what: str, seconds: float, log: Path) -> None:
    """Poll until `condition` holds.

    Raises:
        DemoError: not within `seconds`; the message ends with the last lines of `log`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-12:])
            raise DemoError(
                f"waited {seconds:.0f} s in vain for {what}; {log.name} ends:\n  {tail}"
            )
        time.sleep(0.05)
