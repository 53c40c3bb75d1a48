"""SIGNING_KEY: the path of an SSH key, or its text, as the secrets of a CI service give it.

Three of its kinds are told apart. A path names a private key whose public half
lies beside it with ``.pub``; the private half may be in an agent or on a token.
A text is a private key in OpenSSH's format. The development key is the one
that `make package` makes for itself where there is none: nothing that goes
into a bucket or to a machine is signed with it.

Standard library alone: make asks before anything is installed.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOWED_SIGNERS = ROOT / "packaging" / "allowed_signers"
DEVELOPMENT_KEY = ROOT / "build" / "development-key"

MAKE_ONE = "make one with ssh-keygen -t ed25519 -f"
# What config.mk holds at first: packaging/trusted-keys knows it, too.
DEFAULT = "~/.ssh/id_ed25519"

_PUBLIC_KEY = re.compile(r"(ssh|sk|ecdsa)-\S+ AAAA[A-Za-z0-9+/]+=*( .*)?\n?")
_FIRST_LINE = "-----BEGIN OPENSSH PRIVATE KEY-----"
_LAST_LINE = "-----END OPENSSH PRIVATE KEY-----"


class KeyProblemError(Exception):
    """The key cannot be used; the message says why, and never holds its text."""


def is_text(value: str) -> bool:
    """Tell whether the value is a key itself, and so for nobody to read."""
    return "-----BEGIN" in value or "\n" in value.strip()


def problem(value: str) -> str:
    """Tell why nothing can be signed with the key, "" if it can."""
    try:
        blob = _blob(public_half(value))
    except KeyProblemError as error:
        return str(error)
    if DEVELOPMENT_KEY.with_suffix(".pub").exists():
        development = DEVELOPMENT_KEY.with_suffix(".pub").read_text()
        if blob == _blob(development):
            return (
                "that is the development key of this checkout, which is for make package alone; "
                f"{MAKE_ONE} {DEFAULT}"
            )
    return ""


def problem_of_verifying(value: str) -> str:
    """Tell why nothing can be verified: packaging/allowed_signers would do without the key."""
    found = "" if ALLOWED_SIGNERS.exists() else problem(value)
    if not found:
        return ""
    # Whoever only looks has no key to make.
    return f"{found}; to look, the public half of the publisher's key is enough, beside it as .pub"


def problem_of_package(value: str) -> str:
    """Tell why machines could not trust the key; where the default is absent, one is made."""
    if ALLOWED_SIGNERS.exists() or _is_absent_default(value):
        return ""
    try:
        public_half(value)
    except KeyProblemError as error:
        return str(error)
    return ""


def public_half(value: str) -> str:
    """Return the public key, a line.

    Raises:
        KeyProblemError: there is none.
    """
    if is_text(value):
        with private_half(value) as path:
            command = ["ssh-keygen", "-y", "-P", "", "-f", str(path)]
            try:
                made = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise KeyProblemError("cannot run ssh-keygen; install openssh-client") from error
        if made.returncode:
            raise KeyProblemError(
                "ssh-keygen cannot use it: it has to be whole, and without a passphrase"
            )
        return made.stdout
    path = Path(value).expanduser()
    public = path.with_name(f"{path.name}.pub")
    if not path.exists() and not public.exists():
        raise KeyProblemError(f"there is no such key; {MAKE_ONE} {path}")
    try:
        line = public.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise KeyProblemError(
            f"cannot read its public half {public}: {why}; ssh-keygen -y -f {path} prints it"
        ) from error
    if not _PUBLIC_KEY.fullmatch(line):
        raise KeyProblemError(f"{public} is no SSH public key; ssh-keygen -y -f {path} prints it")
    return line


@contextmanager
def private_half(value: str) -> Iterator[Path]:
    """Give a path under which ssh-keygen can read the private key, as long as this lasts.

    A text is in memory alone (memfd_create(2)), for this user alone: ssh-keygen
    takes no key that others could read. It ends with this process, however that ends.

    Raises:
        KeyProblemError: the text is no private key in OpenSSH's format.
    """
    if not is_text(value):
        yield Path(value).expanduser()
        return
    # A CI service may have lost the last newline, or been given a file of Windows.
    lines = value.replace("\r", "").strip().splitlines()
    if lines[0] != _FIRST_LINE or lines[-1] != _LAST_LINE:
        raise KeyProblemError(
            f"it has to be a private key of OpenSSH, from {_FIRST_LINE} to {_LAST_LINE}"
        )
    fd = os.memfd_create("signing key", os.MFD_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, ("\n".join(lines) + "\n").encode())
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


def _blob(public_key: str) -> str:
    """Return the key itself: the comment after it may be any."""
    return public_key.split()[1]


def _is_absent_default(value: str) -> bool:
    path = Path(value).expanduser()
    public = path.with_name(f"{path.name}.pub")
    is_default = value == "" or (not is_text(value) and path == Path(DEFAULT).expanduser())
    return is_default and not path.exists() and not public.exists()
