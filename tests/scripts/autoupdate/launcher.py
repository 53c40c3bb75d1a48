"""Runs `python -m autoupdate` again and again, in milliseconds: imported once, forked for each.

    python launcher.py WORD...      one run, as `python -m autoupdate WORD...`
    python launcher.py --each       one run for each line of JSON on stdin

A line is {"words": [...], "environ": {...}, "log": PATH}; its answer is the
run's process ID. The answer to a second line, an empty one, is what waitpid(2)
says of it. The program is the updater as it is, but that its rests are short.
"""

import gc
import json
import os
import runpy
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from autoupdate import cli, settings
from autoupdate.clock import SystemClock

LAUNCHER = Path(__file__)

SHORT_REST_SECONDS = 0.002


class HurriedClock(SystemClock):
    """The system's, but what would be waited for long is looked at soon."""

    def rest(self, seconds: float) -> None:
        super().rest(min(seconds, SHORT_REST_SECONDS))


def run(words: list[str]) -> None:
    sys.argv[1:] = words
    runpy.run_module("autoupdate", run_name="__main__", alter_sys=True)


def run_forked(words: list[str], environ: dict[str, str], log: str) -> None:
    """Be a process that has nothing of this one but its imports; does not return."""
    status = 70
    try:
        # Its children and it can then be told from what started it.
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(file, standard)
        os.environ.clear()
        os.environ.update(environ)
        run(words)
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run_each() -> None:
    # What it compiles, regular expressions above all, is compiled once; what it imports late, too.
    settings.load({"BUCKET": "a-bucket"})
    "localhost".encode("idna")
    time.strptime("2026", "%Y")
    gc.freeze()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            # Known only here: the process in whose name points.c counts.
            asked["environ"]["POINTS_UPDATER"] = str(os.getpid())
            run_forked(**asked)
        print(pid, flush=True)
        # Not waited for before that, so that no other process can have its ID.
        sys.stdin.readline()
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    # An updater makes its own clock; this one is for tests alone.
    vars(cli)["SystemClock"] = HurriedClock
    if sys.argv[1:] == ["--each"]:
        run_each()
    else:
        run(sys.argv[1:])
