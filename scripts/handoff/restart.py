"""The operator's side: send the signal, wait for the outcome."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05


class RestartError(Exception):
    """There is nothing to restart, or the restart was refused; the message says why."""


def restart(status_file: Path, wait_seconds: float | None = None) -> str:
    """Send SIGUSR2 to the role of `status_file`. Returns the version that then serves.

    Args:
        status_file: the role's ``ROLE.json``.
        wait_seconds: how long to wait for the outcome; None: do not wait.

    Raises:
        RestartError: no such role runs, the restart was refused, or its
            outcome is not known in time.
    """
    before = _read(status_file)
    gone = RestartError(f"process {before['pid']} of {status_file} is gone; start it")
    try:
        # Of one process, even if its number is given to another meanwhile (pidfd_open(2)).
        pidfd = os.pidfd_open(before["pid"])
    except ProcessLookupError:
        raise gone from None
    try:
        # Who ended without taking the file away may have left its number to a stranger.
        if Path(f"/proc/{before['pid']}").stat().st_uid != status_file.stat().st_uid:
            raise gone
        signal.pidfd_send_signal(pidfd, signal.SIGUSR2)
    except (ProcessLookupError, FileNotFoundError):
        raise gone from None
    except PermissionError:
        raise RestartError(f"process {before['pid']} is another user's; be that user") from None
    finally:
        os.close(pidfd)
    if wait_seconds is None:
        return str(before["version"])
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        now = _read(status_file)
        # The supervisor says ready only when no signal is pending: a later
        # "ready" is the answer to this signal, not to an earlier one.
        if now["since"] != before["since"] and now["state"] == "ready":
            return str(now["version"])
        if now["since"] != before["since"] and now["state"] == "failed":
            raise RestartError(f"{now['error']}; {now['version'] or 'nothing'} serves")
        time.sleep(POLL_SECONDS)
    raise RestartError(f"no outcome within {wait_seconds:g} s; see {status_file} and the log")


def _read(status_file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(status_file.read_text())
    except FileNotFoundError:
        raise RestartError(f"{status_file} is not there: the role does not run") from None
    except PermissionError:
        raise RestartError(f"{status_file} cannot be read by this user") from None
    return document
