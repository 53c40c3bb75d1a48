"""`make bench`: measures, and prints one table.

Settings, from the environment: RESTARTS of this project's service (100), PEER_RESTARTS of each
way of gunicorn's (20), IDLE: seconds that pooled connections lie idle at most (4; a load
balancer's 60 make a run of 20 minutes, since so many generations drain at a time).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from develop.bench import boot, polls, statuses
from develop.bench.restarts import measure
from develop.bench.services import (
    Application,
    Gunicorn,
    GunicornHup,
    GunicornUsr2,
    Slipway,
    running,
)
from develop.demo.versions import ROOT, Tree
from develop.lab.root import why_not

ROUNDS = 3
HAMMER_SECONDS = 5

Row = tuple[str, str, str, str, str]
HEADER: Row = ("WHAT", "MEASURED", "PEER", "RATIO", "TO REACH")


def main() -> int:
    """Measure all, row by row. Returns the exit status."""
    name = os.environ["NAME"]
    defaults = {"RESTARTS": 100, "PEER_RESTARTS": 20, "IDLE": 4}
    counts = {each.lower(): int(os.environ.get(each) or n) for each, n in defaults.items()}
    print_row(HEADER)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as path:
        folder = Path(path)
        for row in sizes(folder, name):
            print_row(row)
        for row in polling(folder, name):
            print_row(row)
        for row in status(folder, name):
            print_row(row)
        for row in booting(folder, name):
            print_row(row)
        application = Application(folder, name)
        print_row(throughput(application))
        for row in restarting(application, **counts):
            print_row(row)
    return 0


def print_row(row: Row) -> None:
    widths = (46, 22, 36, 9)
    print("  ".join([*map(str.ljust, row, widths), row[-1]]), flush=True)


def sizes(folder: Path, name: str) -> Iterator[Row]:
    """Yield what is built, and how long that takes."""
    key = folder / "build-key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]
    subprocess.run([*keygen, str(key)], check=True)
    variables = {"NAME": name, "VERSION": "1.0-1", "BUCKET": "", "SIGNING_KEY": str(key)}
    tree = Tree.copy(folder / "tree", variables, dict(os.environ))
    tree.make("package")

    def seconds() -> float:
        began = time.monotonic()
        tree.make("package")
        return time.monotonic() - began

    unchanged = min(seconds() for _ in range(ROUNDS))
    (tree.path / "app/panorama/web.py").touch()
    changed = seconds()
    executable = (tree.path / "build" / name).stat().st_size / 1e6
    package = (tree.path / "build" / f"{name}-server.deb").stat().st_size / 1e6
    yield ("the executable", f"{executable:.2f} MB", "the article's in Go: 1.6 MB",
           f"{executable / 1.6:.2f}", "1.6 MB")  # fmt: skip
    yield ("the package, with the helper", f"{package:.2f} MB", "", "", "4.5 MB")
    yield ("make package, nothing changed", f"{unchanged:.2f} s", "", "", "0.5 s")
    yield ("make package, one file changed", f"{changed:.1f} s", "", "", "10 s")


def polling(folder: Path, name: str) -> Iterator[Row]:
    updater, cli = polls.measure(folder, name)
    yield ("CPU of one look at the bucket", f"{updater.cpu_seconds * 1e3:.2f} ms",
           f"aws s3api head-object: {cli.cpu_seconds * 1e3:.0f} ms",
           f"1/{cli.cpu_seconds / updater.cpu_seconds:.0f}", "1/300")  # fmt: skip
    yield ("the updater's memory", f"{updater.memory_bytes / 1e6:.1f} MB",
           f"aws s3api: {cli.memory_bytes / 1e6:.0f} MB",
           f"{updater.memory_bytes / cli.memory_bytes:.2f}", "35 MB")  # fmt: skip


def status(folder: Path, name: str) -> Iterator[Row]:
    """Yield how long `make status` takes; the peer's time is of 20 reports, scaled."""
    times = statuses.measure(folder, name)
    rows = {f"{count:,} reports": (count, ours) for count, ours in times.alike.items()}
    rows[f"{statuses.DIFFERENT:,} reports, each different"] = (statuses.DIFFERENT, times.different)
    for what, (count, ours) in rows.items():
        cli = times.cli * count
        yield (f"make status, {what}", f"{ours:.1f} s", f"aws s3api for each: {cli:.0f} s (scaled)",
               f"1/{cli / ours:.0f}", "5 s" if count == max(statuses.COUNTS) else "")  # fmt: skip


def booting(folder: Path, name: str) -> Iterator[Row]:
    what = "user-data starts, until the first 200"
    reason = why_not()
    if reason:
        yield (what, "left out", f"boots real machines; {reason}", "", "10 s")
        return
    times = boot.measure(folder, name)
    yield (what, f"{times.ours:.1f} s", f"the article's way: {times.article:.1f} s",
           f"{times.ours / times.article:.2f}", "10 s")  # fmt: skip
    slowest = max(times.updates)
    yield ("published, until it is served", f"{slowest:.1f} s",
           f"the slowest of {len(times.updates)}; INTERVAL 10 s", f"{slowest / 10:.2f}",
           "13 s")  # fmt: skip


def throughput(application: Application) -> Row:
    """Compare the executable with plain gunicorn on the same application, in turns."""
    best: Counter[str] = Counter()
    for _ in range(ROUNDS):
        for kind in (Slipway, Gunicorn):
            with running(kind, application) as service:
                command = [sys.executable, "-m", "develop.bench.hammer", str(service.port)]
                said = subprocess.run(
                    [*command, str(HAMMER_SECONDS)], cwd=ROOT / "scripts",
                    stdout=subprocess.PIPE, text=True, check=True,
                ).stdout  # fmt: skip
                answers = int(said) / HAMMER_SECONDS
                best[kind.__name__] = max(best[kind.__name__], int(answers))
    ours, peer = best["Slipway"], best["Gunicorn"]
    return ("answers a second", f"{ours}", f"gunicorn from the sources: {peer}",
            f"{ours / peer:.2f}", "0.98")  # fmt: skip


def restarting(
    application: Application, restarts: int, peer_restarts: int, idle: int
) -> Iterator[Row]:
    ours = measure(Slipway, application, restarts, idle)
    yield (f"lost in {ours.restarts} restarts, of {ours.sent:,} requests", str(len(ours.lost)),
           "", "", "0")  # fmt: skip
    yield ("p99 while it restarts", f"{ours.restart_p99 * 1e3:.1f} ms",
           f"steady: {ours.steady_p99 * 1e3:.1f} ms", f"{ours.restart_p99 / ours.steady_p99:.2f}",
           "2")  # fmt: skip
    yield ("process ID after them", "the same" if ours.same_pid else "another", "", "", "the same")
    yield ("memory after them", f"{ours.descriptors_more:+} descriptors", "after 5 restarts",
           f"{ours.memory_growth:.2f}", "1")  # fmt: skip
    for kind, signal in ((GunicornHup, "HUP"), (GunicornUsr2, "USR2, then TERM")):
        peer = measure(kind, application, peer_restarts, idle)
        yield (f"gunicorn {signal}: lost in {peer.restarts}", str(len(peer.lost)),
               f"of {peer.sent:,}, p99 {peer.restart_p99 * 1e3:.0f} ms",
               f"{peer.restart_p99 / peer.steady_p99:.2f}",
               "" if peer.same_pid else "(another process ID)")  # fmt: skip
