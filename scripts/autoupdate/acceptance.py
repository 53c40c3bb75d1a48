"""What an offer must be before this machine acts on it.

The order matters: nothing is parsed before its signature holds, and nothing
is remembered before it is known to be meant for this machine.
"""

from autoupdate.errors import RefusedError
from autoupdate.journal.state import State
from autoupdate.release.format import Release
from autoupdate.release.signature import ReleaseError
from autoupdate.release.trust import Trust
from autoupdate.store.bucket import Offer


def examine(offer: Offer, trust: Trust, namespace: str) -> tuple[Release, str]:
    """Return the release that was signed, and the fingerprint of the key that signed it.

    Raises:
        RefusedError: it was not signed by a trusted key, or is malformed, or
            the object is not of the signed size.
    """
    metadata = {"release": offer.release, "signature": offer.signature}
    try:
        release, signer = trust.release(metadata, namespace)
    except ReleaseError as error:
        text = f"refused what is in the bucket: {error}"
        raise RefusedError(text, verified=False) from error
    if offer.size != release.size:
        raise _refused(release, f"the object has {offer.size} bytes, signed are {release.size}")
    return release, signer


def check_meant_for(release: Release, package: str, architecture: str, channel: str) -> None:
    """Raise RefusedError if `release` is another machine's."""
    if why := release.not_for(package, architecture, channel):
        raise _refused(release, why)


def check_size(release: Release, max_megabytes: float) -> None:
    """Raise RefusedError if `release` is too large."""
    if release.size > max_megabytes * 2**20:
        raise _refused(
            release, f"{release.size} bytes are more than MAX_PACKAGE_MB={max_megabytes:g}"
        )


def check_sequence(release: Release, state: State) -> None:
    """Raise RefusedError if `release` is a replayed one, or was refused before.

    Equal is allowed for the very release that was accepted: its installation
    may have been put off.
    """
    accepted = state.accepted_in(release.channel)
    if accepted and release.sequence < accepted.sequence:
        raise _refused(
            release,
            f"it is older than sequence {accepted.sequence} ({accepted.version}), which was "
            "accepted before; to go back, publish with make rollback",
        )
    if accepted and release.sequence == accepted.sequence and release != accepted:
        raise _refused(
            release, f"its sequence was used before, by another release of {accepted.version}"
        )
    if refusal := state.refusal_of(release):
        raise RefusedError(refusal.reason, outcome=refusal.outcome)


def check_first(release: Release, installed: str) -> None:
    """Raise RefusedError: nothing was ever accepted here, and `installed` is newer.

    A machine without a memory cannot tell a rollback from a replayed old release.
    """
    raise _refused(
        release,
        f"{installed} is installed, which is newer, and nothing was accepted here before; "
        "to go back on this machine, install the older package by hand",
    )


def describe(release: Release) -> str:
    return f"release {release.version} (sequence {release.sequence})"


def _refused(release: Release, reason: str) -> RefusedError:
    return RefusedError(f"refused {describe(release)}: {reason}")
