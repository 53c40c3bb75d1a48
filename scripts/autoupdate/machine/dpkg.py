"""dpkg: what is installed, what a .deb holds, and putting one in.

With another root than ``/`` the same dpkg works on a database of that root;
maintainer scripts then run unconfined and find that root in ``DPKG_ROOT``.
"""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoupdate.clock import Clock
from autoupdate.errors import MachineError, PostponedError, UndecidedError
from autoupdate.log import Log
from autoupdate.machine.programs import SYSTEM_PATH, Ended, run

_QUERY_SECONDS = 60
_UNPACK_SECONDS = 300
# Less than programs.run keeps of what a program says.
_MAX_FIELDS_BYTES = 32 << 10
_LOCK_TICK_SECONDS = 0.5

# fcntl(2): struct flock, of which F_GETLK fills in l_pid.
_FLOCK = "hhqqi"

# No question may ever be asked: there is nobody to answer. The package ships
# no conffiles; should one come, an edited one stays.
_UNATTENDED = ("--force-confdef", "--force-confold")


@dataclass(frozen=True)
class Fields:
    """What a .deb says about itself."""

    package: str
    version: str
    architecture: str
    depends: str  # Pre-Depends and Depends, joined
    names: frozenset[str]  # of all fields, as deb822(5) capitalizes them


