"""What a supervisor hands to the next version of itself across exec."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, cast

from handoff import protocol
from handoff.process import GenerationProcess

T = TypeVar("T")


def _build(kind: Callable[..., T], values: dict[str, Any]) -> T:
    """Build a `kind` of what it knows: an older version, taking over again, knows less."""
    known = {each.name for each in fields(cast(Any, kind))}
    return kind(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class Heritage:
    """The supervisor's descriptors and children; both survive exec, their numbers unchanged."""

    listeners: list[int]
    bound_to: str | None
    serving: GenerationProcess
    draining: list[GenerationProcess]
    restart_wanted: bool
    lock: int = -1  # an older version holds none

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Heritage":
        document = json.loads(text)
        document["serving"] = _build(GenerationProcess, document["serving"])
        document["draining"] = [_build(GenerationProcess, each) for each in document["draining"]]
        return _build(cls, document)

    def set_inheritable(self, inheritable: bool) -> None:
        """Let the descriptors pass through exec, or no longer."""
        pipes = [(each.proof_fd, each.gate_fd) for each in (self.serving, *self.draining)]
        locks = [self.lock] if self.lock >= 0 else []
        for fd in (*self.listeners, *locks, *(fd for pair in pipes for fd in pair)):
            os.set_inheritable(fd, inheritable)

    def exec_into(self, takeover: dict[str, Any]) -> None:
        """Replace this process by `takeover`, a checked `supervisor` line. Does not return.

        Raises:
            OSError: exec failed; this process is as it was.
        """
        environ = {**os.environ, **takeover["environ"], protocol.INHERIT: self.to_json()}
        self.set_inheritable(True)
        try:
            os.execve(takeover["argv"][0], takeover["argv"], environ)
        finally:
            self.set_inheritable(False)
