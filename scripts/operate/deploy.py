#!/usr/bin/env python3
"""usage: deploy [--sequence N] PACKAGE

Signs a package and publishes it: one PUT of one object, which every machine of
the channel then finds. make deploy builds the package and calls this.

  --sequence N  publish as sequence N whatever is in the bucket: only to publish
                over something that is no release of ours

settings (config.mk): NAME, BUCKET, REGION, CHANNEL, SIGNING_KEY
exit status: 0 published, 1 not published, 2 usage, 3 somebody else was first
"""

import os
import sys
from pathlib import Path

from autoupdate.release.format import Release
from operate import publishing
from operate.publishing import Channel, PublishError


def main(words: list[str]) -> int:
    if words == ["--help"]:
        print(__doc__, end="")
        return publishing.EXIT_DONE
    sequence = None
    if words[:1] == ["--sequence"] and len(words) == 3 and words[1].isdecimal():
        sequence = int(words[1])
        words = words[2:]
    if len(words) != 1 or words[0].startswith("-"):
        print(__doc__, end="", file=sys.stderr)
        return publishing.EXIT_USAGE
    package = Path(words[0])
    try:
        channel = Channel.from_environ(os.environ)
        release = publish(channel, package, sequence)
    except PublishError as error:
        print(f"deploy: cannot publish {package.name}: {error}", file=sys.stderr)
        return error.exit_status
    if "+dirty" in release.version:
        print("deploy: note: this tree had changes that are not committed", file=sys.stderr)
    publishing.tell(release, channel)
    return publishing.EXIT_DONE


def publish(channel: Channel, package: Path, sequence: int | None) -> Release:
    commit = publishing.commit_of_tree()
    if sequence is not None:
        etag = publishing.etag(channel)
        return publishing.publish(channel, package, commit, over=etag, sequence=sequence)
    before = publishing.current(channel)
    if before:
        refuse_same_version(publishing.describe(package), before.release)
    number = before.release.sequence + 1 if before else 1
    etag = before.etag if before else None
    return publishing.publish(channel, package, commit, over=etag, sequence=number)


def refuse_same_version(new: Release, before: Release) -> None:
    """Refuse what people could not tell from what is published, or what is nothing new.

    Raises:
        PublishError: it has the same version, or the same bytes.
    """
    if new.version == before.version:
        what = "the very same package" if new.sha256 == before.sha256 else "another package"
        raise PublishError(
            f"{what} is published as {before.version} (sequence {before.sequence}); commit first, "
            "so that the version rises"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
