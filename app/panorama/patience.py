"""Patience with the stores: they may be away for a moment, and no build is at fault for that."""

import time
from collections.abc import Callable

from handoff import Generation
from panorama.errors import StoreAwayError

PAUSE_SECONDS = 1.0


def wait_for_stores(
    check: Callable[[], None], generation: Generation, tick: Callable[[], None] | None = None
) -> None:
    """Call `check` until the stores answer; the supervisor ends this when it has had enough.

    Args:
        tick: called before each pause, for a server whose parent wants a sign of life.

    Raises:
        StoreError: a store will not come by waiting.
    """
    while True:
        try:
            return check()
        except StoreAwayError as error:
            generation.waits(str(error))
        if tick:
            tick()
        time.sleep(PAUSE_SECONDS)
