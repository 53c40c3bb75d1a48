"""What deploy and rollback share: look at the release in the bucket, publish the next one."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import ReleaseError, sign
from autoupdate.release.trust import REVOKED_KEYS, Trust
from operate.aws import NOT_FOUND, PRECONDITION_FAILED, AwsError, aws

ROOT = Path(__file__).resolve().parents[2]

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_LOST_RACE = 0, 1, 2, 3


class PublishError(Exception):
    """Nothing was published; the message says why and what to do, in one line."""

    exit_status = EXIT_FAILED


class ForeignReleaseError(PublishError):
    """What is in the bucket is not signed by a key that we trust."""


class LostRaceError(PublishError):
    """Somebody else published meanwhile."""

    exit_status = EXIT_LOST_RACE


@dataclass(frozen=True)
class Channel:
    """Where releases go, and who may sign them: the settings of config.mk."""

    name: str
    bucket: str
    channel: str
    signing_key: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Channel":
        """Read what the Makefile exports.

        Raises:
            PublishError: BUCKET is not set.
        """
        for name in ("BUCKET", "SIGNING_KEY"):
            if not environ.get(name):
                raise PublishError(f"{name} is not set; set it in config.mk and use make")
        # Amazon S3 User Guide, Bucket naming rules.
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", environ["BUCKET"]):
            raise PublishError(
                f"BUCKET is {environ['BUCKET']!r}; use 3 to 63 lower-case letters, digits, . and -"
            )
        channel = environ.get("CHANNEL", "stable")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", channel):
            raise PublishError(f"CHANNEL is {channel!r}; use letters, digits, . _ -")
        return cls(
            environ.get("NAME", "panorama"),
            environ["BUCKET"],
            channel,
            Path(environ["SIGNING_KEY"]).expanduser(),
        )

    @property
    def key(self) -> str:
        return f"{self.channel}/{self.name}-server.deb"

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def namespace(self) -> str:
        return f"{self.name}-release"


@dataclass(frozen=True)
class Published:
    """One version of the object: its verified release, and how S3 names it."""

    release: Release
    etag: str
    version_id: str


def current(channel: Channel) -> Published | None:
    """Return the release in the bucket, or None if there is none.

    Raises:
        PublishError: what is there is not a release that we trust.
    """
    head = _head(channel)
    if head is None:
        return None
    return Published(_trusted(channel, head["Metadata"]), head["ETag"], head.get("VersionId", ""))


def etag(channel: Channel) -> str | None:
    """Return the ETag of whatever is in the bucket, or None if nothing is."""
    head = _head(channel)
    return head["ETag"] if head else None


def _head(channel: Channel) -> dict[str, Any] | None:
    try:
        return aws("s3api", "head-object", "--bucket", channel.bucket, "--key", channel.key)
    except AwsError as error:
        if error.code in NOT_FOUND:
            return None
        raise PublishError(f"cannot look at {channel.url}: {error}") from error


def history(channel: Channel) -> Iterator[Published]:
    """Yield the versions of the object, newest first; what nobody signed is left out."""
    try:
        listed = aws(
            "s3api", "list-object-versions", "--bucket", channel.bucket, "--prefix", channel.key
        )
        for each in listed.get("Versions", []):
            if each["Key"] != channel.key:
                continue
            version_id = each["VersionId"]
            head = aws(
                "s3api", "head-object", "--bucket", channel.bucket, "--key", channel.key,
                "--version-id", version_id,
            )  # fmt: skip
            try:
                release = _trusted(channel, head["Metadata"])
            except PublishError:
                continue
            yield Published(release, head["ETag"], version_id)
    except AwsError as error:
        raise PublishError(f"cannot list the versions of {channel.url}: {error}") from error


def publish(
    channel: Channel, package: Path, commit: str, *, over: str | None, sequence: int
) -> Release:
    """Sign `package` as release `sequence` and put it over the object with the ETag `over`.

    Raises:
        LostRaceError: the object is not that one any more, or there is one (`over` is None).
        PublishError: anything else; nothing was published.
    """
    try:
        release = replace(
            describe(package),
            channel=channel.channel,
            sequence=sequence,
            published=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=commit,
        )
        signature = sign(release.to_json(), channel.signing_key, channel.namespace)
        _refuse_lockout(channel, package, release, signature)
        metadata = to_metadata(release, signature)
    except ReleaseError as error:
        raise PublishError(str(error)) from error
    condition = ["--if-match", over] if over else ["--if-none-match", "*"]
    try:
        aws(
            "s3api", "put-object", "--bucket", channel.bucket, "--key", channel.key,
            "--body", package, "--metadata", json.dumps(metadata),
            "--content-type", "application/vnd.debian.binary-package",
            "--checksum-algorithm", "SHA256", *condition,
        )  # fmt: skip
    except AwsError as error:
        if error.code in PRECONDITION_FAILED:
            raise LostRaceError(
                "somebody else published at the same time; look at make status, then try again"
            ) from error
        if error.code == "NoSuchBucket":
            raise PublishError(
                f"there is no bucket {channel.bucket}; make stack makes it"
            ) from error
        raise PublishError(f"cannot upload to {channel.url}: {error}") from error
    return release


def describe(package: Path) -> Release:
    """Return what `package` says of itself, as a release not yet published.

    Raises:
        PublishError: it is no Debian package.
    """
    try:
        content = package.read_bytes()
        fields = subprocess.run(
            [
                "dpkg-deb",
                "--show",
                "--showformat",
                "${Package} ${Version} ${Architecture}",
                package,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    except OSError as error:
        raise PublishError(f"cannot read {package}: {error.strerror}; run make package") from error
    except subprocess.CalledProcessError as error:
        raise PublishError(f"{package} is no package: {error.stderr.strip()}") from error
    name, version, architecture = fields
    digest = hashlib.sha256(content).hexdigest()
    return Release(
        name, version, architecture, digest, len(content), 1, "1970-01-01T00:00:00Z", "", "none"
    )


def download(channel: Channel, old: Published, path: Path) -> None:
    """Download a version of the object and check it against its release.

    Raises:
        PublishError: it cannot be had, or is not what was signed.
    """
    try:
        aws(
            "s3api", "get-object", "--bucket", channel.bucket, "--key", channel.key,
            "--version-id", old.version_id, path,
        )  # fmt: skip
    except AwsError as error:
        raise PublishError(f"cannot download {old.release.version}: {error}") from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != old.release.sha256:
        raise PublishError(f"{old.release.version} in the bucket is not what was signed")


def _trusted(channel: Channel, metadata: Mapping[str, str]) -> Release:
    """Return the release of an object's metadata.

    Raises:
        PublishError: a key that we do not trust signed it, or none. Its
            sequence then says nothing about what machines have accepted.
    """
    # Some S3 servers answer with keys in capitals.
    lowered = {name.lower(): value for name, value in metadata.items()}
    trust = our_trust(channel)
    try:
        return trust.release(lowered, channel.namespace)[0]
    except ReleaseError as error:
        raise ForeignReleaseError(
            f"{channel.url} holds no release of ours: {error}; if the key is a colleague's or an "
            "earlier one of yours, sign with it, or write both into packaging/allowed_signers: "
            "machines take no release of a key that they do not know. If it is a stranger's, "
            "publish over it with SEQUENCE=N, higher than any that machines have accepted"
        ) from error


def our_trust(channel: Channel) -> Trust:
    """Return the keys that the next package will tell machines to trust.

    Raises:
        PublishError: there are none that could be read.
    """
    packaging = ROOT / "packaging"
    try:
        if (packaging / "allowed_signers").exists():
            return Trust.read(packaging / "allowed_signers")
    except ReleaseError as error:
        raise PublishError(str(error)) from error
    public = channel.signing_key.with_name(f"{channel.signing_key.name}.pub")
    try:
        line = public.read_text()
    except OSError as error:
        raise PublishError(
            f"SIGNING_KEY: cannot read {public}: {error.strerror}; make a key with "
            f"ssh-keygen -t ed25519 -f {channel.signing_key}"
        ) from error
    if not re.fullmatch(r"(ssh|sk|ecdsa)-\S+ AAAA[A-Za-z0-9+/]+=*( .*)?\n?", line):
        raise PublishError(
            f"SIGNING_KEY: {public} is no SSH public key; ssh-keygen -t ed25519 makes one"
        )
    revoked_keys = packaging / REVOKED_KEYS
    revoked = revoked_keys.read_bytes() if revoked_keys.exists() else b""
    return replace(Trust.of_key(line, channel.namespace, "SIGNING_KEY"), revoked=revoked)


def _refuse_lockout(channel: Channel, package: Path, release: Release, signature: str) -> None:
    """Refuse a package after whose installation no machine would trust this key again."""
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
    ).stdout

    def member(name: str) -> bytes:
        command = ["tar", "-xO", f"./etc/{channel.name}/{name}"]
        return subprocess.run(command, input=archive, capture_output=True, check=False).stdout

    signers = member("allowed_signers").decode(errors="replace")
    trust = Trust(signers, member(REVOKED_KEYS), "its allowed_signers")
    try:
        trust.verify(release.to_json(), signature, channel.namespace)
    except ReleaseError as error:
        raise PublishError(
            f"{release.version} itself does not trust SIGNING_KEY {channel.signing_key}, and "
            f"would lock machines out of what follows: {error}"
        ) from error


def tell(release: Release, channel: Channel) -> None:
    print(
        f"published {release.version} as sequence {release.sequence}: {release.size / 1e6:.1f} MB, "
        f"sha256 {release.sha256[:12]}…, {channel.url}"
    )


def commit_of_tree() -> str:
    return os.environ.get("COMMIT", "")
