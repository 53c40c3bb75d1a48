"""Files that survive a power cut: all of the new content or all of the old."""

import os
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path`: temporary name beside it, fsync, rename, fsync of the folder.

    Raises:
        OSError: disk full, not writable, ...; then the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    rename(temporary, path)


def rename(source: Path, target: Path) -> None:
    """Rename within one folder, durably; the content must be on disk already."""
    source.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
