"""`check`: proves that this build can work on this machine; changes nothing, asks no network.

The updater that runs asks it of the next one before it installs it.
"""

import os
import shutil
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from autoupdate.errors import StateError
from autoupdate.journal.state_folder import StateFolder
from autoupdate.machine.programs import SYSTEM_PATH
from autoupdate.release.signature import SignatureError
from autoupdate.release.trust import Trust
from autoupdate.settings import Settings
from autoupdate.store.s3 import load_certificates

TOOLS = ("dpkg", "dpkg-deb", "dpkg-query", "ssh-keygen")


def problems(settings: Settings) -> Iterator[str]:
    """Yield one line for each thing that is missing. Its import alone proves the bundle."""
    for tool in TOOLS:
        if not shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"):
            yield f"cannot find {tool}; install it"
    yield from _signers_problems(settings.allowed_signers)
    yield from _certificate_problems(settings)
    try:
        StateFolder(settings.state_dir).load()
    except StateError as error:
        yield str(error)
    folders = (settings.state_dir, *settings.state_dir.parents)
    nearest = next(each for each in folders if each.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield f"cannot write {nearest}; set AUTOUPDATE_STATE_DIR or run as root"


def _certificate_problems(settings: Settings) -> Iterator[str]:
    if settings.ca_bundle:
        try:
            load_certificates(settings.ca_bundle)
        except OSError as error:
            yield f"cannot load certificates to trust for S3: {error}; see AWS_CA_BUNDLE"
        return
    # OpenSSL looks into its folder when it meets a certificate, and not before.
    system = ssl.get_default_verify_paths()
    if not system.cafile and not (system.capath and any(Path(system.capath).iterdir())):
        yield "the system trusts no certificate; install ca-certificates, or set AWS_CA_BUNDLE"


def _signers_problems(path: Path) -> Iterator[str]:
    try:
        keys = Trust.read(path).count_keys()
    except SignatureError as error:
        yield str(error)
        return
    if not keys:
        yield f"{path} lists no key: no release could ever be accepted"
    if stat.S_IMODE(path.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        yield f"{path} may be written by others than its owner; chmod 644 it"
