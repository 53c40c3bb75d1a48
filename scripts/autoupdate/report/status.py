"""`status`: what the updater's own files say, for people. Asks no network."""

from autoupdate.journal.state import State
from autoupdate.log import one_line
from autoupdate.machine.machine import Machine
from autoupdate.release.format import Release
from autoupdate.settings import Settings


def table(settings: Settings, state: State, machine: Machine) -> str:
    """Return lines of `subject   what is known of it`."""
    rows = [
        ("machine", settings.machine),
        ("follows", f"s3://{settings.bucket}/{settings.release_key}"),
        ("installed", machine.installed_version() or "nothing"),
        ("good", _release(state.last_good)),
        ("accepted", _release(state.accepted_in(settings.channel))),
    ]
    if state.journal:
        rows.append(("under way", f"{state.journal.step.value} {_release(state.journal.release)}"))
    if state.condition:
        rows.append(("waiting", f"since {state.condition_since}: {state.condition}"))
    if settings.hold_file.exists():
        rows.append(("hold", f"{settings.hold_file} stops updates"))
    for name, status in machine.role_statuses().items():
        if status is None:
            rows.append((name, "not running"))
        else:
            error = f": {status.error}" if status.error else ""
            rows.append((name, f"{status.version} {status.state} since {status.since}{error}"))
    rows += [("refused", f"{each.time} {each.reason}") for each in state.refused]
    width = max(len(subject) for subject, _ in rows)
    return "".join(f"{subject:{width}}  {one_line(text)}\n" for subject, text in rows)


def _release(release: Release | None) -> str:
    if release is None:
        return "none"
    return f"{release.version} (sequence {release.sequence}, published {release.published})"
