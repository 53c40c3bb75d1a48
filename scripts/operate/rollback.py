#!/usr/bin/env python3
"""usage: rollback [VERSION]
       rollback --list

Publishes an earlier version again, as a new release with a higher sequence: a
machine never goes back on its own, for an older release might be a replayed
one. Without VERSION it is the newest that is lower than the current one.

settings (config.mk): NAME, BUCKET, REGION, CHANNEL, SIGNING_KEY
exit status: 0 published, 1 not published, 2 usage, 3 somebody else was first
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from operate import publishing
from operate.publishing import Channel, Published, PublishError


def main(words: list[str]) -> int:
    if words == ["--help"]:
        print(__doc__, end="")
        return publishing.EXIT_DONE
    if len(words) > 1 or (words and words[0].startswith("-") and words != ["--list"]):
        print(__doc__, end="", file=sys.stderr)
        return publishing.EXIT_USAGE
    try:
        channel = Channel.from_environ(os.environ)
        if words == ["--list"]:
            list_versions(channel)
        else:
            roll_back(channel, words[0] if words else None)
    except PublishError as error:
        print(f"rollback: cannot publish an earlier version: {error}", file=sys.stderr)
        return error.exit_status
    return publishing.EXIT_DONE


def list_versions(channel: Channel) -> None:
    for each in publishing.history(channel):
        release = each.release
        print(f"{release.sequence:>5}  {release.published}  {release.version}  {release.commit}")


def roll_back(channel: Channel, version: str | None) -> None:
    before = publishing.current(channel)
    if before is None:
        raise PublishError(f"{channel.url} is not there; nothing was ever published")
    old = find(channel, before, version)
    with tempfile.TemporaryDirectory(prefix="rollback-") as folder:
        package = Path(folder) / "package.deb"
        publishing.download(channel, old, package)
        release = publishing.publish(
            channel,
            package,
            old.release.commit,
            over=before.etag,
            sequence=before.release.sequence + 1,
        )
    publishing.tell(release, channel)


def find(channel: Channel, before: Published, version: str | None) -> Published:
    """Return the newest release of `version`, or of a lower version than the current."""
    for each in publishing.history(channel):
        its_version = each.release.version
        if its_version == version or (
            version is None and is_lower(its_version, before.release.version)
        ):
            return each
    wanted = version or f"version lower than {before.release.version}"
    raise PublishError(f"the bucket keeps no {wanted}; see make releases")


def is_lower(version: str, other: str) -> bool:
    """Compare as dpkg does (deb-version(7))."""
    command = ["dpkg", "--compare-versions", version, "lt", other]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
