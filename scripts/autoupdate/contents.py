"""What a .deb would put on this machine, looked at before dpkg does.

A package that was signed in error, or by a stolen key, still owns no more than
a service's package has to: its own folders, its two executables, its units and
jobs. Everything is read as a stream, within bounds; nothing is unpacked.
"""

import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from autoupdate.clock import time_limit
from autoupdate.errors import MachineError
from autoupdate.programs import SYSTEM_PATH

# A package of 4 MB unpacks to 15; one that unpacks to more than this is a bomb.
MAX_UNPACKED_BYTES = 4 << 30
MAX_CONTROL_BYTES = 4 << 20
MAX_MEMBERS = 100_000
_READ_SECONDS = 300

_SET_ID_BITS = 0o6000
_WRITABLE_BITS = 0o022


def check(deb: Path, name: str) -> None:
    """Look through both archives in `deb`, the package of service `name`.

    Raises:
        MachineError: a member lies where it may not, is of a kind or a mode
            that no service's package needs, or the archive is a bomb.
    """
    owned = _owned_by(name)
    for member in _members(deb, "--fsys-tarfile", MAX_UNPACKED_BYTES):
        path = member.name.removeprefix("./").rstrip("/")
        if not _is_plain(member):
            raise MachineError(f"the package holds {path!r:.80}, which is no file and no folder")
        if ".." in path.split("/") or path.startswith("/"):
            raise MachineError(f"the package holds {path!r:.80}, which leads elsewhere")
        if member.mode & _SET_ID_BITS or (not member.issym() and member.mode & _WRITABLE_BITS):
            raise MachineError(f"the package holds {path!r:.80} with mode {member.mode:04o}")
        if member.uid or member.gid:
            raise MachineError(f"the package holds {path!r:.80}, which is not root's")
        if not member.isdir() and not owned.fullmatch(path):
            raise MachineError(f"the package holds {path!r:.80}, which is not {name}'s")
    for _ in _members(deb, "--ctrl-tarfile", MAX_CONTROL_BYTES):
        continue  # its bounds are what is looked at


def _owned_by(name: str) -> "re.Pattern[str]":
    """Return what the files of a service's package are called, without the leading slash."""
    this = re.escape(name)
    return re.compile(
        rf"usr/bin/{this}(-[a-z0-9-]+)?"
        rf"|usr/(lib|share)/{this}/.+"
        rf"|(usr/)?lib/systemd/system/{this}-[a-z0-9@-]+\.[a-z]+"
        rf"|etc/init/{this}-[a-z0-9-]+\.conf"
        rf"|etc/{this}/.+"
        rf"|usr/share/(doc|lintian/overrides|man/man[0-9])/{this}[a-z0-9.-]*(/.+)?"
    )


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Tell whether it is a file, a folder, or a link to something beside or below it."""
    if member.issym():
        return not member.linkname.startswith("/") and ".." not in member.linkname.split("/")
    return member.isreg() or member.isdir()


def _members(deb: Path, archive: str, max_bytes: int) -> Iterator[tarfile.TarInfo]:
    command = ["dpkg-deb", archive, str(deb)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": SYSTEM_PATH},
    ) as process:
        try:
            with time_limit(_READ_SECONDS):
                assert process.stdout  # noqa: S101  # Popen's types cannot say that it was asked for
                yield from _bounded(process.stdout, max_bytes)
        except (OSError, tarfile.TarError, ValueError) as error:
            raise MachineError(f"the package's archive cannot be read: {error}") from error
        finally:
            process.kill()


def _bounded(stream: IO[bytes], max_bytes: int) -> Iterator[tarfile.TarInfo]:
    size = 0
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for number, member in enumerate(tar):
            size += member.size
            if size > max_bytes or number >= MAX_MEMBERS:
                raise MachineError(
                    f"the package unpacks to more than {max_bytes >> 20} MB or {MAX_MEMBERS} files"
                )
            yield member
            # What tarfile remembers of every member it would remember for ever.
            tar.members = []  # type: ignore[attr-defined]
