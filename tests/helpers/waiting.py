"""Waiting for other processes: by looking, never by sleeping for as long as it might take."""

import time
from collections.abc import Callable

# So long only when something is broken; it bounds how long that takes to be told.
PATIENCE_SECONDS = 120


def wait_for(
    condition: Callable[[], object],
    what: str,
    *,
    pause: float = 0.01,
    patience: float = PATIENCE_SECONDS,
) -> None:
    """Poll until `condition` holds; fail with `what` when it does not come to hold."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(pause)
