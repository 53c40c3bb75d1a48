"""What the demo prints: one aligned line for each thing that happened."""

import time

WIDTH = 86


class Transcript:
    """Prints lines with the seconds since the step they belong to began."""

    def __init__(self) -> None:
        self._step_began = time.monotonic()

    def title(self, text: str) -> None:
        print(f"\n{text}\n", flush=True)

    def step(self, number: str, text: str) -> None:
        """Begin a step; `number` is of the article's seven, or blank."""
        self._step_began = time.monotonic()
        print(f"{number:>2}  {text}", flush=True)

    def line(self, text: str, *, timed: bool = True) -> None:
        """Print what has happened in the step that is under way."""
        if timed:
            seconds = f"{time.monotonic() - self._step_began:6.1f} s"
            print(f"    {text:<{WIDTH - 14}}{seconds}", flush=True)
        else:
            print(f"    {text}", flush=True)
