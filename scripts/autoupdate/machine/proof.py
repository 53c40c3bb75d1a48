"""The proof of a new package before anything of it is installed.

It is unpacked aside, its control fields are compared with what was signed, and
both its executables check themselves on this machine.
"""

import errno
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from autoupdate.errors import MachineError, PostponedError, UndecidedError
from autoupdate.machine import contents
from autoupdate.machine.dpkg import Dpkg
from autoupdate.machine.programs import run
from autoupdate.release.format import Release
from autoupdate.settings import Settings


def prove(settings: Settings, dpkg: Dpkg, deb: Path, release: Release) -> None:
    """Prove `deb` below its own folder, which is emptied before and after.

    Raises:
        MachineError: it is not what was signed, or fails its own check.
        UndecidedError: a check was cut for time, or killed from outside.
        PostponedError: there is no room for it.
    """
    look_through(settings, dpkg, deb, release)
    folder = settings.proof_dir
    _empty(folder)
    try:
        tree, cache = folder / "tree", folder / "cache"
        for each in (tree, cache):
            each.mkdir(parents=True)
        dpkg.unpack(deb, tree)
        # At the same time: machines wait for the slower one alone.
        with ThreadPoolExecutor() as both:
            list(both.map(partial(_check, settings, tree, cache),
                          (settings.name, settings.updater.name)))  # fmt: skip
    except OSError as error:
        raise PostponedError(f"cannot unpack {release.version} aside: {error}") from error
    finally:
        _empty(folder)


def look_through(settings: Settings, dpkg: Dpkg, deb: Path, release: Release) -> None:
    """Compare `deb` with what was signed, and with what a service's package may hold.

    Raises:
        MachineError: it is another, or would put more on this machine.
    """
    contents.check(deb, settings.name)
    _compare_fields(dpkg, deb, release)


# Fields by which a package removes, outranks or poses as others: a service needs none.
_UNWANTED_FIELDS = frozenset(
    {"Conflicts", "Breaks", "Replaces", "Provides", "Essential", "Protected", "Important"}
)


def _compare_fields(dpkg: Dpkg, deb: Path, release: Release) -> None:
    fields = dpkg.fields(deb)
    if unwanted := _UNWANTED_FIELDS & fields.names:
        raise MachineError(f"the package has a field {min(unwanted)}")
    for name in ("package", "version", "architecture"):
        says, signed = getattr(fields, name), getattr(release, name)
        if says != signed:
            raise MachineError(f"the package says {name} {says:.80}, the release {signed}")


def _check(settings: Settings, tree: Path, cache: Path, program: str) -> None:
    executable = tree / "usr/bin" / program
    if not executable.is_file():
        # Without the updater this would be the last update of this machine.
        raise MachineError(f"the package holds no /usr/bin/{program}")
    user = _owner_of_roles(settings) if program == settings.name else None
    environ = {
        **settings.environ,
        # A machine may do without: its settings may all be in the environment.
        "SETTINGS_FILE": str(settings.file) if settings.file.exists() else os.devnull,
        # As the roles' user it unpacks itself where the roles will start it; else aside.
        "CACHE_DIR": str(settings.cache_dir if user else cache),
        # The keys that the new package brings decide on the next release.
        "ALLOWED_SIGNERS": str(tree / "etc" / settings.name / "allowed_signers"),
    }
    ended = run(
        [executable, "check"],
        seconds=settings.check_seconds,
        environ=environ,
        leave_no_child=True,
        user=user,
    )
    if ended.succeeded:
        return
    problem = f"{program} check failed: {ended.cause}"
    # What packaging/bootstrap.py says.
    if re.search(f"cannot unpack into .*: {os.strerror(errno.ENOSPC)}", ended.output):
        raise PostponedError(problem)
    if ended.status in {None, -signal.SIGKILL}:  # too slow here, or out of memory
        raise UndecidedError(problem)
    raise MachineError(problem)


def _owner_of_roles(settings: Settings) -> os.stat_result | None:
    """Return the user that runs the roles here, by the folders that are theirs; None if root does.

    The new build is proven with no more rights than it will have, and unpacked only once.
    """
    try:
        owners = [folder.stat() for folder in (settings.runtime_dir, settings.cache_dir)]
    except OSError:  # no role has run since the machine booted
        return None
    users = {each.st_uid for each in owners}
    # Only root can become another, and whose folders they are has to be clear.
    return owners[0] if os.geteuid() == 0 and len(users) == 1 and 0 not in users else None


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
