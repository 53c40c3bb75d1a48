"""The state on disk: loaded once, replaced durably, locked against a second updater.

Layout of STATE_DIR, which is root's alone on a server::

    state.json          state.State
    lock                flock(2)ed while an updater works
    packages/HASH.deb   the last good package, and the one on its way
    HOLD                put there by an operator (HOLD_FILE)
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoupdate.errors import StateError
from autoupdate.journal import durable
from autoupdate.journal.state import State
from autoupdate.release.format import Release

_MAX_BYTES = 1 << 20


class StateFolder:
    """One updater's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path / "state.json"
        self._packages = path / "packages"
        self.state = State()  # as on disk

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, and keep any other updater out of it.

        Raises:
            StateError: not writable, or another updater is at work.
        """
        try:
            self._packages.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StateError(
                f"cannot use {self._path}: {error.strerror}; set AUTOUPDATE_STATE_DIR"
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateError(f"another updater works in {self._path}") from error
            yield
        finally:
            os.close(lock)

    def load(self) -> None:
        """Take the state from disk; it is empty at the very first start.

        Raises:
            StateError: it cannot be read. It is never thrown away: with it
                would go the memory of which releases are too old.
        """
        try:
            with self._file.open("rb") as file:
                content = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(f"cannot read {self._file}: {error.strerror}") from error
        try:
            self.state = State.from_json(content.decode())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StateError(
                f"cannot understand {self._file}: {error}; move it away to begin anew, which "
                "forgets the highest sequence"
            ) from error

    def change(self, **fields: Any) -> None:
        """Replace fields of the state, durably.

        Raises:
            StateError: then the state is what it was, on disk and here.
        """
        changed = replace(self.state, **fields)
        if changed == self.state:
            return
        try:
            durable.write(self._file, changed.to_json().encode())
        except OSError as error:
            raise StateError(f"cannot write {self._file}: {error.strerror}") from error
        self.state = changed

    def package(self, release: Release) -> Path:
        """Return where this release's package is kept; it need not be there."""
        return self._packages / f"{release.sha256}.deb"

    def holds(self, release: Release) -> bool:
        """Tell whether the package is there, whole: its hash is computed anew."""
        try:
            return release.is_body(self.package(release))
        except OSError:
            return False

    def add_package(
        self, release: Release, fetch: Callable[[Callable[[bytes], object]], None]
    ) -> bool:
        """Keep the bytes that `fetch` writes, if their hash is the release's.

        `fetch` is given a function to write to. Returns False, and keeps
        nothing, if they are other bytes.

        Raises:
            StateError: disk full, or not writable.
        """
        part = self._packages / f"{release.sha256}.part"
        digest = hashlib.sha256()
        try:
            with part.open("wb") as file:

                def write(chunk: bytes) -> None:
                    digest.update(chunk)
                    try:
                        file.write(chunk)
                    except OSError as error:
                        raise StateError(f"cannot write {part}: {error.strerror}") from error

                fetch(write)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != release.sha256:
                return False
            durable.rename(part, self.package(release))
        except OSError as error:
            raise StateError(f"cannot write {part}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return True

    def remove_packages_except(self, *releases: Release | None) -> None:
        """Free the room of packages that nothing refers to any more.

        Raises:
            StateError: the folder cannot be read or written.
        """
        kept = {self.package(each) for each in releases if each}
        try:
            for path in self._packages.iterdir():
                if path not in kept:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"cannot tidy {self._packages}: {error.strerror}") from error
