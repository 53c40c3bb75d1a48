"""ROLE.json: what the supervisor lets the rest of the machine know."""

import fcntl
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Status:
    role: str
    pid: int
    version: str  # of the generation that serves; "" before the first one does
    state: str  # starting, ready, restarting, draining, failed
    error: str = ""


class StatusFile:
    """The file of one role, locked (flock(2)) for as long as the process that it names lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: IO[bytes] | None = None

    def holder(self) -> int:
        """Return the process that is this role already, 0 if there is none.

        Without its lock the number may be another process's by now; without
        the process the lock is some other reader's.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return 0
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = int(json.loads(file.read())["pid"])
                return pid if Path(f"/proc/{pid}").exists() else 0
        return 0

    def write(self, status: Status) -> None:
        """Replace the file atomically, mode 0644.

        Raises:
            OSError: the folder is missing, not writable, or the disk is full.
        """
        since = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        document = {**asdict(status), "since": since.replace("+00:00", "Z")}
        temporary = self.path.with_name(f".{self.path.name}.new")
        file = temporary.open("wb", buffering=0)
        try:
            file.write(json.dumps(document).encode() + b"\n")
            # Whatever the umask: the updater and the operator read it.
            temporary.chmod(0o644)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.replace(self.path)
        except BaseException:
            file.close()
            raise
        if self._held:
            self._held.close()
        self._held = file

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
