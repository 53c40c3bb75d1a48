"""A power cut at every moment that matters: the state folder becomes what had been synced.

What is not synced by then is lost in the worst way a file system allows: a
file that was renamed but never synced is there, and empty.
"""

import itertools
import os
import shutil
from pathlib import Path

import pytest
from in_order import assert_in_order, assert_serves
from one_machine import OneMachine


class PowerCutError(BaseException):
    """Nothing catches it."""


class Disk:
    """Remembers what fsync(2) has made durable below `folder`; fails at one of its calls."""

    def __init__(self, folder: Path, cut_at: int) -> None:
        self._folder = folder
        self._cut_at = cut_at
        self._fsync = os.fsync
        self.calls = 0
        self._content: dict[int, bytes] = {}  # by inode
        self._entries: dict[Path, dict[str, int]] = {}  # of folders: name -> inode
        # What is there already has been there for long.
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                self._remember_folder(path)
            else:
                self._content[path.stat().st_ino] = path.read_bytes()

    def fsync(self, fd: int) -> None:
        self._fsync(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path != self._folder and self._folder not in path.parents:
            return
        self.calls += 1
        if self.calls == self._cut_at:
            raise PowerCutError
        if path.is_dir():
            self._remember_folder(path)
        else:
            self._content[path.stat().st_ino] = path.read_bytes()

    def _remember_folder(self, path: Path) -> None:
        entries = {each.name: each.stat().st_ino for each in path.iterdir()}
        self._entries[path] = entries

    def lose_what_was_not_synced(self) -> None:
        shutil.rmtree(self._folder)
        for folder in sorted(self._entries):
            folder.mkdir(exist_ok=True)
        for folder, entries in self._entries.items():
            for name, inode in entries.items():
                if not (folder / name).is_dir():
                    (folder / name).write_bytes(self._content.get(inode, b""))


def look_until_cut(machine: OneMachine, cut_at: int, patch: pytest.MonkeyPatch) -> bool:
    """Look with a power cut at the n-th fsync; tell whether it came to that."""
    machine.restart_updater()
    disk = Disk(machine.settings.state_dir, cut_at)
    with patch.context() as patched:
        patched.setattr(os, "fsync", disk.fsync)
        try:
            machine.look()
        except PowerCutError:
            disk.lose_what_was_not_synced()
            return True
    return False


@pytest.mark.parametrize("fault", ["", "restart fails"])
def test_power_cut_at_any_sync_is_in_order_after_one_more_look(
    serving: OneMachine, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests, fault: str
) -> None:
    packages = [serving.package(f"1.0-{number}", fault=fault) for number in (2, 3)]
    for cut_at in itertools.count(1):
        serving.publish(packages[cut_at % 2], sequence=cut_at + 1)
        if not look_until_cut(serving, cut_at, monkeypatch):
            break
        with subtests.test(f"cut at sync {cut_at}"):
            serving.restart_updater()
            problem = serving.look()
            good = serving.state.last_good
            assert good
            assert_in_order(serving, good.version, "undone" if problem else "current")
            assert_serves(serving, good.version)
    assert cut_at > 10, "state and package were synced again and again"
