"""Packages that no dpkg-deb would build, made byte by byte.

Example::

    member = tarfile.TarInfo("./../etc/passwd")
    path.write_bytes(hostile_deb("1.0-2", [(member, b"root")]))
"""

import io
import tarfile
from collections.abc import Iterable

from package_maker import ARCHITECTURE, NAME

Members = Iterable[tuple[tarfile.TarInfo, bytes]]


def hostile_deb(version: str, data: Members, control: Members = (), *, fields: str = "") -> bytes:
    """Return a .deb (deb(5)) that holds these members, and a control file that says what it is."""
    about = (
        f"Package: {NAME}-server\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: made for a test\n"
        + (f"{fields}\n" if fields else "")
    ).encode()
    members = {
        "debian-binary": b"2.0\n",
        "control.tar": _tar([(_file("./control", len(about)), about), *control]),
        "data.tar": _tar(data),
    }
    archive = b"!<arch>\n"
    for name, content in members.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        archive += head.encode() + content + b"\n" * (len(content) % 2)
    return archive


def _file(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
