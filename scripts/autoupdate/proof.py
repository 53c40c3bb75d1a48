"""The proof of a new package before anything of it is installed.

It is unpacked aside, its control fields are compared with what was signed, and
both its executables check themselves on this machine.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from autoupdate import contents
from autoupdate.dpkg import Dpkg
from autoupdate.errors import MachineError, PostponedError
from autoupdate.programs import run
from autoupdate.release import Release
from autoupdate.settings import Settings


def prove(settings: Settings, dpkg: Dpkg, deb: Path, release: Release, folder: Path) -> None:
    """Prove `deb` below `folder`.

    What the executables unpacked is kept there if they pass: the next ones begin with its bytecode.

    Raises:
        MachineError: it is not what was signed, or fails its own check.
        PostponedError: there is no room for it.
    """
    contents.check(deb, settings.name)
    _compare_fields(dpkg, deb, release)
    tree, cache = folder / "tree", folder / "cache"
    _empty(tree)
    try:
        for each in (tree, cache):
            each.mkdir(parents=True, exist_ok=True)
        dpkg.unpack(deb, tree)
        # At the same time: machines wait for the slower one alone.
        with ThreadPoolExecutor() as both:
            list(both.map(partial(_check, settings, tree, cache),
                          (settings.name, settings.updater.name)))  # fmt: skip
    except OSError as error:
        _empty(folder)
        raise PostponedError(f"cannot unpack {release.version} aside: {error}") from error
    except MachineError:
        _empty(folder)
        raise
    finally:
        _empty(tree)


# Fields by which a package removes, outranks or poses as others: a service needs none.
_UNWANTED_FIELDS = frozenset(
    {"Conflicts", "Breaks", "Replaces", "Provides", "Essential", "Protected", "Important"}
)


def _compare_fields(dpkg: Dpkg, deb: Path, release: Release) -> None:
    if unwanted := _UNWANTED_FIELDS & dpkg.field_names(deb):
        raise MachineError(f"the package has a field {min(unwanted)}")
    fields = dpkg.fields(deb)
    for name in ("package", "version", "architecture"):
        says, signed = getattr(fields, name), getattr(release, name)
        if says != signed:
            raise MachineError(f"the package says {name} {says:.80}, the release {signed}")


def _check(settings: Settings, tree: Path, cache: Path, program: str) -> None:
    executable = tree / "usr/bin" / program
    if not executable.is_file():
        # Without the updater this would be the last update of this machine.
        raise MachineError(f"the package holds no /usr/bin/{program}")
    environ = {
        **settings.environ,
        "SETTINGS_FILE": str(settings.file),
        # Unpacks itself there, not where the present version lives.
        "CACHE_DIR": str(cache),
        # The keys that the new package brings decide on the next release.
        "ALLOWED_SIGNERS": str(tree / "etc" / settings.name / "allowed_signers"),
    }
    ended = run(
        [executable, "check"],
        seconds=settings.check_seconds,
        environ=environ,
        leave_no_child=True,
    )
    if not ended.succeeded:
        raise MachineError(f"{program} check failed: {ended.cause}")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
