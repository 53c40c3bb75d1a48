"""Pictures in files, for one machine."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from panorama.errors import StoreAwayError, StoreError


class LocalPictures:
    """STATE_DIR/pictures/ID/NAME."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "pictures"

    def check(self) -> None:
        with _told_as_store_error(f"use {self._folder}"):
            self._folder.mkdir(exist_ok=True)
            os.statvfs(self._folder)

    def put(self, job_id: str, name: str, picture: IO[bytes]) -> None:
        path = self._folder / job_id / name
        temporary = path.with_name(f".{name}.new")
        with _told_as_store_error(f"keep {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    shutil.copyfileobj(picture, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

    def fetch(self, job_id: str, name: str, path: Path) -> None:
        with _told_as_store_error(f"read {name} of job {job_id}"):
            shutil.copyfile(self._folder / job_id / name, path)

    def open(self, job_id: str, name: str) -> IO[bytes]:
        with _told_as_store_error(f"read {name} of job {job_id}"):
            return (self._folder / job_id / name).open("rb")

    def forget(self, job_id: str) -> None:
        with _told_as_store_error(f"remove the pictures of job {job_id}"):
            folder = self._folder / job_id
            if folder.exists():
                shutil.rmtree(folder)

    def forget_older(self, seconds: float) -> None:
        with _told_as_store_error(f"remove old pictures of {self._folder}"):
            for folder in self._folder.iterdir():
                if folder.stat().st_mtime < time.time() - seconds:
                    shutil.rmtree(folder)


@contextmanager
def _told_as_store_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreAwayError if error.errno == errno.ENOSPC else StoreError
        raise kind(f"cannot {what}: {error.strerror}") from error
