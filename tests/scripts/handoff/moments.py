"""The moments of a supervised life at which somebody else could see a difference, one by one.

A program under test calls `watch` before all else. From then on it is a moment when the package
handoff is about to call one of the functions below: in the supervisor, in the children that it
forks, in supervisors on trial and in generations. The moment is named by the kind of process, the
chain of callers and the function::

    supervisor run:98 _begin:130 _start:367 start fork

What is to happen at which one is an order, in a file that the test writes::

    record                                  write down each moment, once
    restart MOMENT                          there: put the next build in place, signal SIGUSR2
    stop MOMENT                             there: signal SIGTERM, and SIGUSR2 after it
    kill MOMENT                             there: SIGKILL to the process whose moment it is

An order is carried out once, by whoever comes to its moment first; then the file is gone.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

# What another process can see when it is done: files, sockets, processes, and what is written to
# pipes; "__exit__" closes a file, which is when it is written. Between two of these a process may
# die anywhere with the same result.
_SEEN = {"open", "__exit__", "replace", "rename", "unlink", "mkdir", "rmdir", "flock", "bind",
         "listen", "write", "fork", "execve", "kill", "killpg", "waitpid"}  # fmt: skip
# Where a process looks for signals. Between two of these one may come anywhere.
_LOOKS = {"sigtimedwait", "pthread_sigmask"}


class Moments:
    """The test's side: gives orders to the program whose `watch` has the same folder."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._order = folder / "order"
        self._recorded = folder / "recorded"
        self.next_build = folder / "next"
        self._program = program
        folder.mkdir(exist_ok=True)

    @property
    def watching(self) -> str:
        """What a program runs to be watched."""
        return (
            f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import moments; "
            f"moments.watch({str(self._order)!r}, {str(self._recorded)!r}, "
            f"{str(self.next_build)!r}, {str(self._program)!r})"
        )

    def order(self, text: str) -> None:
        self._recorded.write_text("")
        new = self._order.with_suffix(".new")
        new.write_text(text)
        new.rename(self._order)

    def carried_out(self) -> bool:
        return not self._order.exists()

    def recorded(self) -> list[str]:
        """End recording; return the moments since its order, each once."""
        self._order.unlink()
        return list(dict.fromkeys(self._recorded.read_text().splitlines()))

    @staticmethod
    def deadly(moments: list[str]) -> list[str]:
        """Return those at which a killed process leaves something else than at the one before."""
        return [each for each in moments if each.split()[-1] in _SEEN]


def watch(order: str, recorded: str, next_build: str, program: str) -> None:
    """In the program under test: watch for moments from now on."""
    kind = _kind(os.environ)
    own = os.getpid()
    supervisor = own if kind == "supervisor" else os.getppid()

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in _SEEN | _LOOKS:
            return
        try:
            with open(order) as file:  # noqa: PTH123  # pathlib is watched, too
                wanted, _, moment = file.read().partition(" ")
        except FileNotFoundError:
            return
        chain = _chain(frame)
        if not chain:
            return
        here = kind if os.getpid() == own else "child"
        now = " ".join((here, *chain, called.__name__))
        if wanted == "record":
            with open(recorded, "a") as file:  # noqa: PTH123
                file.write(f"{now}\n")
            return
        if now != moment:
            return
        try:
            os.unlink(order)  # noqa: PTH108
        except FileNotFoundError:
            return
        if wanted == "restart":
            os.rename(next_build, program)  # noqa: PTH104
            os.kill(supervisor, signal.SIGUSR2)
        elif wanted == "stop":
            os.kill(supervisor, signal.SIGTERM)
            os.kill(supervisor, signal.SIGUSR2)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)


def _kind(environ: Mapping[str, str]) -> str:
    if "HANDOFF_TRIAL" in environ:
        return "trial"
    return "generation" if "HANDOFF_PROOF_FD" in environ else "supervisor"


def _chain(frame: FrameType | None) -> list[str]:
    """Return handoff's functions that are at work, and where each called the next."""
    found: list[str] = []
    while frame:
        if "/handoff/" in frame.f_code.co_filename:
            # Not the last one's line: of two looks for signals the second depends on the first.
            line = f":{frame.f_lineno}" if found else ""
            found.append(f"{frame.f_code.co_name}{line}")
        frame = frame.f_back
    return found[::-1]
