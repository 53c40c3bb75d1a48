"""Release after release for a machine that serves, each with another accident on its way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from bucket_over_http import bucket_over_http
from one_machine import OneMachine
from package_maker import Package
from points import Point, Runner

from autoupdate.cli import EXIT_STATUSES

# How an updater that looks once may end.
DONE = 0
KILLED = -9
STATUS_OF = {kind: status for kind, status, _ in EXIT_STATUSES}


class Updates:
    """Release after release for one machine."""

    def __init__(self, machine: OneMachine, scripts: Mapping[str, str]) -> None:
        self._machine = machine
        self._sequence = 1
        self._good = [machine.package(version, scripts=scripts) for version in ("2.0", "3.0")]
        self._broken = machine.package("4.0", fault="restart fails", scripts=scripts)

    def publish(self) -> str:
        """Publish a release that works, another than what is installed; return its version."""
        good = self._machine.state.last_good
        assert good
        return self._publish(next(each for each in self._good if each.version != good.version))

    def publish_broken(self) -> str:
        """Publish one that is to be undone; return the version to go back to."""
        self._publish(self._broken)
        good = self._machine.state.last_good
        assert good
        return good.version

    def _publish(self, package: Package) -> str:
        self._sequence += 1
        self._machine.publish(package, sequence=self._sequence)
        return package.version


@contextmanager
def updated(serving: OneMachine, updaters: Runner, **scripts: str) -> Iterator[Updates]:
    """Yield releases for a machine that serves one of them already."""
    with bucket_over_http(serving.bucket) as serving.environ["AWS_ENDPOINT_URL"]:
        updates = Updates(serving, scripts)
        updates.publish()
        assert updaters.run(serving) == DONE
        yield updates


def at_each(
    points: Sequence[Point], kill_and_look: Callable[[Point], None], subtests: pytest.Subtests
) -> None:
    """Try every point; the first that fails is the last, for it may leave disorder behind."""
    for point in points:
        done = False
        with subtests.test(str(point)):
            kill_and_look(point)
            done = True
        if not done:
            return
