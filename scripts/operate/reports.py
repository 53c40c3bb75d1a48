"""The reports that machines write into the bucket, read as what strangers may have written.

A report names neither its machine nor its time: the key of the object says the
one, S3 the other. So machines that stand alike write the same bytes, and of
10,000 reports a handful has to be read: one of each ETag.
"""

import json
import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from autoupdate.release.format import Release
from operate.aws import CONNECTIONS, NOT_FOUND, PRECONDITION_FAILED
from operate.bucket import Bucket, Listed
from operate.channel import Channel
from operate.errors import AwsError, OperateError

# Machines write the reports, and a machine may be in other hands: sizes are
# bounded, and nothing of a report reaches the terminal as a control character.
MAX_REPORT_BYTES = 64 << 10
MAX_FIELD_CHARACTERS = 40
MAX_ERROR_CHARACTERS = 300

# The updater reports every 15 minutes; one that missed two reports is silent.
SILENT_SECONDS = 2 * 15 * 60


@dataclass(frozen=True)
class Standing:
    """What a report says, made harmless."""

    state: str
    version: str
    sequence: str
    roles: str
    healthy: bool  # every role that it runs is ready
    error: str


@dataclass(frozen=True)
class Report:
    """One machine's report."""

    machine: str
    standing: Standing
    seen_seconds: float  # since it came, by the bucket's clock; infinite if it does not tell

    @property
    def silent(self) -> bool:
        return self.seen_seconds > SILENT_SECONDS

    @property
    def state(self) -> str:
        return "silent" if self.silent else self.standing.state

    def is_on(self, release: Release | None) -> bool:
        """Tell whether the machine runs `release`, and well."""
        return (
            release is not None
            and self.state == "current"
            and self.standing.sequence == str(release.sequence)
            and self.standing.healthy
        )


def read_reports(channel: Channel, machines: Container[str] | None = None) -> list[Report]:
    """Return the reports under fleet/, or those of `machines` alone, by machine.

    Raises:
        OperateError: they cannot be had.
    """
    try:
        found = _read(channel.bucket, machines)
    except AwsError as error:
        raise OperateError(f"cannot read s3://{channel.bucket_name}/fleet/: {error}") from error
    return sorted(found, key=lambda report: report.machine)


def _read(bucket: Bucket, machines: Container[str] | None) -> list[Report]:
    """Read one report of each ETag, while the listing is still under way.

    An ETag is an MD5 of the body where S3 encrypts with its own key, as the
    stack tells it to, or not at all (Amazon S3 API Reference, Object). It may
    stand for the body here: a machine can write its own report alone, so that
    to be taken for another it needs a body of its own with the ETag of theirs,
    a second preimage, and of MD5 none is known. A collision, which is, is of
    two bodies of its own. Where an ETag is no digest (SSE-KMS), no two are
    alike, and every report is read.
    """
    alike: dict[tuple[str, int], list[Listed]] = defaultdict(list)
    first: dict[tuple[str, int], Future[Standing | None]] = {}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for each in bucket.list("fleet/"):
            if machines is None or machine_of(each.key) in machines:
                kind = (each.etag, each.size)
                if kind not in alike:
                    first[kind] = pool.submit(_fetch, bucket, each.key, each.etag)
                alike[kind].append(each)
        return [
            Report(harmless(machine_of(each.key)), standing, _age(each))
            for kind, listed in alike.items()
            for each, standing in _attribute(bucket, listed, first[kind].result())
        ]


def _attribute(
    bucket: Bucket, listed: list[Listed], first: Standing | None
) -> Iterator[tuple[Listed, Standing]]:
    """Give each of the reports that are alike its standing, which one of them says.

    One that was replaced since the listing speaks for its own machine alone.
    """
    for number, each in enumerate(listed):
        standing = first if number == 0 else _fetch(bucket, each.key, each.etag)
        if standing:
            yield from ((one, standing) for one in listed[number:])
            return
        newer = _fetch(bucket, each.key)
        if newer:
            yield each, newer


def _fetch(bucket: Bucket, key: str, etag: str = "") -> Standing | None:
    """Return what a report says, or None if it has gone, or there is another than `etag` by now."""
    try:
        return parse(bucket.get(key, MAX_REPORT_BYTES + 1, etag=etag))
    except AwsError as error:
        if error.code in NOT_FOUND | PRECONDITION_FAILED:
            return None
        raise


def parse(content: bytes) -> Standing:
    """Make sense of hostile bytes; what is not as it should be shows as a question mark.

    Reports of other versions of the updater have fields more, or fewer.
    """
    try:
        document = json.loads(content) if len(content) <= MAX_REPORT_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {"error": f"its report is no JSON object of at most {MAX_REPORT_BYTES} bytes"}
    roles = document.get("roles")
    return Standing(
        harmless(document.get("state")),
        harmless(document.get("version")),
        harmless(document.get("sequence")),
        ", ".join(_describe_roles(roles)) or "-",
        _is_healthy(roles),
        _trouble(document),
    )


def _trouble(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    told = harmless(error, MAX_ERROR_CHARACTERS) if error else ""
    # The updater's own word for it, beside the last cause.
    kept = "nothing valid from the bucket for half an hour" if document.get("silent") else ""
    return ": ".join(filter(None, (kept, told)))


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


def _age(listed: Listed) -> float:
    return float("inf") if listed.age_seconds is None else listed.age_seconds
