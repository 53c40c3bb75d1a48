"""Log lines: one line each, on stderr, once per change of condition."""

import sys
from typing import TextIO

MAX_CHARACTERS = 600


def one_line(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Fold `text` to one printable line of at most `limit` characters.

    Some of what is logged was written by strangers; terminals obey escape
    sequences.
    """
    folded = " ".join(text.split())
    printable = "".join(each if each.isprintable() else "?" for each in folded)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


class Log:
    """Writes `PROGRAM: text` lines, and each condition only when it changes."""

    def __init__(self, program: str, stream: TextIO = sys.stderr) -> None:
        self._program = program
        self._stream = stream
        self._said: dict[str, set[str]] = {}

    def say(self, text: str) -> None:
        try:
            self._stream.write(f"{self._program}: {one_line(text)}\n")
            self._stream.flush()
        except OSError:
            # A full disk or a reader gone must not stop updates; state and
            # report carry what matters.
            return

    def change(self, subject: str, text: str, *, over: str = "") -> bool:
        """Say `text` unless `subject` has said it since its trouble began.

        An empty `text` ends the trouble; `over` is what is said then. An
        outage whose causes alternate thus takes a line for each cause, not for
        each poll. Returns whether this was a change.
        """
        said = self._said.setdefault(subject, set())
        if text in said or not (text or said):
            return False
        if text:
            said.add(text)
        else:
            said.clear()
        if text or over:
            self.say(text or over)
        return True
