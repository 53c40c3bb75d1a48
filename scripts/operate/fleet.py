#!/usr/bin/env python3
"""usage: fleet status
       fleet machines
       fleet scale ROLE N

status    prints what every machine reported, as a table, and the release in the bucket
machines  prints the machines of the stack's groups, and what each serves
scale     gives the group of ROLE (web or vision) N machines; it ends machines gracefully

settings (config.mk): NAME, BUCKET, REGION, CHANNEL, SIGNING_KEY
exit status: 0 done; of status: all machines are on the release in the bucket and healthy,
1 not done, 2 usage, 3 some machine is not, or none reported
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operate import groups, publishing
from operate.publishing import Channel, Published, PublishError
from operate.reports import Report, read_reports

EXIT_NOT_ALL = 3


def main(words: list[str]) -> int:
    if words == ["--help"]:
        print(__doc__, end="")
        return publishing.EXIT_DONE
    command = COMMANDS.get(words[0] if words else "")
    if command is None or len(words) != 1 + command.arguments:
        print(__doc__, end="", file=sys.stderr)
        return publishing.EXIT_USAGE
    try:
        return command.run(Channel.from_environ(os.environ), *words[1:])
    except PublishError as error:
        print(f"fleet: cannot {command.verb}: {error}", file=sys.stderr)
        return error.exit_status


def status(channel: Channel) -> int:
    current = publishing.current(channel)
    reports = sorted(read_reports(channel), key=lambda report: report.machine)
    rows = [("MACHINE", "STATE", "VERSION", "SEQUENCE", "ROLES", "SEEN")]
    for report in reports:
        state = "silent" if report.silent else report.state
        rows.append(
            (report.machine, state, report.version, report.sequence, report.roles, report.seen)
        )
    print_table(rows, ["", *(report.error for report in reports)])
    on_it = [report for report in reports if is_current(report, current)]
    release = (
        f"{current.release.version} (sequence {current.release.sequence})" if current else "none"
    )
    print(f"{len(on_it)} of {len(reports)} machines are on the release in the bucket: {release}")
    return publishing.EXIT_DONE if reports and len(on_it) == len(reports) else EXIT_NOT_ALL


def is_current(report: Report, current: Published | None) -> bool:
    return (
        current is not None
        and not report.silent
        and report.state == "current"
        and report.sequence == str(current.release.sequence)
        and report.healthy
    )


def machines(channel: Channel) -> int:
    found = groups_of(channel, groups.ROLES)
    known = {each.id for group in found for each in group.instances}
    reports = {report.machine: report for report in read_reports(channel, known)}
    rows = [("MACHINE", "GROUP", "STATE", "HEALTH", "ADDRESS", "SERVES", "SEEN")]
    for group in found:
        for each in group.instances:
            report = reports.get(each.id)
            said = (report.roles, report.seen) if report else ("-", "never")
            rows.append((each.id, group.name, each.state, each.health, each.address or "-", *said))
    print_table(rows, [""] * len(rows))
    for group in found:
        in_service = sum(each.state == "InService" for each in group.instances)
        print(f"{group.name}: {in_service} in service, {group.desired} wanted")
    return publishing.EXIT_DONE


def scale(channel: Channel, role: str, count: str) -> int:
    if role not in groups.ROLES:
        raise PublishError(f"ROLE is {role!r}, not web or vision; say make scale ROLE=web N=2")
    if not (count.isascii() and count.isdecimal()):
        raise PublishError(f"N is {count!r}, not a number; say make scale ROLE=web N=2")
    [group] = groups_of(channel, [role])
    groups.scale(group, int(count))
    print(f"{group.name}: {group.desired} machines, {count} wanted; make machines shows them")
    return publishing.EXIT_DONE


def groups_of(channel: Channel, roles: Sequence[str]) -> list[groups.Group]:
    names = [f"{channel.name}-{role}" for role in roles]
    found = groups.describe(*names)
    if len(found) < len(names):
        raise PublishError(f"there is no group {' or '.join(names)}; make stack makes them")
    return found


def print_table(rows: Sequence[tuple[str, ...]], remarks: Sequence[str]) -> None:
    """Print `rows` in columns, and below each its remark, if it has one."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row, remark in zip(rows, remarks, strict=True):
        print("  ".join(map(str.ljust, row, widths)).rstrip())
        if remark:
            print(f"  {remark}")


@dataclass(frozen=True)
class Command:
    """What one word on the command line does."""

    verb: str  # for "cannot ..."
    run: Callable[..., int]
    arguments: int  # how many words it takes


COMMANDS = {
    "status": Command("tell the status", status, 0),
    "machines": Command("list the machines", machines, 0),
    "scale": Command("scale", scale, 2),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
