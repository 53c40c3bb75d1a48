"""A package, as deploy and rollback publish it: its bytes, and what they say of themselves."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from autoupdate.release.trust import REVOKED_KEYS, Trust
from operate.errors import OperateError


@dataclass(frozen=True)
class Package:
    """A Debian package, read once: what is signed and what is uploaded are the same bytes."""

    content: bytes
    name: str
    version: str
    architecture: str
    maintainer: str

    @classmethod
    def read(cls, path: Path) -> "Package":
        """Read a file.

        Raises:
            OperateError: it is not there, or no Debian package.
        """
        try:
            return cls.of(path.read_bytes(), str(path))
        except OSError as error:
            raise OperateError(f"cannot read {path}: {error.strerror}; run make package") from error

    @classmethod
    def of(cls, content: bytes, origin: str) -> "Package":
        """Return the package that these bytes are.

        Raises:
            OperateError: they are none; `origin` says where they are from.
        """
        fields = "${Package}\n${Version}\n${Architecture}\n${Maintainer}"
        try:
            told = _dpkg_deb(["--showformat", fields, "--show"], content).decode()
        except subprocess.CalledProcessError as error:
            cause = error.stderr.decode(errors="replace").replace("/dev/stdin", "it").strip()
            raise OperateError(f"{origin} is no package: {cause}") from error
        return cls(content, *told.split("\n"))

    def trust(self, service: str) -> Trust:
        """Return whom a machine trusts once it has installed this."""
        archive = _dpkg_deb(["--fsys-tarfile"], self.content)

        def file(name: str) -> bytes:
            command = ["tar", "-xO", f"./etc/{service}/{name}"]
            return subprocess.run(command, input=archive, capture_output=True, check=False).stdout

        signers = file("allowed_signers").decode(errors="replace")
        return Trust(signers, file(REVOKED_KEYS), "its allowed_signers")


def _dpkg_deb(words: list[str], content: bytes) -> bytes:
    return subprocess.run(
        ["dpkg-deb", *words, "/dev/stdin"], input=content, capture_output=True, check=True
    ).stdout
