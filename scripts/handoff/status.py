"""ROLE.json: what the supervisor lets the rest of the machine know."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Status:
    role: str
    pid: int
    version: str  # of the generation that serves; "" before the first one does
    state: str  # starting, ready, restarting, draining, failed
    error: str = ""


def write(path: Path, status: Status) -> None:
    """Replace the status file atomically, mode 0644.

    Raises:
        OSError: the folder is missing, not writable, or the disk is full.
    """
    since = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    document = {**asdict(status), "since": since.replace("+00:00", "Z")}
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(document) + "\n")
    # Whatever the umask: the updater and the operator read it.
    temporary.chmod(0o644)
    temporary.replace(path)
