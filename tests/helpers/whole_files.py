"""How pytest-xdist shares tests out: each goes to whichever worker is free, but for whole files.

xdist's own groups (loadgroup) change a test's ID in a way that pytest 9.2 does not notice any more.
"""

from functools import cache

from project import ROOT
from xdist.scheduler import LoadScopeScheduling


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]  # xdist publishes no types
    """Keeps the tests of a file together where they share a fixture, or tell a story in order."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what is run by one worker, in order: a file, or a single test."""
        file = nodeid.partition("::")[0]
        return file if _shares(file) else nodeid


@cache
def _shares(file: str) -> bool:
    return 'scope="module"' in (ROOT / file).read_text()
