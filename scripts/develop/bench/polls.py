"""What looking at the bucket costs: the updater beside the article's loop around the AWS CLI."""

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from develop.demo.machine import Machine
from develop.demo.processes import wait_for
from develop.localcloud import LocalCloud

BUCKET = "bench"
INTERVAL_SECONDS = 0.1
POLLING_SECONDS = 20
CLI_RUNS = 5


@dataclass(frozen=True)
class Cost:
    cpu_seconds: float  # of one poll
    memory_bytes: float  # resident


def measure(folder: Path, name: str) -> tuple[Cost, Cost]:
    """Return what a poll costs the updater, and what it costs `aws s3api head-object`."""
    with LocalCloud(BUCKET) as cloud:
        key = folder / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key], check=True
        )
        settings = [f"BUCKET={BUCKET}", f"SIGNING_KEY={key}", f"NAME={name}", "CHANNEL=stable",
                    "MAINTAINER=Bench <bench@example.org>"]  # fmt: skip
        environ = {each: text for each, text in os.environ.items() if each != "MAKEFLAGS"}
        root = Path(__file__).resolve().parents[3]
        subprocess.run(
            ["make", "--silent", "deploy", *settings],
            cwd=root, env={**environ, **cloud.environ}, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        updater = _updater(folder, name, key, cloud)
        cli = _cli(name, {**environ, **cloud.environ})
    return updater, cli


def _updater(folder: Path, name: str, key: Path, cloud: LocalCloud) -> Cost:
    machine = Machine(folder / "machine", "bench", "web", name)
    trusted = f"{name}-release {key.with_suffix('.pub').read_text()}"
    machine.provision({"BUCKET": BUCKET, "INTERVAL": str(INTERVAL_SECONDS)}, trusted)
    root = Path(__file__).resolve().parents[3]
    process = machine.start_updater(
        root / "build" / f"{name}-autoupdate", {"PATH": os.environ["PATH"], **cloud.environ}
    )
    try:
        wait_for(
            lambda: "installed, no role" in machine.log.read_text(), "an update", 120, machine.log
        )
        time.sleep(3)  # it becomes the installed updater
        polls, cpu = cloud.requests("HEAD"), _cpu_seconds(process.pid)
        time.sleep(POLLING_SECONDS)
        polls, cpu = cloud.requests("HEAD") - polls, _cpu_seconds(process.pid) - cpu
        status = Path(f"/proc/{process.pid}/status").read_text()
        return Cost(cpu / polls, int(status.split("VmRSS:")[1].split()[0]) * 1024)
    finally:
        machine.stop()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # proc(5): utime and stime are fields 14 and 15, the state is 3.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Runs its arguments and prints the kilobytes that they took at most.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _cli(name: str, environ: dict[str, str]) -> Cost:
    # Its script names its interpreter without quotes: a path with a space would be none.
    aws = (sys.executable, "-m", "awscli")
    key = f"stable/{name}-server.deb"
    command = [*aws, "s3api", "head-object", "--bucket", BUCKET, "--key", key]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(CLI_RUNS):
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = subprocess.run(
        [sys.executable, "-c", _PEAK, *command],
        env=environ, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Cost(cpu / CLI_RUNS, int(peak.stdout) * 1024)
