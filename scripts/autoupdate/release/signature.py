"""SSH signatures: made by the operator's key, read and checked by ssh-keygen.

The format is PROTOCOL.sshsig of OpenSSH, base64 without armour and newlines.
A namespace keeps a signature made for one purpose from serving another.
"""

import base64
import binascii
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
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
    made = ssh_keygen(["sign", "-n", namespace, "-f", str(usable)], text, seconds=SIGN_SECONDS)
    if made.returncode != 0:
        raise SignatureError(f"cannot sign with {key}: {cause(made)}")
    return "".join(line for line in made.stdout.splitlines() if not line.startswith("-----"))


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


def ssh_keygen(
    arguments: Sequence[str],
    text: str,
    files: Mapping[str, bytes] | None = None,
    seconds: float = VERIFY_SECONDS,
) -> "subprocess.CompletedProcess[str]":
    """Run ``ssh-keygen -Y`` with `text` as its input, and the content of a file for each option.

    The files are in memory (memfd_create(2)): no disk has to have room for
    them, and nobody else can put one beside them.

    Raises:
        SignatureError: it cannot be run, or did not end in time.
    """
    command = ["ssh-keygen", "-Y", *arguments]
    inherited = []
    try:
        for option, content in (files or {}).items():
            fd = os.memfd_create(f"ssh-keygen {option}")
            inherited.append(fd)
            os.write(fd, content)
            # Opened anew by that name, it is read from its beginning, as often as need be.
            command += [option, f"/dev/fd/{fd}"]
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
    except OSError as error:
        raise SignatureError(f"cannot run ssh-keygen: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SignatureError(f"ssh-keygen did not end within {seconds:g} s") from error
    finally:
        for fd in inherited:
            os.close(fd)


def cause(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the first line that says something: ssh-keygen's last one is always the same."""
    lines = [line.strip() for line in ended.stderr.splitlines()]
    useful = [line for line in lines if line and not line.startswith(("@", "Signing data"))]
    return useful[0] if useful else f"ssh-keygen ended with status {ended.returncode}"
