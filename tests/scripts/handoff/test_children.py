"""A child whose parent ends, ends."""

import os
import select
import subprocess
import sys
from functools import partial

from project import ROOT
from waiting import wait_for

from handoff.children import end_with_parent

# Starts a child that sleeps, says its process ID, and waits to be killed.
PARENT = """\
import os, subprocess, sys
from functools import partial
from handoff.children import end_with_parent
child = subprocess.Popen(["sleep", "60"], preexec_fn=partial(end_with_parent, os.getpid()))
print(child.pid, flush=True)
child.wait()
"""


def test_child_is_killed_when_its_parent_is() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")}, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout
        # A descriptor, since the number may soon be another's: readable once the child has ended.
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            wait_for(lambda: select.select([child], [], [], 0)[0], "the child's end")
        finally:
            os.close(child)


def test_child_whose_parent_is_gone_already_ends_itself() -> None:
    stranger = os.getpid() + 1
    child = subprocess.Popen(["true"], preexec_fn=partial(end_with_parent, stranger))  # noqa: PLW1509  # one call
    assert child.wait() == 1