class Dpkg:
    """The packages below one root."""

    def __init__(
        self, root: Path, clock: Clock, log: Log, *, lock_seconds: float, install_seconds: float
    ) -> None:
        self._root = root
        self._database = root / "var/lib/dpkg"
        self._clock = clock
        self._log = log
        self._lock_seconds = lock_seconds
        self._install_seconds = install_seconds

    @property
    def is_the_system(self) -> bool:
        return self._root == Path("/")

    def architecture(self) -> str:
        return self._ask("dpkg", "--print-architecture").strip()

    def installed_version(self, package: str) -> str | None:
        """Return the version that is wholly installed and configured, or None."""
        ended = run(self._query("${db:Status-Status} ${Version}", package), seconds=_QUERY_SECONDS)
        status, _, version = ended.output.strip().partition(" ")
        return version if ended.succeeded and status == "installed" else None

    def has_installed(self, deb: Path, package: str, version: str) -> bool:
        """Tell whether `package` is installed with `version` and the very files of `deb`.

        The version alone would not do: two builds may bear the same one.
        """
        if self.installed_version(package) != version:
            return False
        listed = run(["dpkg-deb", "--info", deb, "md5sums"], seconds=_QUERY_SECONDS)
        try:
            installed = (self._database / "info" / f"{package}.md5sums").read_text()
        except OSError:
            return False
        return listed.succeeded and listed.output == installed

    def installed_versions(self, packages: Sequence[str]) -> dict[str, str]:
        """Return name and version of those of `packages` that are installed."""
        lines = "${Package} ${db:Status-Status} ${Version}\n"
        output = run(self._query(lines, *packages), seconds=_QUERY_SECONDS).output
        rows = [line.split(" ") for line in output.splitlines()]
        return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}

    def satisfies(self, version: str, relation: str, wanted: str) -> bool:
        """Tell whether `version` stands in `relation` (<<, <=, =, >=, >>) to `wanted`."""
        command = ["dpkg", "--compare-versions", version, relation, wanted]
        return run(command, seconds=_QUERY_SECONDS).succeeded

    def fields(self, deb: Path) -> Fields:
        """Return the control fields of a .deb.

        Raises:
            MachineError: it is none, or has fields that two readers might see differently.
            UndecidedError: this machine could not read them.
        """
        said = self._ask("dpkg-deb", "--field", deb)
        if len(said.encode()) >= _MAX_FIELDS_BYTES:  # the beginning may be missing
            raise MachineError(f"the package has {_MAX_FIELDS_BYTES >> 10} KB of control fields")
        # A long field is folded: its further lines begin with a space or a tab (deb822(5)).
        lines = re.sub(r"\n[ \t]", " ", said).strip("\n").split("\n")
        # dpkg takes blanks before the colon.
        names = [line.partition(":")[0].strip().capitalize() for line in lines]
        if len(set(names)) != len(names):
            raise MachineError("the package has a control field twice")
        found = dict(zip(names, (line.partition(":")[2].strip() for line in lines), strict=True))
        depends = (found.get(name, "") for name in ("Pre-depends", "Depends"))
        return Fields(
            package=found.get("Package", ""),
            version=found.get("Version", ""),
            architecture=found.get("Architecture", ""),
            depends=", ".join(filter(None, depends)),
            names=frozenset(found),
        )

    def unpack(self, deb: Path, folder: Path) -> None:
        """Lay out the files of a .deb below `folder`, installing nothing.

        Raises:
            MachineError: it is damaged.
            PostponedError: the disk is full.
        """
        ended = run(
            ["dpkg-deb", "--extract", str(deb), str(folder)],
            seconds=_UNPACK_SECONDS,
            environ=unattended_environment(),
        )
        if os.strerror(errno.ENOSPC) in ended.output:
            raise PostponedError(f"cannot unpack below {folder}: {os.strerror(errno.ENOSPC)}")
        self._must(ended, deb)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold dpkg's front-end lock, so that no other package manager is at work.

        The order of locks is dpkg's (its doc/frontend.txt); apt keeps it too.

        Raises:
            PostponedError: another holds it for longer than the limit.
        """
        path = self._database / "lock-frontend"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab+")
        except OSError as error:
            raise PostponedError(f"cannot open {path}: {error.strerror}") from error
        with file:
            deadline = self._clock.monotonic() + self._lock_seconds
            while holder := _lock(file) or _holder(self._database / "lock"):
                self._log.change("dpkg lock", f"waits for dpkg's lock, held by {holder}")
                if self._clock.monotonic() > deadline or self._clock.stop_wanted:
                    self._log.change("dpkg lock", "")
                    raise PostponedError(f"dpkg's lock is held by {holder}")
                self._clock.rest(_LOCK_TICK_SECONDS)
            self._log.change("dpkg lock", "")
            yield

    def install(self, deb: Path) -> None:
        """Install a .deb over whatever is there, older or newer; call it `locked`.

        It also mends what an earlier dpkg left half-installed.

        Raises:
            MachineError: dpkg or a maintainer script failed, or took too long.
        """
        command = ["dpkg", *_UNATTENDED]
        if not self.is_the_system:
            # Below a root of its own the dependencies are the system's.
            command += [f"--root={self._root}", "--force-script-chrootless", "--force-depends"]
            command += ["--log=/dev/null"]  # the system's own log is of the system
        if os.geteuid() != 0:
            command += ["--force-not-root"]
        environ = unattended_environment() | {"DPKG_FRONTEND_LOCKED": "1"}
        ended = run([*command, "--install", deb], seconds=self._install_seconds, environ=environ)
        self._must(ended, deb)

    def _query(self, lines: str, *packages: str) -> list[str]:
        return ["dpkg-query", f"--admindir={self._database}", f"-f={lines}", "-W", *packages]

    def _ask(self, *command: str | Path) -> str:
        what = f"{command[0]} {command[1]}"
        try:
            ended = run(command, seconds=_QUERY_SECONDS, environ=unattended_environment())
        except MachineError as error:
            raise UndecidedError(str(error)) from error
        if ended.status is None or ended.status < 0:
            # Cut for time, or killed: that says nothing of the package.
            raise UndecidedError(f"{what} failed: {ended.cause}")
        if not ended.succeeded:
            raise MachineError(f"{what} failed: {ended.cause}")
        return ended.output

    def _must(self, ended: Ended, subject: str | Path) -> None:
        if not ended.succeeded:
            raise MachineError(f"dpkg cannot handle {Path(subject).name}: {ended.cause}")


def unattended_environment() -> dict[str, str]:
    """Return the environment in which package tools ask nothing and restart nothing."""
    return {
        **os.environ,
        "PATH": SYSTEM_PATH,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "APT_LISTCHANGES_FRONTEND": "none",
        # needrestart hooks into apt: it may ask, and restarts services on its own.
        "NEEDRESTART_SUSPEND": "1",
    }


def _lock(file: BinaryIO) -> str:
    """Take the lock, or return who has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _holder(Path(file.name)) or "another process"
    return ""


def _holder(path: Path) -> str:
    """Return the process that holds a lock on `path`, for people; "" if none does."""
    try:
        with path.open("rb+") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return ""
    if kind == fcntl.F_UNLCK:
        return ""
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return f"process {pid}"
