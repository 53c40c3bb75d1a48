"""Publishing: look at the release in the bucket, put the next one over it, or an earlier one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import ReleaseError, sign
from operate import signing_key
from operate.aws import PRECONDITION_FAILED
from operate.bucket import Found
from operate.channel import Channel
from operate.errors import AwsError, ForeignReleaseError, LostRaceError, OperateError
from operate.kinds import EXAMPLE_MAINTAINER
from operate.package import Package


@dataclass(frozen=True)
class Published:
    """One version of the object: its verified release, and how S3 names it."""

    release: Release
    etag: str
    version_id: str


def current(channel: Channel) -> Published | None:
    """Return the release in the bucket, or None if there is none.

    Raises:
        ForeignReleaseError: what is there is not a release that we trust.
        OperateError: the bucket cannot be asked.
    """
    found = _head(channel)
    return _verified(channel, found) if found else None


def history(channel: Channel) -> Iterator[Published]:
    """Yield the versions of the object, newest first; what nobody signed is left out."""
    try:
        for version in channel.bucket.versions(channel.key):
            found = channel.bucket.head(channel.key, version)
            if found is None:
                continue  # S3 has removed it meanwhile
            try:
                yield _verified(channel, replace(found, version=version))
            except ForeignReleaseError:
                continue
    except AwsError as error:
        raise OperateError(f"cannot list the versions of {channel.url}: {error}") from error


def deploy(channel: Channel, package: Package, commit: str, sequence: int | None) -> Release:
    """Publish `package`; with a `sequence`, over whatever is in the bucket.

    Raises:
        LostRaceError: somebody else published meanwhile.
        OperateError: anything else; nothing was published.
    """
    if package.maintainer == EXAMPLE_MAINTAINER:
        raise OperateError(
            f"its maintainer is {EXAMPLE_MAINTAINER}, the example of config.mk; set MAINTAINER to "
            "who answers for it, and make package"
        )
    if sequence is not None:
        found = _head(channel)
        return publish(
            channel, package, commit, over=found.etag if found else None, sequence=sequence
        )
    before = current(channel)
    if before is None:
        return publish(channel, package, commit, over=None, sequence=1)
    _refuse_same_version(package, before.release)
    following = before.release.sequence + 1
    return publish(channel, package, commit, over=before.etag, sequence=following)


def roll_back(channel: Channel, version: str) -> Release:
    """Publish an earlier package again: of `version`, or if that is "" the one before this one.

    A machine never goes back on its own, for an older release might be a
    replayed one: so this is a new release, with a higher sequence.

    Raises:
        LostRaceError: somebody else published meanwhile.
        OperateError: anything else; nothing was published.
    """
    before = current(channel)
    if before is None:
        raise OperateError(f"{channel.url} is not there; nothing was ever published")
    old = _find(channel, before.release, version)
    package = _download(channel, old)
    following = before.release.sequence + 1
    return publish(channel, package, old.release.commit, over=before.etag, sequence=following)


def publish(
    channel: Channel, package: Package, commit: str, *, over: str | None, sequence: int
) -> Release:
    """Sign `package` as release `sequence` and put it over the object with the ETag `over`.

    Raises:
        LostRaceError: the object is not that one any more, or there is one (`over` is None).
        OperateError: anything else; nothing was published.
    """
    try:
        release = Release(
            package=package.name,
            version=package.version,
            architecture=package.architecture,
            sha256=hashlib.sha256(package.content).hexdigest(),
            size=len(package.content),
            sequence=sequence,
            published=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=commit,
            channel=channel.channel,
        )
        with signing_key.private_half(channel.signing_key) as key:
            signature = sign(release.to_json(), key, channel.namespace)
        _refuse_lockout(channel, package, release, signature)
        metadata = to_metadata(release, signature)
    except (ReleaseError, signing_key.KeyProblemError) as error:
        raise OperateError(str(error)) from error
    try:
        channel.bucket.put(channel.key, package.content, metadata, over=over)
    except AwsError as error:
        if error.code in PRECONDITION_FAILED:
            raise LostRaceError(
                "somebody else published at the same time; look at make status, then try again"
            ) from error
        if error.code == "NoSuchBucket":
            raise
        raise OperateError(f"cannot upload to {channel.url}: {error}") from error
    return release


def _head(channel: Channel) -> Found | None:
    try:
        return channel.bucket.head(channel.key)
    except AwsError as error:
        raise OperateError(f"cannot look at {channel.url}: {error}") from error


def _verified(channel: Channel, found: Found) -> Published:
    """Return the release of an object.

    Raises:
        ForeignReleaseError: a key that we do not trust signed it, or none. Its
            sequence then says nothing about what machines have accepted.
    """
    try:
        release, _ = channel.trust.release(found.metadata, channel.namespace)
    except ReleaseError as error:
        raise ForeignReleaseError(
            f"{channel.url} holds no release of ours: {error}; if the key is a colleague's or an "
            "earlier one of yours, sign with it, or write both into packaging/allowed_signers: "
            "machines take no release of a key that they do not know. If it is a stranger's, "
            "publish over it with SEQUENCE=N, higher than any that machines have accepted"
        ) from error
    return Published(release, found.etag, found.version)


def _refuse_same_version(package: Package, before: Release) -> None:
    """Refuse what people could not tell from what is published, or what is nothing new."""
    if package.version == before.version:
        same = hashlib.sha256(package.content).hexdigest() == before.sha256
        what = "the very same package" if same else "another package"
        raise OperateError(
            f"{what} is published as {before.version} (sequence {before.sequence}); commit first, "
            "so that the version rises"
        )


def _refuse_lockout(channel: Channel, package: Package, release: Release, signature: str) -> None:
    """Refuse a package after whose installation no machine would trust this key again."""
    try:
        package.trust(channel.name).verify(release.to_json(), signature, channel.namespace)
    except ReleaseError as error:
        key = channel.signing_key
        named = "SIGNING_KEY" if signing_key.is_text(key) else f"SIGNING_KEY {key}"
        raise OperateError(
            f"{release.version} itself does not trust {named}, and would lock machines out of "
            f"what follows: {error}"
        ) from error


def _find(channel: Channel, now: Release, version: str) -> Published:
    """Return the newest release of `version`, or the one before the present package came.

    Not of the next lower version: builds of uncommitted changes have versions in no order.
    """
    kept = list(history(channel))
    came = min((each.release.sequence for each in kept if each.release.sha256 == now.sha256),
               default=now.sequence)  # fmt: skip
    for each in kept:
        if each.release.version == version or (not version and each.release.sequence < came):
            return each
    wanted = version or f"release from before {now.version}"
    raise OperateError(f"the bucket keeps no {wanted}; see make releases")


def _download(channel: Channel, old: Published) -> Package:
    release = old.release
    try:
        content = channel.bucket.get(channel.key, release.size + 1, version=old.version_id)
    except AwsError as error:
        raise OperateError(f"cannot download {release.version}: {error}") from error
    if hashlib.sha256(content).hexdigest() != release.sha256:
        raise OperateError(f"{release.version} in the bucket is not what was signed")
    return Package.of(content, release.version)
