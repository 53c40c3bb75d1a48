"""The reports that machines write into the bucket, read as what strangers may have written."""

import json
import re
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from operate.aws import AwsError, aws
from operate.publishing import Channel, PublishError

# Machines write the reports, and a machine may be in other hands: sizes are
# bounded, and nothing of a report reaches the terminal as a control character.
MAX_REPORT_BYTES = 64 << 10
MAX_FIELD_CHARACTERS = 40
MAX_ERROR_CHARACTERS = 300

# The updater reports every 15 minutes; one that missed two reports is silent.
SILENT_SECONDS = 2 * 15 * 60


@dataclass(frozen=True)
class Report:
    """One machine's report, made harmless."""

    machine: str
    state: str
    version: str
    sequence: str
    roles: str
    healthy: bool  # every role that it runs is ready
    seen_seconds: float
    error: str

    @property
    def silent(self) -> bool:
        return self.seen_seconds > SILENT_SECONDS

    @property
    def seen(self) -> str:
        """When it came, for people."""
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if size * 2 <= self.seen_seconds < float("inf"):
                return f"{self.seen_seconds / size:.0f} {unit} ago"
        return f"{self.seen_seconds:.0f} s ago" if self.seen_seconds < float("inf") else "?"


def read_reports(channel: Channel, machines: Container[str] | None = None) -> Iterator[Report]:
    """Yield the reports under fleet/, or those of `machines` alone.

    Raises:
        PublishError: they cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        try:
            listed = aws(
                "s3api", "list-objects-v2", "--bucket", channel.bucket, "--prefix", "fleet/"
            )
            for number, each in enumerate(listed.get("Contents", [])):
                if machines is not None and machine_of(each["Key"]) not in machines:
                    continue
                path = Path(folder) / str(number)
                path.touch()
                if each["Size"]:  # there is no range of an empty object
                    aws(
                        "s3api", "get-object", "--bucket", channel.bucket, "--key", each["Key"],
                        "--range", f"bytes=0-{MAX_REPORT_BYTES}", path,
                    )  # fmt: skip
                # The bucket's clock: a machine might claim to be seen at any time.
                yield parse(path.read_bytes(), each["Key"], each["LastModified"])
        except AwsError as error:
            raise PublishError(f"cannot read s3://{channel.bucket}/fleet/: {error}") from error


def parse(content: bytes, key: str, written: str) -> Report:
    """Make a report of hostile bytes; what is not as it should be shows as a question mark."""
    try:
        document = json.loads(content) if len(content) <= MAX_REPORT_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {"error": f"its report is no JSON object of at most {MAX_REPORT_BYTES} bytes"}
    roles = document.get("roles")
    return Report(
        harmless(machine_of(key)),
        harmless(document.get("state")),
        harmless(document.get("version")),
        harmless(document.get("sequence")),
        ", ".join(_describe_roles(roles)) or "-",
        _is_healthy(roles),
        _seconds_since(written),
        "" if not document.get("error") else harmless(document["error"], MAX_ERROR_CHARACTERS),
    )


def machine_of(key: str) -> str:
    """Return whose report the key is of: what a machine's role lets it write to, not its word.

    On EC2 that is ROLE-ID:INSTANCE-ID, of which people know the second.
    """
    return re.sub(r"^[A-Z0-9]{16,32}:", "", key.removeprefix("fleet/").removesuffix(".json"))


def _describe_roles(roles: Any) -> Iterator[str]:
    if not isinstance(roles, dict):
        return
    for name, status in sorted(roles.items())[:8]:
        if isinstance(status, dict):
            words = (name, status.get("version"), status.get("state"))
            yield " ".join(harmless(word) for word in words)


def _is_healthy(roles: Any) -> bool:
    return isinstance(roles, dict) and all(
        isinstance(status, dict) and status.get("state") == "ready" for status in roles.values()
    )


def harmless(value: Any, most: int = MAX_FIELD_CHARACTERS) -> str:
    """Return `value` as one printable line of at most `most` characters, "?" if it is nothing."""
    if not isinstance(value, str | int):
        return "?"
    text = "".join(character if character.isprintable() else " " for character in str(value)[:most])
    return text.strip() or "?"


def _seconds_since(time: Any) -> float:
    try:
        then = datetime.fromisoformat(str(time).replace("Z", "+00:00"))
        return max(0.0, (datetime.now(timezone.utc) - then).total_seconds())
    except (ValueError, TypeError):
        return float("inf")
