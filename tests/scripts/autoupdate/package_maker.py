"""Tiny packages, and their signed publication: what a test's operator does."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autoupdate.release.format import Release
from autoupdate.release.signature import sign

NAME = "panorama"
NAMESPACE = f"{NAME}-release"
ARCHITECTURE = subprocess.run(
    ["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True, check=True
).stdout.strip()

# A check, of which there are hundreds, is to cost no interpreter.
_SERVICE = """#!/bin/sh
# A service that passes its check, or does not; tiny_service.py runs its roles.
VERSION='%(version)s' FAULT='%(fault)s'
[ "$1" = check ] || exec /usr/bin/python3 -IS '%(roles)s' "$0" "$1"
# What it unpacks goes where it is told, and nowhere else.
echo "$VERSION" >"$CACHE_DIR/unpacked"
# The machine may be one whose settings are all in the environment.
[ -e "$SETTINGS_FILE" ] || { echo 'SETTINGS_FILE is not there'; exit 1; }
case $FAULT in
'check hangs') sleep 1000 & sleep 1000 ;;
'check is killed') kill -KILL $$ ;;
'check fails') echo 'cannot import horizon: no module of that name'; exit 1 ;;
esac
"""
_ROLES = Path(__file__).with_name("tiny_service.py")
_UPDATER = """#!/bin/sh
# An updater that passes its check, or does not.
case $1 in
check) test -s "$ALLOWED_SIGNERS" && exit %(check)d ;;
--version) echo %(version)s ;;
esac
"""


@dataclass(frozen=True)
class Key:
    """An SSH key pair made for a test."""

    private: Path

    @classmethod
    def make(cls, path: Path, kind: str = "ed25519") -> "Key":
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path)], check=True
        )
        return cls(path)

    def line(self, options: str = f'namespaces="{NAMESPACE}"') -> str:
        """Return this key's line of allowed_signers."""
        return f"{NAMESPACE} {options} {self.private.with_suffix('.pub').read_text()}"


@dataclass(frozen=True)
class Package:
    """A .deb."""

    path: Path
    version: str

    @cached_property
    def body(self) -> bytes:
        return self.path.read_bytes()

    def release(self, sequence: int, **other: object) -> Release:
        fields: dict[str, object] = {
            "package": f"{NAME}-server",
            "version": self.version,
            "architecture": ARCHITECTURE,
            "sha256": hashlib.sha256(self.body).hexdigest(),
            "size": len(self.body),
            "sequence": sequence,
            "published": "2026-11-23T08:10:00Z",
            "commit": "8c1f9d0",
            "channel": "stable",
        }
        return Release(**{**fields, **other})  # type: ignore[arg-type]


def build_package(
    folder: Path,
    version: str,
    *,
    allowed_signers: str,
    fault: str = "",
    name: str = f"{NAME}-server",
    architecture: str = ARCHITECTURE,
    depends: str = "",
    scripts: Mapping[str, str] | None = None,
    updater: str | None = None,
    updater_check: int = 0,
) -> Package:
    """Build a .deb whose service has `fault`.

    `scripts` are the maintainer scripts, in shell: {"postinst": "exit 3"}.
    """
    tree = folder / f"tree-{version}"
    for each in ("DEBIAN", "usr/bin", f"etc/{NAME}"):
        (tree / each).mkdir(parents=True)
    control = [
        f"Package: {name}",
        f"Version: {version}",
        f"Architecture: {architecture}",
        "Maintainer: Nobody <nobody@example.org>",
        "Description: made for a test",
    ]
    if depends:
        control.append(f"Depends: {depends}")
    (tree / "DEBIAN/control").write_text("\n".join(control) + "\n")
    for script, text in (scripts or {}).items():
        _write_program(tree / "DEBIAN" / script, f"#!/bin/sh\n{text}\n")
    service = _SERVICE % {"version": version, "fault": fault, "roles": _ROLES}
    _write_program(tree / "usr/bin" / NAME, service)
    stub = _UPDATER % {"check": updater_check, "version": version}
    _write_program(tree / f"usr/bin/{NAME}-autoupdate", stub if updater is None else updater)
    (tree / f"etc/{NAME}/allowed_signers").write_text(allowed_signers)
    files = [each for each in sorted(tree.rglob("*/*")) if each.is_file()]
    sums = [
        f"{hashlib.md5(each.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{each.relative_to(tree)}\n"
        for each in files
        if each.parent.name != "DEBIAN"
    ]
    (tree / "DEBIAN/md5sums").write_text("".join(sums))
    path = folder / f"{version}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(path)]
    # The same package, byte for byte, whenever it is made.
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environ, check=True)
    shutil.rmtree(tree)
    return Package(path, version)


def signed(release: Release, key: Key, namespace: str = NAMESPACE) -> dict[str, str]:
    """Return the metadata of a publication."""
    text = release.to_json()
    return {"release": text, "signature": sign(text, key.private, namespace)}


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
