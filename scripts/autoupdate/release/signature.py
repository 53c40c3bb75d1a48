"""SSH signatures: made by the operator's key, checked by the machine's ssh-keygen.

The format is PROTOCOL.sshsig of OpenSSH, base64 without armour and newlines.
A namespace keeps a signature made for one purpose from serving another.
"""

import base64
import binascii
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

VERIFY_SECONDS = 30
# A passphrase may have to be typed, or a hardware key touched.
SIGN_SECONDS = 300

# PROTOCOL.sshsig: byte[6] MAGIC_PREAMBLE, uint32 SIG_VERSION, string publickey, ...
_PREAMBLE = b"SSHSIG\0\0\0\1"


class ReleaseError(ValueError):
    """The release is malformed; the message says which part, in one line."""


class SignatureError(ReleaseError):
    """The signature cannot be made, or is not by a trusted key."""


def sign(text: str, key: Path, namespace: str) -> str:
    """Sign `text` with an SSH key; ssh-keygen asks for a passphrase or a touch if need be.

    `key` is the private key, or the path of one whose ``.pub`` alone is there
    and whose private half an agent holds. Returns the signature's base64.

    Raises:
        SignatureError: the key is missing, or ssh-keygen failed.
    """
    public = key.with_name(f"{key.name}.pub")
    if not key.exists() and not public.exists():
        raise SignatureError(
            f"cannot sign with {key}: no such key; make one with ssh-keygen -t ed25519 -f {key}"
        )
    usable = key if key.exists() or not public.exists() else public
    made = _ssh_keygen(["sign", "-n", namespace, "-f", str(usable)], text, seconds=SIGN_SECONDS)
    if made.returncode != 0:
        raise SignatureError(f"cannot sign with {key}: {_cause(made)}")
    return "".join(line for line in made.stdout.splitlines() if not line.startswith("-----"))


def verify(text: str, signature: str, allowed_signers: Path, namespace: str) -> str:
    """Check that a key in `allowed_signers` signed exactly `text` for `namespace`.

    A file `revoked_keys` beside it, if there is one, lists keys that are not
    trusted whatever else says so (ssh-keygen(1), -r: public keys or a KRL).

    The file's format is in ssh-keygen(1), ALLOWED SIGNERS; the principal is
    named like the namespace. Several lines: any of the keys will do. Returns
    the key's fingerprint, ``SHA256:…``.

    Raises:
        SignatureError: nobody who is trusted signed this; why, in one line.
    """
    signer = fingerprint(signature)
    keys = count_keys(allowed_signers)
    trusted = ["-f", str(allowed_signers)]
    found = _ssh_keygen(["find-principals", *trusted], "", signature)
    if found.returncode != 0:
        cause = _cause(found)
        if cause.startswith("No principal matched"):
            listed = f"{keys} key" if keys == 1 else f"{keys} keys"
            raise SignatureError(f"signed by an unknown key ({signer}); {allowed_signers} "
                                 f"has {listed}")  # fmt: skip
        raise SignatureError(f"signed by {signer}, which is not trusted: {cause}")
    revoked = allowed_signers.with_name("revoked_keys")
    words = ["verify", "-n", namespace, "-I", namespace, *trusted]
    checked = _ssh_keygen(words, text, signature)
    if checked.returncode == 0 and revoked.exists():
        # Apart, because ssh-keygen does not say that this is why.
        checked = _ssh_keygen([*words, "-r", str(revoked)], text, signature)
        if checked.returncode != 0:
            raise SignatureError(f"signed by {signer}, which {revoked} revokes")
    if checked.returncode != 0:
        raise SignatureError(f"signature by {signer} does not hold: {_cause(checked)}")
    return signer


def fingerprint(signature: str) -> str:
    """Return the fingerprint of the key that a signature names; proves nothing.

    Raises:
        SignatureError: this is no signature.
    """
    try:
        blob = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError("signature: not base64") from error
    begin = len(_PREAMBLE) + 4
    length = int.from_bytes(blob[len(_PREAMBLE) : begin], "big")
    if not blob.startswith(_PREAMBLE) or not 0 < length <= len(blob) - begin:
        raise SignatureError("signature: not an SSH signature")
    digest = hashlib.sha256(blob[begin : begin + length]).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def count_keys(allowed_signers: Path) -> int:
    """Return how many keys an allowed_signers file lists.

    Raises:
        SignatureError: it cannot be read.
    """
    try:
        lines = allowed_signers.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SignatureError(f"cannot read {allowed_signers}: {error}") from error
    return sum(1 for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _ssh_keygen(
    arguments: Sequence[str], text: str, signature: str = "", seconds: float = VERIFY_SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run ``ssh-keygen -Y`` with `text` as its input and `signature` as its ``-s`` file."""
    command = ["ssh-keygen", "-Y", *arguments]
    inherited = []
    if signature:
        # A pipe holds it, so that no disk needs to have room (pipe(7): 64 KiB).
        read_end, write_end = os.pipe()
        os.write(write_end, _armour(signature))
        os.close(write_end)
        command += ["-s", f"/dev/fd/{read_end}"]
        inherited = [read_end]
    try:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            pass_fds=inherited,
            check=False,
        )
    except FileNotFoundError as error:
        raise SignatureError("cannot run ssh-keygen: not found; install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise SignatureError(f"ssh-keygen did not end within {seconds:g} s") from error
    finally:
        for fd in inherited:
            os.close(fd)


def _armour(signature: str) -> bytes:
    lines = [signature[start : start + 70] for start in range(0, len(signature), 70)]
    return "\n".join(
        ["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]
    ).encode()


def _cause(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the first line that says something: ssh-keygen's last one is always the same."""
    lines = [line.strip() for line in ended.stderr.splitlines()]
    useful = [line for line in lines if line and not line.startswith(("@", "Signing data"))]
    return useful[0] if useful else f"ssh-keygen ended with status {ended.returncode}"
