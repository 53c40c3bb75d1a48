"""The desk's tables: releases, reports, machines. What they show was read before."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from autoupdate.release.format import Release
from operate.groups import Group
from operate.publish import Published
from operate.reports import Report

# More than a person reads line by line: beyond it, machines that stand alike share a line.
MOST_ROWS = 50

Row = tuple[str, ...]


def releases(history: Iterable[Published]) -> Iterator[str]:
    """Yield a line for each release that the bucket keeps."""
    for each in history:
        release = each.release
        yield f"{release.sequence:>5}  {release.published}  {release.version}  {release.commit}"


def status(reports: Sequence[Report], current: Release | None) -> Iterator[str]:
    """Yield the lines of `make status`."""
    if len(reports) <= MOST_ROWS:
        yield from _one_by_one(reports)
    else:
        yield from _alike(reports)
        elsewhere = [report for report in reports if not report.is_on(current)]
        if elsewhere:
            yield from ["", "not on the release, or not well:"]
            yield from _one_by_one(elsewhere[:MOST_ROWS])
            yield from _more(len(elsewhere) - MOST_ROWS, "machines")
    on_it = sum(report.is_on(current) for report in reports)
    release = f"{current.version} (sequence {current.sequence})" if current else "none"
    yield f"{on_it} of {len(reports)} machines are on the release in the bucket: {release}"


def machines(groups: Sequence[Group], reports: Iterable[Report]) -> Iterator[str]:
    """Yield the lines of `make machines`."""
    by_machine = {report.machine: report for report in reports}
    rows: list[Row] = [("MACHINE", "GROUP", "STATE", "HEALTH", "ADDRESS", "SERVES", "SEEN")]
    for group in groups:
        for each in group.instances:
            report = by_machine.get(each.id)
            said = (report.standing.roles, ago(report.seen_seconds)) if report else ("-", "never")
            rows.append((each.id, group.name, each.state, each.health, each.address or "-", *said))
    yield from _columns(rows)
    for group in groups:
        in_service = sum(each.state == "InService" for each in group.instances)
        yield f"{group.name}: {in_service} in service, {group.desired} wanted"


def ago(seconds: float) -> str:
    """Return a time for people."""
    if seconds == float("inf"):
        return "?"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if size * 2 <= seconds:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _one_by_one(reports: Sequence[Report]) -> Iterator[str]:
    rows: list[Row] = [("MACHINE", "STATE", "VERSION", "SEQUENCE", "ROLES", "SEEN")]
    rows += [(report.machine, *_stands(report), ago(report.seen_seconds)) for report in reports]
    remarks = ["", *(report.standing.error for report in reports)]
    for line, remark in zip(_columns(rows), remarks, strict=True):
        yield line
        if remark:
            yield f"  {remark}"


def _alike(reports: Sequence[Report]) -> Iterator[str]:
    """Yield a line for each way of standing, the most frequent first."""
    kinds: dict[Row, list[float]] = defaultdict(list)
    for report in reports:
        kinds[_stands(report)].append(report.seen_seconds)
    rows: list[Row] = [("MACHINES", "STATE", "VERSION", "SEQUENCE", "ROLES", "SEEN")]
    by_number = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    for stands, seen in by_number[:MOST_ROWS]:
        youngest, oldest = ago(min(seen)), ago(max(seen))
        span = youngest if youngest == oldest else f"{youngest} to {oldest}"
        rows.append((f"{len(seen):>8}", *stands, span))
    yield from _columns(rows)
    yield from _more(len(by_number) - MOST_ROWS, "ways to stand")


def _stands(report: Report) -> Row:
    standing = report.standing
    return (report.state, standing.version, standing.sequence, standing.roles)


def _more(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"and {count} more {what}"


def _columns(rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
