"""Starts a program from the folder that its executable unpacks itself into.

packaging/bundle puts this file into every executable as ``__main__.py``. The
executable is a zip; it is not run from inside the zip, because

- zipimport reads the file at its path again at each import: once dpkg has
  replaced it, the old program loads modules of the new one, or fails;
- botocore opens its data as files, and namespace packages need real folders;
- bytecode compiled in a zip is thrown away at each exit.

::

    $CACHE_DIR/                default /var/cache/NAME; nobody else may write to it
        .lock                  held while builds are unpacked or removed
        5e1c0b7a90d2f346/      one build, named by its content
            .lock              held, shared, by every process that lives from this build
            __main__.py  build.json  panorama/  flask/ ...
        .new-5e1c...  .gone-...  being unpacked; being removed

A killed process leaves at most a ``.new-`` or ``.gone-`` folder, which the next
start removes; the kernel releases its locks. Nothing is synced to disk, for
after a power cut nothing there is trusted: a folder from before the last boot
is unpacked anew.

``python3 -IS $CACHE_DIR/KEY/__main__.py`` with SLIPWAY_EXECUTABLE set to the
executable's path starts exactly that build, whatever the executable is by now.

This file must compile under any Python 3, in order to say which one it needs;
so it has no f-strings.
"""
# ruff: noqa: E402, UP032  # see the last paragraph above

import signal

# A restart signal that comes before the program is ready for it waits instead of killing.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # whoever runs it decides
    sys.exit(
        "{}: cannot run under Python {}.{}: it needs 3.10 or newer; install a newer python3".format(
            sys.argv[0].rpartition("/")[2], *sys.version_info[:2]
        )
    )

import contextlib
import fcntl
import importlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

EXIT_CANNOT_START = 1

# Nothing else in the cache folder is ever touched.
BUILD = re.compile(r"[0-9a-f]{16}")
LEFT_BEHIND = re.compile(r"\.(new|gone)-[0-9a-f]{16}")

# random(4): another one at each boot.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CannotStartError(Exception):
    """The program cannot start; the message says why and what to do, in one line."""


def main() -> Any:
    """Answer ``--version``, or become the program. Returns its exit status."""
    # Not resolved: a symbolic link is replaced by pointing it elsewhere.
    executable = Path(sys.argv[0]).absolute()
    program = executable.name
    try:
        if executable == Path(__file__).absolute():
            folder, executable = resume()
        else:
            # Opened once: what is read is one build, even if the file is replaced meanwhile.
            with executable.open("rb") as file, zipfile.ZipFile(file) as archive:
                build = json.loads(archive.read("build.json"))
                if sys.argv[1:] == ["--version"]:
                    print(build["version"])
                    return 0
                folder = settle(archive, build)
            # Nothing is ever imported from the zip again.
            sys.path[:] = [each for each in sys.path if Path(each).absolute() != executable]
    except CannotStartError as error:
        print("{}: {}".format(program, error), file=sys.stderr)
        return EXIT_CANNOT_START
    except (OSError, zipfile.BadZipFile) as error:
        line = "{}: cannot read {}: {}; install the package again"
        print(line.format(program, executable, error), file=sys.stderr)
        return EXIT_CANNOT_START
    remove_others(folder)
    return run(folder, executable)


def run(folder: Path, executable: Path) -> Any:
    """Run the program of the build in `folder`. Returns its exit status."""
    build = json.loads((folder / "build.json").read_text())
    module, _, function = build["entry"].partition(":")
    sys.path.insert(0, str(folder))
    sys.argv[0] = str(executable)
    return getattr(importlib.import_module(module), function)()


def settle(archive: zipfile.ZipFile, build: "dict[str, Any]") -> Path:
    """Return the folder of this build in the cache, unpacked and held.

    Raises:
        CannotStartError: the cache folder is not fit, not writable, or full.
    """
    cache = Path(os.environ.get("CACHE_DIR") or "/var/cache/" + build["name"]).absolute()
    folder = cache / key_of(archive)
    umask = os.umask(0o022)
    try:
        with contextlib.suppress(FileExistsError):
            cache.mkdir(parents=True)
        check_owner(cache)
        if not hold(folder):
            with locked(cache):
                remove_left_behind(cache)
                # Another process may have been quicker.
                if not hold(folder):
                    if remove(folder):
                        with archive.open("site.tar.xz") as payload:
                            unpack(payload, folder)
                    # If in use it is whole: a sandbox may see another boot ID than its machine.
                    hold(folder, of_any_boot=True)
        check_owner(folder)
    except OSError as error:
        advice = "it takes {} MB there, written by user {}: make room, or set CACHE_DIR"
        raise CannotStartError(
            "cannot unpack into {}: {}; {}".format(
                cache, error.strerror, advice.format(build["unpacked_mb"], user(os.geteuid()))
            )
        ) from error
    finally:
        # Whatever the umask of whoever starts us: the interpreter keeps bytecode here, in which
        # others must not write.
        os.umask(umask | 0o022)
    return folder


