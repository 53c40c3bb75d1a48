"""What the updater must not forget, as one immutable value.

The journal is part of it: a step is written down before it begins, so that
whoever starts next knows how far the last one may have come.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, TypeVar, cast

from autoupdate.release.format import Release

# Changed when an older updater could not read the file any more.
FORMAT = 1
MAX_REFUSALS = 20
MAX_CHANNELS = 20

T = TypeVar("T")


class Step(str, Enum):
    """The steps of an update, in their order; RESTORING is the way back."""

    FETCHING = "fetching"  # nothing on the machine has changed
    PROVING = "proving"  # nothing on the machine has changed
    INSTALLING = "installing"  # dpkg may have begun
    RESTARTING = "restarting"  # installed; roles may have been told
    TRYING = "trying"  # all roles serve; the new updater takes a first look
    RESTORING = "restoring"  # the last good package goes back


@dataclass(frozen=True)
class Journal:
    """The step under way."""

    step: Step
    release: Release
    attempts: int  # how often INSTALLING was begun for this release
    reason: str  # why RESTORING; else ""


@dataclass(frozen=True)
class Refusal:
    """A signed release that this machine will not try again."""

    release: Release
    reason: str
    time: str
    outcome: str = "refused"  # where it left this machine: a key of report.STATES


@dataclass(frozen=True)
class State:
    """All of it. Immutable: what is in memory is what is on disk."""

    accepted: tuple[Release, ...] = ()  # of each channel the highest that was ever acted on
    last_good: Release | None = None  # its package is kept
    refused: tuple[Refusal, ...] = ()
    journal: Journal | None = None
    condition: str = ""  # what keeps the updater from its work, for `status`
    condition_since: str = ""

    def accepted_in(self, channel: str) -> Release | None:
        return next((each for each in self.accepted if each.channel == channel), None)

    def accepted_with(self, release: Release) -> tuple[Release, ...]:
        others = [each for each in self.accepted if each.channel != release.channel]
        return (*others, release)[-MAX_CHANNELS:]

    def refusal_of(self, release: Release) -> Refusal | None:
        return next((each for each in self.refused if each.release == release), None)

    def refused_with(self, refusal: Refusal) -> tuple[Refusal, ...]:
        """Return the refusals with one more, the oldest forgotten beyond MAX_REFUSALS."""
        others = [each for each in self.refused if each.release != refusal.release]
        return (*others, refusal)[-MAX_REFUSALS:]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Return the state that `to_json` wrote, in this version or a later one.

        Fields that this version does not know are dropped: after a rollback an
        older updater reads what a newer one wrote.

        Raises:
            ValueError, KeyError, TypeError: it is nothing of the kind.
        """
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"it is of format {document['format']!r:.20}, not {FORMAT}")
        if document["last_good"]:
            document["last_good"] = _build(Release, document["last_good"])
        document["accepted"] = tuple(_build(Release, each) for each in document["accepted"])
        document["refused"] = tuple(_with_release(Refusal, each) for each in document["refused"])
        if document["journal"]:
            journal = {**document["journal"], "step": Step(document["journal"]["step"])}
            document["journal"] = _with_release(Journal, journal)
        return _build(cls, document)


def _with_release(kind: Callable[..., T], values: dict[str, Any]) -> T:
    return _build(kind, {**values, "release": _build(Release, values["release"])})


def _build(kind: Callable[..., T], values: dict[str, Any]) -> T:
    known = {each.name for each in fields(cast(Any, kind))}
    return kind(**{name: value for name, value in values.items() if name in known})
