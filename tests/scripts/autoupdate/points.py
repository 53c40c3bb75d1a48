"""A real updater, and an accident at each point at which it, or dpkg under it, changes the disk.

Example::

    points = runner.trace(machine)         # one whole run, written down
    runner.run(machine, points[7], "updater", "group")

Between two points nothing of the disk changes, so that one kill stands for all
moments between them. fsync(2) is none: it changes nothing for whoever comes
next after a kill. What a power cut takes has a test of its own.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher import LAUNCHER
from one_machine import OneMachine

import autoupdate

_SHIM_SOURCE = Path(__file__).with_name("points.c")

# What every call of a point is called, but those that leave a folder's entries as they are.
START, WRITE = "start", "write"
NEEDS_ROOM = frozenset({"create", "mkdir", "link", WRITE})


@dataclass(frozen=True)
class Point:
    """One point of a run: just before the n-th call of this kind by this program."""

    program: str  # "updater", or what it started
    call: str
    number: int  # from 1
    subject: str = field(compare=False)  # the path below the machine's root, for people

    @property
    def changes(self) -> bool:
        """Tell whether the machine is another afterwards.

        What dpkg writes it writes to files that have no name yet by which anybody reads them;
        that the updater does so, too, is to be shown.
        """
        return self.call != START and (self.call != WRITE or self.program == "updater")

    def __str__(self) -> str:
        return f"{self.program} {self.call} #{self.number} ({self.subject})"


class Runner:
    """Starts updaters on machines whose bucket is reached over HTTP."""

    def __init__(self, folder: Path, launcher: "subprocess.Popen[str]", shim: Path) -> None:
        self._trace = folder / "trace"
        self._shared = folder / "shared"
        self._launcher = launcher
        self._shim = shim

    def run(self, machine: OneMachine, at: Point | None = None, *victims: str) -> int:
        """Let an updater look once; at this point an accident befalls the POINTS_VICTIMS.

        Returns what os.waitstatus_to_exitcode says: -9 if the updater was killed.
        """
        if not at:
            return self._run(machine, {})
        self._shared.write_bytes(bytes(8))
        points = {
            "POINTS_AT": f"{at.program} {at.call} {at.number}",
            "POINTS_VICTIMS": " ".join(victims),
            "POINTS_SHARED": str(self._shared),
        }
        status = self._run(machine, points)
        passed = int.from_bytes(self._shared.read_bytes()[:4], sys.byteorder)
        assert passed >= at.number, f"{at} was not reached"
        return status

    def trace(self, machine: OneMachine) -> list[Point]:
        """Let an updater look once; return the points that it passed, in their order."""
        self._trace.write_bytes(b"")
        self._run(machine, {"POINTS_TRACE": str(self._trace)})
        passed: Counter[tuple[str, str]] = Counter()
        points = []
        for line in self._trace.read_text().splitlines():
            succeeded, program, call, subject = line.split(" ", maxsplit=3)
            passed[program, call] += 1
            if succeeded == "+":
                shown = re.sub(r"[0-9a-f]{64}", "HASH", subject)
                points.append(Point(program, call, passed[program, call], shown))
        return points

    def kill_after(self, machine: OneMachine, seconds: float, *, with_children: bool) -> None:
        """Let an updater look once, and kill it after so long if it has not ended by then."""
        pid = self._start(machine, {})
        pidfd = os.pidfd_open(pid)
        if not select.select([pidfd], [], [], seconds)[0]:
            # So that it does nothing about the end of its children.
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            for child in _offspring(pid) if with_children else []:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.kill(child, signal.SIGKILL)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        self._wait()

    def _run(self, machine: OneMachine, points: dict[str, str]) -> int:
        self._start(machine, points)
        return self._wait()

    def _start(self, machine: OneMachine, points: dict[str, str]) -> int:
        asked = {
            "words": ["--once"],
            "environ": {
                **machine.environ,
                **points,
                "POINTS_ROOT": str(machine.root),
                "TMPDIR": str(machine.root.parent),  # a dpkg-deb that is killed leaves things
                "LD_PRELOAD": str(self._shim),
            },
            "log": str(machine.log_file),
        }
        assert self._launcher.stdin and self._launcher.stdout
        self._launcher.stdin.write(json.dumps(asked) + "\n")
        self._launcher.stdin.flush()
        return int(self._launcher.stdout.readline())

    def _wait(self) -> int:
        assert self._launcher.stdin and self._launcher.stdout
        self._launcher.stdin.write("\n")
        self._launcher.stdin.flush()
        return os.waitstatus_to_exitcode(int(self._launcher.stdout.readline()))


def _offspring(pid: int) -> list[int]:
    """Return the children of a process, the children of these, and so on (proc(5))."""
    found: list[int] = []
    with suppress(OSError):  # it has ended just now
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_offspring(int(child))]
    return found


@contextmanager
def runner(folder: Path) -> Iterator[Runner]:
    """Build the shim and start the launcher below `folder`."""
    shim = folder / "points.so"
    build = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]
    subprocess.run([*build, str(shim), str(_SHIM_SOURCE)], check=True)
    command = [sys.executable, str(LAUNCHER), "--each"]
    sources = Path(autoupdate.__file__).parents[1]
    environ = {"PYTHONPATH": str(sources), "LD_PRELOAD": str(shim)}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        yield Runner(folder, launcher, shim)
        assert launcher.stdin
        launcher.stdin.close()
        launcher.wait()
