"""Child processes that end with the process that started them, however that ends."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

# Looked up here: a forked child must not wait for the dynamic loader's lock.
_libc = ctypes.CDLL(None)


def end_with_parent(parent_pid: int) -> None:
    """In a forked child: be killed when the parent ends, or end now if it is gone already.

    Args:
        parent_pid: the parent's os.getpid(), taken before the fork.

    prctl(2): the signal comes when the *thread* that forked ends, and the setting passes through
    exec, unless that raises privileges.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