def resume() -> "tuple[Path, Path]":
    """Return the folder that this file lies in, held, and the executable's path.

    Raises:
        CannotStartError: not started as the module's docstring says.
    """
    folder = Path(__file__).absolute().parent
    executable = os.environ.pop("SLIPWAY_EXECUTABLE", "")
    if not executable:
        raise CannotStartError("cannot start: SLIPWAY_EXECUTABLE is not set; run the executable")
    check_owner(folder)
    if not hold(folder, of_any_boot=True):
        raise CannotStartError("cannot start: {} is gone; run {}".format(folder, executable))
    # What ps and killall know it by: the executable, as if that had been started.
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(Path(executable).name)
    return folder, Path(executable)


def key_of(archive: zipfile.ZipFile) -> str:
    import hashlib  # loads OpenSSL, which --version does without

    digest = hashlib.sha256()
    for name in ("site.tar.xz", "build.json"):
        with archive.open(name) as file:
            for chunk in iter(lambda: file.read(1 << 18), b""):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def check_owner(folder: Path) -> None:
    """Refuse a folder in which somebody else could put code for us to run.

    Raises:
        CannotStartError: it is another user's, writable by others, or a symbolic link.
    """
    found = folder.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        problem = "it is a symbolic link; set CACHE_DIR to the folder itself"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "it is no folder; set CACHE_DIR to one"
    elif found.st_uid not in {0, os.geteuid()}:
        problem = "it belongs to user {0}; run as user {0}, or set CACHE_DIR to a folder of {1}"
        problem = problem.format(user(found.st_uid), user(os.geteuid()))
    elif mode & 0o022:
        problem = "others may write to it (mode {:04o}); chmod go-w it, or set CACHE_DIR"
        problem = problem.format(mode)
    else:
        return
    raise CannotStartError("cannot use the cache folder {}: {}".format(folder, problem))


def user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def hold(folder: Path, *, of_any_boot: bool = False) -> bool:
    """Lock `folder` for the life of this process; False if it is not there, or of another boot."""
    path = folder / ".lock"
    try:
        lock = open_lock(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    if of_any_boot or os.read(lock, 64) == this_boot():
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Whoever removes a folder has it locked meanwhile, and moved it away first.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return True  # and `lock` stays open for ever
    os.close(lock)
    return False


def this_boot() -> bytes:
    try:
        return BOOT_ID.read_bytes().strip()
    except OSError:  # without /proc one boot cannot be told from another
        return b"unknown"


def open_lock(path: Path, flags: int) -> int:
    # Closed by exec: a program that this one becomes does not live from the folder.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def locked(cache: Path, flags: int = 0) -> "Iterator[None]":
    lock = open_lock(cache / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(lock)


# The rest works under the cache's lock: one process at a time.


def unpack(payload: "IO[bytes]", folder: Path) -> None:
    """Unpack `payload` as `folder`: wholly, or not at all."""
    import lzma  # only a build's first start needs these
    import shutil
    import tarfile

    new = beside(folder, ".new-")
    new.mkdir()
    try:
        with tarfile.open(fileobj=lzma.open(payload), mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content  # noqa: S101  # packaging/bundle packs plain files only
                path = new / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
        (new / ".lock").write_bytes(this_boot())
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def remove_others(folder: Path) -> None:
    """Remove the builds beside `folder` from which no process lives any more."""
    cache = folder.parent
    # Another process is at it, or this one may not write there: no reason not to start.
    with contextlib.suppress(OSError):
        names = {each.name for each in cache.iterdir()} - {folder.name}
        others = list(filter(BUILD.fullmatch, names))
        if others or any(map(LEFT_BEHIND.fullmatch, names)):
            with locked(cache, fcntl.LOCK_NB):
                remove_left_behind(cache)
                for name in others:
                    remove(cache / name)


def remove_left_behind(cache: Path) -> None:
    """Remove what a killed process left half unpacked or half removed."""
    import shutil

    for each in cache.iterdir():
        if LEFT_BEHIND.fullmatch(each.name):
            shutil.rmtree(each, ignore_errors=True)


def remove(folder: Path) -> bool:
    """Remove the build in `folder`, if there is one; False if a process lives from it."""
    import shutil

    with contextlib.ExitStack() as cleanup:
        # Without its lock it is what an interrupted rm -r left.
        with contextlib.suppress(FileNotFoundError):
            lock = open_lock(folder / ".lock", os.O_RDONLY)
            cleanup.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        with contextlib.suppress(FileNotFoundError):
            gone = beside(folder, ".gone-")
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    return True


def beside(folder: Path, prefix: str) -> Path:
    return folder.with_name(prefix + folder.name)


if __name__ == "__main__":  # multiprocessing imports this file again, under another name
    sys.exit(main())
