"""`provision`: makes a new machine serve; what user-data calls when it has verified the release.

It reads the machine's settings as JSON on its standard input, which user-data
holds: those of the service and of the updater, and ROLE_ID and LOG_HOST, which
are for this program. It may be run again: what is done already is left alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from autoupdate.build_info import NAME
from autoupdate.clock import Clock
from autoupdate.errors import AutoupdateError, PostponedError, ProvisionError, SettingsError
from autoupdate.journal import durable
from autoupdate.log import Log
from autoupdate.machine import logs
from autoupdate.machine.machine import Machine
from autoupdate.settings import Settings
from autoupdate.store import metadata
from autoupdate.store.bucket import pause
from autoupdate.store.metadata import MetadataError
from handoff import settings_file

# What is no setting of the service or the updater.
OWN_SETTINGS = {"NAME", "ROLE_ID", "LOG_HOST"}

MAX_BYTES = 1 << 16
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0


def read_given(source: TextIO) -> dict[str, str]:
    """Return the settings that user-data passes.

    Raises:
        SettingsError: it is not a JSON object of texts.
    """
    try:
        given = json.loads(source.read(MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise SettingsError("cannot provision: standard input is no JSON object") from error
    texts = isinstance(given, dict) and all(isinstance(each, str) for each in given.values())
    if not texts or any("\n" in each for each in given.values()):
        raise SettingsError("cannot provision: standard input is no JSON object of lines")
    return dict(given)


def write_settings(given: Mapping[str, str], file: Path) -> None:
    """Write the settings file, unless somebody has already.

    Raises:
        ProvisionError: this machine does not know its name, or may not write there.
    """
    if file.exists():
        return
    values = {key: value for key, value in given.items() if key not in OWN_SETTINGS and value}
    if role_id := given.get("ROLE_ID"):
        # The instance profile lets a machine write to this name alone (IAM User Guide, policy
        # variables: the aws:userid of an EC2 instance is ROLE-ID:INSTANCE-ID).
        try:
            values["MACHINE"] = f"{role_id}:{metadata.instance_id()}"
        except MetadataError as error:
            raise ProvisionError(f"cannot name this machine: {error}") from error
    head = f"# Written by user-data. All settings: /usr/share/{NAME}/defaults\n"
    try:
        lines = [settings_file.line(name, value) for name, value in values.items()]
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(file, "".join([head, *lines]).encode())
    except (OSError, ValueError) as error:
        raise ProvisionError(f"cannot write {file}: {error}") from error


def start(settings: Settings, machine: Machine) -> list[str]:
    """Start the roles, each of which is ready when this returns, and the updater, for ever.

    The updater is started even if a role is not, since the next release may be
    the one that starts. Returns why those roles that did not start did not.

    Raises:
        ProvisionError: the updater does not start; nobody would look after this machine.
    """
    failures = []
    for role in settings.roles:
        try:
            machine.enable(role)
        except AutoupdateError as error:
            failures.append(f"{settings.name}-{role} does not start: {error}")
    try:
        machine.enable("autoupdate")
    except AutoupdateError as error:
        causes = [*failures, f"{settings.name}-autoupdate does not start: {error}"]
        raise ProvisionError("; ".join(causes)) from error
    return failures


def forward_logs(given: Mapping[str, str], clock: Clock, log: Log, packages: logs.Packages) -> None:
    """Send all of the machine's log to LOG_HOST, as syslog, if there is one.

    Raises:
        ProvisionError: the machine's own log service does not start.
    """
    host, _, port = given.get("LOG_HOST", "").rpartition(":")
    failures = 0
    while host and not clock.stop_wanted:
        try:
            logs.forward(host, port, NAME, packages)
            return
        except PostponedError as error:
            failures += 1
            log.change("logs", f"cannot forward logs to {host}: {error}; tries again")
            clock.rest(pause(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
