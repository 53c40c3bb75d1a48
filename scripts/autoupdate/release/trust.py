"""Whom to trust: the keys that may sign releases, and those that never may again.

Both halves of it are one value, so that no reader can take the one and forget
the other. It travels in packages, in user-data and on machines as two files::

    allowed_signers    ssh-keygen(1), ALLOWED SIGNERS; the principal is NAME-release
    revoked_keys       beside it, optional: public keys or a KRL, ssh-keygen(1), -r

Example::

    trust = Trust.read(Path("/etc/panorama/allowed_signers"))
    fingerprint = trust.verify(text, signature, "panorama-release")
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoupdate.release.format import Release, from_metadata
from autoupdate.release.signature import SignatureError, cause, fingerprint, ssh_keygen

REVOKED_KEYS = "revoked_keys"


@dataclass(frozen=True)
class Trust:
    """Allowed signers and revoked keys."""

    signers: str  # text of allowed_signers; several lines: any of the keys will do
    revoked: bytes = b""  # content of revoked_keys, empty if there is none
    origin: str = "allowed_signers"  # where the signers were found, for messages

    @classmethod
    def read(cls, allowed_signers: Path) -> "Trust":
        """Return what the file says, and the revoked keys beside it.

        Raises:
            SignatureError: one of them cannot be read: then nobody is trusted.
        """
        revoked_keys = allowed_signers.with_name(REVOKED_KEYS)
        path = allowed_signers
        try:
            signers = allowed_signers.read_text()
            path = revoked_keys
            revoked = revoked_keys.read_bytes() if revoked_keys.exists() else b""
        except (OSError, UnicodeDecodeError) as error:
            raise SignatureError(f"cannot read {path}: {error}") from error
        return cls(signers, revoked, str(allowed_signers))

    def count_keys(self) -> int:
        """Return how many keys may sign."""
        lines = map(str.strip, self.signers.splitlines())
        return sum(1 for line in lines if line and not line.startswith("#"))

    def release(self, metadata: Mapping[str, str], namespace: str) -> tuple[Release, str]:
        """Return the release that an object's metadata is, and the fingerprint of its signer.

        Nothing is parsed before its signature holds.

        Raises:
            ReleaseError: it was not signed by a trusted key, or is malformed.
        """
        text, signature = from_metadata(metadata)
        signer = self.verify(text, signature, namespace)
        return Release.parse(text), signer

    def verify(self, text: str, signature: str, namespace: str) -> str:
        """Check that a trusted key signed exactly `text` for `namespace`.

        Never ``check-novalidate``, which accepts any key. The principal is
        named like the namespace. Returns the key's fingerprint, ``SHA256:…``.

        Raises:
            SignatureError: nobody who is trusted signed this; why, in one line.
        """
        signer = fingerprint(signature)
        files = {"-f": self.signers.encode(), "-s": armoured(signature)}
        found = ssh_keygen(["find-principals"], "", files)
        if found.returncode != 0:
            why = cause(found)
            if why.startswith("No principal matched"):
                keys = self.count_keys()
                listed = f"{keys} key" if keys == 1 else f"{keys} keys"
                raise SignatureError(
                    f"signed by an unknown key ({signer}); {self.origin} has {listed}"
                )
            raise SignatureError(f"signed by {signer}, which is not trusted: {why}")
        words = ["verify", "-n", namespace, "-I", namespace]
        checked = ssh_keygen(words, text, files)
        if checked.returncode != 0:
            raise SignatureError(f"signature by {signer} does not hold: {cause(checked)}")
        # Apart, because ssh-keygen does not say that this is why.
        if self.revoked and ssh_keygen(words, text, {**files, "-r": self.revoked}).returncode:
            raise SignatureError(f"signed by {signer}, which {REVOKED_KEYS} revokes")
        return signer


def armoured(signature: str) -> bytes:
    """Return a signature's base64 as ssh-keygen reads it (PROTOCOL.sshsig, Armored format)."""
    lines = [signature[start : start + 70] for start in range(0, len(signature), 70)]
    return "\n".join(
        ["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]
    ).encode()
