"""Patience with the stores: for a while they may be away, and no build is at fault for that."""

import sys
import time
from collections.abc import Callable

from panorama.build_info import NAME
from panorama.jobs import StoreError

PAUSE_SECONDS = 1.0


def wait_for_stores(
    check: Callable[[], None], role: str, seconds: float, tick: Callable[[], None] | None = None
) -> None:
    """Call `check` until it raises no StoreError, `seconds` at most; say what is waited for.

    Args:
        tick: called about once a second meanwhile, for a server whose parent
            wants a sign of life.

    Raises:
        StoreError: the last one.
    """
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            return check()
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:
                said = str(error)
                print(f"{NAME} {role}: waits: {said}", file=sys.stderr, flush=True)
        if tick:
            tick()
        time.sleep(PAUSE_SECONDS)
