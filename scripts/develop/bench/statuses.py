"""How long `make status` takes, by the number of reports, beside the AWS CLI's way.

The reports are composed by the updater's own code: most machines stand alike,
2 % have failed, each with an error of its own. The server is moto, on this
computer: it takes more time for a request than S3 does, and its network none.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoupdate.machine.role_status import RoleStatus
from autoupdate.report.report import Standing, compose
from develop.localcloud import LocalCloud

BUCKET = "bench-status"
COUNTS = (200, 2_000, 10_000)
# Every report differs: each has to be read.
DIFFERENT = 2_000
FAILING = 50  # one of so many
CLI_RUNS = 20

ROOT = Path(__file__).resolve().parents[3]
ROLE_ID = "AROAEXAMPLEEXAMPLE"


@dataclass(frozen=True)
class Times:
    """Seconds."""

    alike: dict[int, float]  # by the number of reports
    different: float  # of DIFFERENT reports
    cli: float  # of one report by the AWS CLI


def measure(folder: Path, name: str) -> Times:
    """Write reports into a bucket, and read them by `make status`."""
    key = folder / "status-key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(key)]
    subprocess.run(keygen, check=True)
    with LocalCloud(BUCKET) as cloud:
        own = {each: text for each, text in os.environ.items() if each != "MAKEFLAGS"}
        environ = {**own, **cloud.environ, "NAME": name, "BUCKET": BUCKET,
                   "CHANNEL": "stable", "SIGNING_KEY": str(key)}  # fmt: skip
        alike = {}
        written = 0
        for count in COUNTS:
            _write(cloud, range(written, count))
            written = count
            alike[count] = _status(environ)
        cli = _cli(environ) / CLI_RUNS
    with LocalCloud(BUCKET) as cloud:
        _write(cloud, range(DIFFERENT), each_differs=True)
        different = _status({**environ, **cloud.environ})
    return Times(alike, different, cli)


def _write(cloud: LocalCloud, numbers: range, *, each_differs: bool = False) -> None:
    s3 = cloud.client("s3")

    def write(number: int) -> None:
        fails = each_differs or number % FAILING == 0
        body = _failed(number) if fails else _current()
        s3.put_object(Bucket=BUCKET, Key=_key(number), Body=body)

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(write, numbers):
            pass


def _key(number: int) -> str:
    # As EC2 numbers instances: without order.
    return f"fleet/{ROLE_ID}:i-{number * 2_654_435_761 % 2**68:017x}.json"


def _current() -> bytes:
    standing = Standing(
        "current", version="1.0-57", sequence=57, offered="1.0-57", offered_sequence=57
    )
    return compose(standing, {"web": _role("1.0-57")})


def _failed(number: int) -> bytes:
    error = f"1.0-57 not ready within 180 s: web: cannot bind 10.0.{number >> 8}.{number & 255}"
    standing = Standing(
        "undone", error, version="1.0-56", sequence=56, offered="1.0-57", offered_sequence=57
    )
    return compose(standing, {"web": _role("1.0-56")})


def _role(version: str) -> RoleStatus:
    return RoleStatus(pid=1234, version=version, state="ready", since="", error="", owner=0)


def _status(environ: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--silent", "status"], cwd=ROOT, env=environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    # Some machine is not on the release in the bucket, for there is none: it fails and says so.
    if "machines are on the release in the bucket: none" not in done.stdout:
        raise subprocess.SubprocessError(f"make status: {done.stderr}")
    return seconds


def _cli(environ: dict[str, str]) -> float:
    """Read CLI_RUNS reports as the earlier `make status` did all: a process each."""
    # Its script names its interpreter without quotes: a path with a space would be none.
    aws = (sys.executable, "-m", "awscli")
    began = time.monotonic()
    for number in range(CLI_RUNS):
        command = [
            *aws,
            "s3api",
            "get-object",
            "--bucket",
            BUCKET,
            "--key",
            _key(number),
            os.devnull,
        ]
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began
