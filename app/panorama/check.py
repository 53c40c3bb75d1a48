"""`NAME check`: proves this build on this machine, and changes nothing."""

import importlib
import os
import pkgutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import handoff
import panorama
from panorama.build_info import NAME, VERSION
from panorama.settings import Settings, SettingsError, load
from panorama.stitching import HelperMissingError, check_helper


class CheckError(Exception):
    """One of the checks failed; the message says why."""


def run(environ: Mapping[str, str]) -> int:
    """Print one line for each thing checked. Returns 0 if this build can serve here, else 1."""
    try:
        settings = load(environ)
    except SettingsError as error:
        print(f"{NAME} {VERSION} cannot serve here: {error}")
        return 1
    checks: dict[str, Callable[[Settings], str]] = {
        "imports": _check_imports,
        "address": _check_address,
        "folders": _check_folders,
        "helper": check_helper,
    }
    failed = 0
    for name, check in checks.items():
        try:
            print(f"ok      {name}: {check(settings)}")
        except (CheckError, HelperMissingError) as error:
            failed += 1
            print(f"failed  {name}: {error}")
    print(f"{NAME} {VERSION} {'cannot serve here' if failed else 'can serve here'}")
    return 1 if failed else 0


def _check_imports(_settings: Settings) -> str:
    """Import every module of the service, and with them all that they import."""
    count = 0
    for package in (panorama, handoff):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except Exception as error:  # whatever a module raises, it is not usable
                raise CheckError(f"{module.name}: {type(error).__name__}: {error}") from error
            count += 1
    return f"{count} modules"


def _check_address(settings: Settings) -> str:
    if not settings.host.startswith("/"):
        try:
            socket.getaddrinfo(settings.host.strip("[]") or None, settings.port)
        except (OSError, UnicodeError) as error:
            raise CheckError(f"HOST={settings.host!r} is no address: {error}") from error
    return f"web on {settings.address}"


def _check_folders(settings: Settings) -> str:
    folders = {"RUNTIME_DIR": settings.runtime_dir}
    if not settings.queue_url:
        folders["STATE_DIR"] = settings.state_dir
    for variable, folder in folders.items():
        # The init makes a missing one at start: what counts then is the nearest that is there.
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        usable = existing != folder or os.access(existing, os.W_OK | os.X_OK)
        if not (existing.is_dir() and usable):
            raise CheckError(f"{variable} {folder} cannot be used: {_complaint(existing)}")
    return ", ".join(f"{variable} {folder}" for variable, folder in folders.items())


def _complaint(existing: Path) -> str:
    kind = "this user may not write to it" if existing.is_dir() else "it is no folder"
    return f"{existing}: {kind}"
