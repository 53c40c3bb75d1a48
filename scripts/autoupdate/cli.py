"""The command line: one table of subcommands, one place where errors end."""

import os
import sys
from collections.abc import Callable, Sequence

from autoupdate import check, provision, settings
from autoupdate.build_info import NAME, PROGRAM, VERSION
from autoupdate.clock import SystemClock
from autoupdate.errors import (
    ROLE_FAILED,
    AutoupdateError,
    BucketError,
    HeldError,
    MachineError,
    PostponedError,
    ProvisionError,
    RefusedError,
    SettingsError,
    StateError,
    StoppedError,
    UndoneError,
)
from autoupdate.journal.state_folder import StateFolder
from autoupdate.log import Log
from autoupdate.machine.machine import Machine
from autoupdate.report import status
from autoupdate.settings import Settings
from autoupdate.store.credentials import Credentials
from autoupdate.store.s3 import S3Bucket
from autoupdate.updater import Updater

FAILED, USAGE = 1, 2

# Cause by exit status; the first kind that fits.
EXIT_STATUSES: tuple[tuple[type[AutoupdateError], int, str], ...] = (
    (SettingsError, 3, "a setting is missing or wrong"),
    (StateError, 4, "the state folder cannot be used, or another updater works there"),
    (BucketError, 5, "the bucket was not reached, or refused to answer"),
    (RefusedError, 6, "the release was refused; nothing was installed"),
    (UndoneError, 7, "the release was installed, did not work, and was taken back"),
    (MachineError, 8, "a package could not be installed or put back"),
    (PostponedError, 9, "the release cannot be installed now; try again"),
    (HeldError, 10, "an operator's HOLD file stops updates"),
    (StoppedError, 11, "told to stop before it was done"),
    (ProvisionError, 12, "a new machine does not serve yet, or sends no logs"),
)


def _updater(settings: Settings, folder: StateFolder, clock: SystemClock, log: Log) -> Updater:
    folder.load()
    bucket = S3Bucket(
        settings.bucket,
        settings.region,
        Credentials().get,
        settings.endpoint_url,
        settings.ca_bundle,
        f"{PROGRAM}/{VERSION}",
    )
    return Updater(settings, bucket, Machine(settings, clock, log), folder, clock, log)


def _run(settings: Settings, log: Log, *, once: bool) -> int:
    os.umask(0o022)
    folder = StateFolder(settings.state_dir)
    with folder.locked():
        updater = _updater(settings, folder, SystemClock(), log)
        if once:
            problem = updater.look()
            return _exit_status(problem) if problem else 0
        log.say(f"{VERSION} follows s3://{settings.bucket}/{settings.release_key} every "
                f"{settings.interval_seconds:g} s")  # fmt: skip
        updater.run()
        log.say("stopped")
    return 0


def _daemon(settings: Settings, log: Log) -> int:
    return _run(settings, log, once=False)


def _once(settings: Settings, log: Log) -> int:
    return _run(settings, log, once=True)


def _rehearse(settings: Settings, log: Log) -> int:
    folder = StateFolder(settings.state_dir)
    problem = _updater(settings, folder, SystemClock(), log).rehearse()
    # Held, it does what it is to do.
    return _exit_status(problem) if problem and not isinstance(problem, HeldError) else 0


def _provision(log: Log) -> int:
    os.umask(0o022)
    given = provision.read_given(sys.stdin)
    provision.write_settings(given, settings.file_of(os.environ))
    found = settings.load(os.environ)
    clock = SystemClock()
    machine = Machine(found, clock, log)
    if machine.installed_version() is None:
        folder = StateFolder(found.state_dir)
        with folder.locked():
            _updater(found, folder, clock, log).provision()
    failures = provision.start(found, machine)
    for failure in failures:
        log.say(failure)
    # All the more where something failed.
    provision.forward_logs(given, clock, log, machine)
    return ROLE_FAILED if failures else 0


def _status(settings: Settings, log: Log) -> int:
    folder = StateFolder(settings.state_dir)
    folder.load()
    machine = Machine(settings, SystemClock(), log)
    sys.stdout.write(status.table(settings, folder.state, machine))
    return 0


def _check(settings: Settings, log: Log) -> int:
    found = list(check.problems(settings))
    for problem in found:
        log.say(f"check: {problem}")
    if not found:
        print(f"{PROGRAM} {VERSION}: ready")
    return FAILED if found else 0


def _with_settings(command: Callable[[Settings, Log], int]) -> Callable[[Log], int]:
    return lambda log: command(settings.load(os.environ), log)


COMMANDS: dict[str, tuple[Callable[[Log], int], str]] = {
    "": (_with_settings(_daemon), "keep this machine on the release in the bucket, until SIGTERM"),
    "--once": (_with_settings(_once), "look once, update if need be, and exit"),
    "rehearse": (_with_settings(_rehearse), "look at the bucket once, and change nothing"),
    "status": (_with_settings(_status), "say where this machine stands; asks no network"),
    "check": (_with_settings(_check), "prove that this build works here; changes nothing"),
    "provision": (_provision, "make a new machine serve: user-data's part, settings on stdin"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(VERSION)
        return 0
    if words in (["--help"], ["-h"]):
        print(_help(), end="")
        return 0
    log = Log(PROGRAM)
    command = " ".join(words)
    if command not in COMMANDS:
        log.say(f"cannot understand {command!r}; see {PROGRAM} --help")
        return USAGE
    try:
        return COMMANDS[command][0](log)
    except AutoupdateError as error:
        log.say(str(error))
        return _exit_status(error)


def _exit_status(error: AutoupdateError) -> int:
    return next(status for kind, status, _ in EXIT_STATUSES if isinstance(error, kind))


def _help() -> str:
    commands = [(f"{PROGRAM} {name}".strip(), text) for name, (_, text) in COMMANDS.items()]
    words = {"root": "", "name": NAME, "hostname": "the host's name"}
    variables = [
        (each.variable, each.doc + (f" [{each.default.format(**words)}]" if each.default else ""))
        for _, each in settings.declared()
    ]
    statuses = [(str(number), text) for _, number, text in EXIT_STATUSES]
    others = [
        ("0", "done"),
        (str(FAILED), "check found something missing"),
        (str(ROLE_FAILED), "provision: a role does not start; the updater runs"),
        (str(USAGE), "wrong usage"),
    ]
    parts = (
        ("Usage", commands),
        (f"Settings, from the environment or /etc/default/{NAME} [default]", variables),
        ("Exit statuses", others + statuses),
        ("Signals", [("SIGTERM", "stop, once the machine is in order"),
                     ("SIGUSR2", "begin afresh: read the settings anew, look at once")]),
    )  # fmt: skip
    text = f"{PROGRAM}: keeps this machine on the signed release in an S3 bucket.\n"
    for title, rows in parts:
        width = max(len(left) for left, _ in rows)
        text += f"\n{title}\n" + "".join(f"  {left:{width}}  {right}\n" for left, right in rows)
    return text
