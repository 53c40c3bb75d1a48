"""Dependencies of the new package that are not installed yet: a case for apt-get.

dpkg does everything else, so that an update that needs nothing new needs no
network beside the bucket, and going back never does.
"""

import re

from autoupdate.errors import PostponedError
from autoupdate.log import Log
from autoupdate.machine.dpkg import Dpkg, unattended_environment
from autoupdate.machine.programs import Ended, run

# One alternative, as in "libtbb12 (>= 2021.8)"; qualifiers such as :any are for apt.
_ALTERNATIVE = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?::\w+)?(?:\s*\(\s*([<>=]+)\s*([^\s)]+)\s*\))?")


def unmet(depends: str, dpkg: Dpkg) -> list[str]:
    """Return the clauses of a Depends field that no installed package meets by its own name.

    A clause that is met by a virtual package is returned too: apt-get, which
    knows, then has nothing to do.
    """
    clauses = [clause.strip() for clause in depends.split(",") if clause.strip()]
    found = {clause: _ALTERNATIVE.findall(clause) for clause in clauses}
    names = sorted({name for alternatives in found.values() for name, _, _ in alternatives})
    installed = dpkg.installed_versions(names) if names else {}

    def meets(name: str, relation: str, wanted: str) -> bool:
        if name not in installed:
            return False
        return not relation or dpkg.satisfies(installed[name], relation, wanted)

    return [clause for clause in clauses if not any(meets(*each) for each in found[clause])]


def install(clauses: list[str], log: Log, *, lock_seconds: float, install_seconds: float) -> None:
    """Let apt-get install what satisfies `clauses`; waits for dpkg's lock itself.

    Raises:
        PostponedError: apt-get cannot, now.
    """

    def apt_get(*words: str) -> Ended:
        options = ("-o", f"DPkg::Lock::Timeout={lock_seconds:.0f}")
        command = ["apt-get", "--quiet", "--yes", "--no-remove", *options, *words]
        # It waits for the lock first: cut short only then, it may be in the middle of dpkg.
        seconds = lock_seconds + install_seconds
        return run(command, seconds=seconds, environ=unattended_environment())

    satisfy = ("satisfy", "--no-install-recommends", ", ".join(clauses))
    log.say(f"installs dependencies: {', '.join(clauses)}")
    ended = apt_get(*satisfy)
    if not ended.succeeded:
        # A power cut in the middle of an earlier try leaves dpkg interrupted.
        repair = ["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"]
        run(repair, seconds=install_seconds, environ=unattended_environment())
        # A fresh image's package lists are empty, an old one's are stale.
        apt_get("update")
        ended = apt_get(*satisfy)
    if not ended.succeeded:
        raise PostponedError(f"apt-get cannot install {', '.join(clauses)}: {ended.cause}")
