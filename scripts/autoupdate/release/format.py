"""The release: what one S3 object's metadata says about its body, and who says so.

Two metadata keys: ``release``, compact JSON with sorted keys, of which every
byte is signed; and ``signature``, an SSH signature of it (PROTOCOL.sshsig of
OpenSSH, made by ``ssh-keygen -Y sign``) without armour and newlines. The
operator's tools and the updater share this module; both validate.

Example::

    release = Release("panorama-server", "1.0-57", "amd64", sha256, size, 12,
                      "2026-11-23T08:10:00Z", "8c1f9d0", "stable")
    signature = sign(release.to_json(), Path("~/.ssh/id_ed25519"), "panorama-release")
    metadata = to_metadata(release, signature)
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from autoupdate.release.signature import ReleaseError

# S3 limits user metadata to 2 KB: the sum of bytes of all keys and values
# (Amazon S3 User Guide, "Working with object metadata").
MAX_METADATA_BYTES = 2048

_CHUNK_BYTES = 1 << 20  # of a file that is hashed

# What may stand in each text of a release. Package, version and architecture:
# Debian Policy 5.6.1, 5.6.12 (without epochs), 5.6.8.
_PATTERNS = {
    "package": r"[a-z0-9][a-z0-9+.-]{1,63}",
    "version": r"[0-9][A-Za-z0-9.+~-]{0,63}",
    "architecture": r"[a-z0-9][a-z0-9-]{1,31}",
    "sha256": r"[0-9a-f]{64}",
    "published": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "commit": r"|[0-9a-f]{7,64}",  # empty: built outside of git
    "channel": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
}
_BOUNDS = {
    "size": (1, 5 * 1024**3),  # S3's limit for one PUT
    "sequence": (1, 2**53 - 1),  # what every JSON reader keeps exact
}


@dataclass(frozen=True)
class Release:
    """One publication.

    Raises:
        ReleaseError: a field is of another type or out of its bounds.
    """

    package: str
    version: str
    architecture: str
    sha256: str  # of the .deb, lower-case hexadecimal
    size: int  # of the .deb, bytes
    sequence: int  # rises with every publication
    published: str  # RFC 3339, UTC
    commit: str
    channel: str  # signed, so that a trial's release cannot be moved to where all machines look

    def __post_init__(self) -> None:
        for name, pattern in _PATTERNS.items():
            _check_text(name, getattr(self, name), pattern)
        for name, (low, high) in _BOUNDS.items():
            _check_number(name, getattr(self, name), low, high)
        try:
            datetime.strptime(self.published, "%Y-%m-%dT%H:%M:%SZ")
        except ValueError as error:
            raise ReleaseError(f"release: published is no date: {self.published}") from error

    def to_json(self) -> str:
        """Return the exact text that is signed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> "Release":
        """Return the release that `text`, hostile until verified, spells.

        Strict: the one spelling that `to_json` gives, and no other.

        Raises:
            ReleaseError: anything else.
        """
        if len(text) > MAX_METADATA_BYTES:
            raise ReleaseError(f"release: longer than {MAX_METADATA_BYTES} characters")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReleaseError("release: no JSON") from error
        if not isinstance(document, dict):
            raise ReleaseError("release: no JSON object")
        names = {each.name for each in fields(cls)}
        for problem, these in (("missing", names - document.keys()),
                               ("unknown", document.keys() - names)):  # fmt: skip
            if these:
                raise ReleaseError(f"release: {problem} field {min(these)[:40]!r}")
        release = cls(**document)
        if release.to_json() != text:
            raise ReleaseError("release: not spelled as it is signed (sorted keys, no spaces)")
        return release

    def is_body(self, path: Path) -> bool:
        """Tell whether the file is the body that was signed: its hash is computed anew.

        Raises:
            OSError: it cannot be read.
        """
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest() == self.sha256

    def not_for(self, package: str, architecture: str, channel: str) -> str:
        """Return why this is not the release of such a machine, "" if it is."""
        if self.package != package:
            return f"it is package {self.package}, this machine runs {package}"
        if self.architecture not in {architecture, "all"}:
            return f"it is for {self.architecture}, this machine is {architecture}"
        if self.channel != channel:
            return f"it is for channel {self.channel}, this machine follows {channel}"
        return ""


def to_metadata(release: Release, signature: str) -> dict[str, str]:
    """Return the object's user metadata.

    Raises:
        ReleaseError: together more than S3 keeps.
    """
    metadata = {"release": release.to_json(), "signature": signature}
    size = sum(len(key) + len(value) for key, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise ReleaseError(
            f"release: metadata of {size} bytes, S3 keeps {MAX_METADATA_BYTES}; "
            "sign with an Ed25519 key"
        )
    return metadata


def from_metadata(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Return the texts of release and signature, unverified.

    Raises:
        ReleaseError: one is missing or oversized.
    """
    for key in ("release", "signature"):
        if not metadata.get(key):
            raise ReleaseError(f"release: the object has no metadata {key!r}; was it published "
                               "with make deploy?")  # fmt: skip
        if len(metadata[key]) > MAX_METADATA_BYTES:
            raise ReleaseError(f"release: metadata {key!r} is oversized")
    return metadata["release"], metadata["signature"]


def _check_text(name: str, value: object, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ReleaseError(f"release: {name} is malformed: {str(value)[:40]!r}")


def _check_number(name: str, value: object, low: int, high: int) -> None:
    # bool is an int to Python, not to JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ReleaseError(f"release: {name} is no number from {low} to {high}: {value!r:.40}")
