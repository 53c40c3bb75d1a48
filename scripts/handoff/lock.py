"""The lock of a role: no second supervisor starts beside the first."""

import fcntl
import os
from pathlib import Path


def take(path: Path) -> int:
    """Return a descriptor that holds the lock on `path` (flock(2)) until it is closed.

    The file stays: one that is removed and made anew could be locked twice.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder is missing, or the file cannot be made or opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fd = os.open(path, flags)
    else:
        if os.geteuid() == 0:
            # Started by hand as root, it must not keep the role's own user out later.
            owner = path.parent.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd
