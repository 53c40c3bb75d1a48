"""Gives a new machine the updater, and lets that do the rest: all that user-data runs.

It gets the current release by the updater's own modules, which travel with it,
verifies it against the keys in the user-data, takes the updater out of it, and
runs its ``provision``, which installs that release and starts the roles. It needs
what stock images of Ubuntu 22.04 and 24.04, Debian 12 and 13 carry: Python's
standard library, dpkg, tar and ssh-keygen.

It has the updater's patience: whatever fails is tried again until it works, for
the next release, key, mirror or clock may be the one that does. What it waits
for is on the console and in /var/log/cloud-init-output.log. It may be run again:
what is done already is left alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from autoupdate.errors import ROLE_FAILED
from autoupdate.release.signature import ReleaseError
from autoupdate.release.trust import REVOKED_KEYS, Trust
from autoupdate.store import metadata
from autoupdate.store.bucket import pause
from autoupdate.store.keys import Keys
from autoupdate.store.metadata import MetadataError
from autoupdate.store.s3 import S3Bucket

MAX_REASONS = 100
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
DOWNLOAD_SECONDS = 600.0


class NotYetError(Exception):
    """This machine has no updater yet, for a reason that may pass."""


def main(settings: Mapping[str, str], trust: Trust, root: Path = Path("/")) -> int:
    """Provision the machine at `root`. Returns the exit status, which cloud-init reports."""
    began = time.monotonic()
    status = patiently(lambda: try_once(settings, trust, root))
    if not status:
        say(f"serves after {time.monotonic() - began:.1f} s")
    return status


def patiently(attempt: Callable[[], int]) -> int:
    """Return what `attempt` does, once it raises nothing; tell each reason why it does, once."""
    failures = 0
    said: set[str] = set()
    while True:
        try:
            return attempt()
        except Exception as error:
            # Whatever it is: cloud-init never starts this again.
            failures += 1
            reason = str(error) or type(error).__name__
            if reason not in said and len(said) < MAX_REASONS:
                said.add(reason)
                say(f"{reason}; tries again")
            time.sleep(pause(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))


def try_once(settings: Mapping[str, str], trust: Trust, root: Path) -> int:
    """Take the updater out of the current release, unless it is installed, and let it provision.

    Returns its exit status: 0 if this machine serves, ROLE_FAILED if a role
    does not start, which it has said, and which the updater goes on with.

    Raises:
        NotYetError, BucketError, OSError: it may work the next time.
    """
    name = settings["NAME"]
    installed = root / "usr/bin" / f"{name}-autoupdate"
    packages = root / "var/lib" / f"{name}-autoupdate" / "packages"
    with tempfile.TemporaryDirectory(prefix="user-data-") as temporary:
        folder = Path(temporary)
        (folder / "allowed_signers").write_text(trust.signers)
        (folder / REVOKED_KEYS).write_bytes(trust.revoked)
        updater = installed
        if not installed.exists():
            deb = download(settings, trust, packages)
            updater = unpacked(deb, f"./usr/bin/{installed.name}", folder)
        ended = subprocess.run(
            [updater, "provision"],
            input=json.dumps(dict(settings)),
            text=True,
            env={**os.environ, "ALLOWED_SIGNERS": str(folder / "allowed_signers")},
            check=False,
        )
    if ended.returncode not in {0, ROLE_FAILED}:
        # It has said why.
        raise NotYetError(f"{name}-autoupdate provision ended with status {ended.returncode}")
    return ended.returncode


def download(settings: Mapping[str, str], trust: Trust, packages: Path) -> Path:
    """Return the package of the current release, verified, in the updater's own folder.

    Raises:
        NotYetError, BucketError, OSError: it cannot be had, or is not to be trusted.
    """
    name = settings["NAME"]
    bucket = S3Bucket(
        settings["BUCKET"], settings["REGION"], profile_keys, settings.get("AWS_ENDPOINT_URL", "")
    )
    key = f"{settings['CHANNEL']}/{name}-server.deb"
    offer = bucket.head(key)
    offered = {"release": offer.release, "signature": offer.signature}
    try:
        release, _ = trust.release(offered, f"{name}-release")
    except ReleaseError as error:
        raise NotYetError(f"refused what is in the bucket: {error}") from error
    if why := release.not_for(f"{name}-server", architecture(), settings["CHANNEL"]):
        raise NotYetError(f"refused release {release.version}: {why}")
    packages.mkdir(mode=0o700, parents=True, exist_ok=True)
    deb = packages / f"{release.sha256}.deb"
    part = deb.with_suffix(".part")
    if deb.exists() and release.is_body(deb):
        return deb  # of an earlier try
    try:
        with part.open("wb") as file:
            bucket.download(key, offer.etag, release.size, file.write, DOWNLOAD_SECONDS)
        if not release.is_body(part):
            raise NotYetError(f"the body of release {release.version} is not what was signed")
        return part.rename(deb)
    finally:
        part.unlink(missing_ok=True)


def profile_keys() -> Keys:
    """Return the instance profile's keys.

    Raises:
        NotYetError: the profile is not there, or not yet.
    """
    try:
        return metadata.profile_keys().keys
    except (MetadataError, ValueError) as error:
        raise NotYetError(f"no credentials from the instance profile: {error}") from error


def architecture() -> str:
    asked = ["dpkg", "--print-architecture"]
    return subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def unpacked(deb: Path, member: str, folder: Path) -> Path:
    """Return one file of a package, put into `folder`.

    Raises:
        NotYetError: the package does not hold it.
    """
    tar = ["tar", "--extract", "--directory", str(folder), member]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tree:
        done = subprocess.run(tar, stdin=tree.stdout, stderr=subprocess.PIPE, check=False)
    if tree.returncode or done.returncode:
        raise NotYetError(f"the package holds no {member}: {done.stderr.decode()[:200].strip()}")
    return folder / member


def say(text: str) -> None:
    """Tell the console and cloud-init's log."""
    print(f"user-data: {text}", file=sys.stderr, flush=True)
