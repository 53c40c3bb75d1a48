"""What a .deb would put on this machine, looked at before dpkg does.

A package that was signed in error, or by a stolen key, still owns no more than
a service's package has to: its own folders, its two executables, its units and
jobs. Everything is read as a stream, within bounds; nothing is unpacked.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoupdate.errors import MachineError, UndecidedError
from autoupdate.machine.programs import SYSTEM_PATH
from autoupdate.time_limit import time_limit

# A package of 4 MB unpacks to 15; one that unpacks to more than this is a bomb.
MAX_UNPACKED_BYTES = 4 << 30
MAX_CONTROL_BYTES = 4 << 20
_READ_SECONDS = 300
# From the end of its output to its own.
_END_SECONDS = 1
_MAX_NAME_BYTES = 4096

_BLOCK = 512
_SET_ID_BITS = 0o6000
_WRITABLE_BITS = 0o022

# tar(5): the types that dpkg-deb writes. "L" carries the next member's long name.
_FILE, _LINK, _FOLDER, _LONG_NAME = b"0", b"2", b"5", b"L"


@dataclass(frozen=True)
class Member:
    """One header of a tar archive."""

    path: str
    kind: bytes
    mode: int
    is_roots: bool
    link: str


def check(deb: Path, name: str) -> None:
    """Look through both archives in `deb`, the package of service `name`.

    Raises:
        MachineError: a member lies where it may not, is of a kind or a mode
            that no service's package needs, or the archive is a bomb.
    """
    owned = _owned_by(name)
    for member in _members(deb, "--fsys-tarfile", MAX_UNPACKED_BYTES):
        path = member.path.removeprefix("./").rstrip("/")
        if ".." in path.split("/") or path.startswith("/"):
            raise MachineError(f"the package holds {path!r:.80}, which leads elsewhere")
        if member.kind == _LINK and (member.link.startswith("/") or ".." in member.link.split("/")):
            raise MachineError(f"the package holds {path!r:.80}, a link that leads elsewhere")
        loose = member.kind != _LINK and member.mode & _WRITABLE_BITS
        if member.mode & _SET_ID_BITS or loose:
            raise MachineError(f"the package holds {path!r:.80} with mode {member.mode:04o}")
        if not member.is_roots:
            raise MachineError(f"the package holds {path!r:.80}, which is not root's")
        if member.kind != _FOLDER and not owned.fullmatch(path):
            raise MachineError(f"the package holds {path!r:.80}, which is not {name}'s")
    for member in _members(deb, "--ctrl-tarfile", MAX_CONTROL_BYTES):
        if member.path.removeprefix("./") == "conffiles":
            # An edited one would make dpkg ask, or keep what the release replaces.
            raise MachineError("the package has conffiles, which no update may wait for")


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


def _members(deb: Path, archive: str, max_bytes: int) -> Iterator[Member]:
    """Yield the members of one of the package's archives.

    Raises:
        MachineError: the archive is not as it must be.
        UndecidedError: this machine could not read it to its end.
    """
    try:
        process = subprocess.Popen(
            ["dpkg-deb", archive, str(deb)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": SYSTEM_PATH},
        )
    except OSError as error:
        raise UndecidedError(f"cannot run dpkg-deb: {error.strerror}") from error
    with process:
        try:
            with time_limit(_READ_SECONDS):
                assert process.stdout  # noqa: S101  # Popen's types cannot say that it was asked for
                yield from _walk(_Bounded(process.stdout, max_bytes))
                status = process.wait()
        except ValueError as error:
            _refuse_killed(process)
            raise MachineError(f"the package's archive cannot be read: {error}") from error
        except OSError as error:
            raise UndecidedError(f"the package's archive cannot be read: {error}") from error
        finally:
            process.kill()
        _refuse_killed(process)
    if status != 0:
        raise MachineError(f"the package's archive cannot be read: dpkg-deb ended with {status}")


def _refuse_killed(process: "subprocess.Popen[bytes]") -> None:
    """Raise UndecidedError if somebody has ended dpkg-deb: what it wrote ends early then."""
    try:
        status = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return  # it is alive, and waits for its reader
    if status < 0:
        name = signal.Signals(-status).name
        raise UndecidedError(f"the package's archive cannot be read: dpkg-deb killed by {name}")


class _Bounded:
    """A stream of which only so much is read."""

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._left = max_bytes

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, fewer at the end alone."""
        self._left -= size
        if self._left < 0:
            raise MachineError(f"the package unpacks to more than {self._max_bytes >> 20} MB")
        return self._stream.read(size)

    def skip(self, size: int) -> None:
        while size > 0:
            step = min(size, 1 << 20)
            if len(self.read(step)) < step:
                raise ValueError("it ends in the middle of a member")
            size -= step


def _walk(stream: _Bounded) -> Iterator[Member]:
    """Yield the members of a tar archive, and refuse whatever two readers might see differently.

    Not by the library's tarfile: that ends silently at a header that it cannot
    read, where dpkg goes on; and it reads names of any length into memory.
    """
    long_name = ""
    while header := stream.read(_BLOCK):
        if len(header) < _BLOCK:
            raise ValueError("it ends in the middle of a header")
        if not header.strip(b"\0"):
            break
        kind, size = header[156:157].replace(b"\0", _FILE), _number(header[124:136])
        if _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise ValueError("a header's checksum is wrong")
        if kind == _LONG_NAME and size <= _MAX_NAME_BYTES:
            long_name = _text(stream.read(size))
            stream.skip(-size % _BLOCK)
            continue
        if kind not in {_FILE, _LINK, _FOLDER}:
            shown = long_name or _text(header[:100])
            raise MachineError(f"the package holds {shown!r:.80}, which is no file and no folder")
        prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
        path = long_name or "/".join(filter(None, (prefix, _text(header[:100]))))
        is_roots = _number(header[108:116]) == _number(header[116:124]) == 0
        yield Member(path, kind, _number(header[100:108]), is_roots, _text(header[157:257]))
        long_name = ""
        if kind == _FILE:
            stream.skip(size + -size % _BLOCK)
        elif size:
            raise ValueError("a folder or a link has a body")
    # Whatever stood behind the end mark, another reader might take for members.
    while rest := stream.read(_BLOCK):
        if rest.strip(b"\0"):
            raise ValueError("something follows its end")


def _number(field: bytes) -> int:
    """Return an octal field's number; dpkg also takes other spellings, dpkg-deb writes none."""
    if not re.fullmatch(rb" *[0-7]+[ \0]*", field):
        raise ValueError(f"a header has the number {field!r}")
    return int(field.strip(b" \0"), 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="backslashreplace")
