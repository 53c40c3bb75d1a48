"""Runs the helper `stitch`, which reads strangers' pictures, in a bounded process of its own."""

import os
import re
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from handoff.children import end_with_parent
from panorama.build_info import NAME
from panorama.settings import Settings

TICK_SECONDS = 1.0

# A panorama of MAX_PHOTOS photos stays far below; a helper gone wild does not.
MAX_FILE_BYTES = 512 << 20
MAX_OPEN_FILES = 128
MAX_MESSAGE_BYTES = 2000
NICE = 5  # web answers first


class StitchError(Exception):
    """The helper made no panorama; the message is for the uploader."""


class HelperMissingError(Exception):
    """The helper cannot be run at all; the message is for the operator."""


def find_helper(settings: Settings) -> Path:
    """Return the helper's path: by setting, beside the executable, or where it is installed.

    Raises:
        HelperMissingError: it is in none of these places.
    """
    beside = Path(sys.argv[0]).absolute().parent
    places = [beside / "stitch", beside.parent / "lib" / NAME / "stitch"]
    if settings.stitch:
        places = [Path(settings.stitch)]
    for place in places:
        if os.access(place, os.X_OK) and place.is_file():
            return place
    tried = " or ".join(map(str, places))
    raise HelperMissingError(f"the helper is not at {tried}; set STITCH to its path")


def check_helper(settings: Settings) -> str:
    """Run the helper's --version under its limits. Returns what it says.

    Raises:
        HelperMissingError: it is not there, or does not run here.
    """
    helper = find_helper(settings)
    try:
        result = subprocess.run(
            [helper, "--version"],
            capture_output=True,
            text=True,
            timeout=settings.stitch_seconds,
            check=True,
            preexec_fn=partial(_limit, settings, os.getpid()),  # no threads in vision
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise HelperMissingError(f"{helper} does not run: {said[-1] if said else error}") from error
    return f"{helper}: {result.stdout.strip()}"


def stitch(
    settings: Settings, folder: Path, photos: list[str], output: str, tick: Callable[[str], None]
) -> tuple[int, int]:
    """Make `output` of `photos`, all names in `folder`. Returns width and height in pixels.

    Args:
        tick: called with the helper's stage whenever it begins one, and about once a second.

    Raises:
        StitchError: no panorama can be made of these photos within the limits.
        HelperMissingError: the helper does not run.
    """
    helper = find_helper(settings)
    with (folder / "stderr").open("wb") as errors:
        try:
            process = subprocess.Popen(
                [helper, output, *photos],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=partial(_limit, settings, os.getpid()),  # noqa: PLW1509  # no threads in vision
            )
        except OSError as error:
            raise HelperMissingError(f"{helper} does not run: {error.strerror}") from error
    with process:
        try:
            last_line = _follow(process.stdout, settings.stitch_seconds, tick)
            process.wait(TICK_SECONDS)
        except subprocess.TimeoutExpired:
            raise StitchError("the stitching came to no end; try fewer or smaller photos") from None
        finally:
            process.kill()
    size = re.fullmatch(r"done (\d+)x(\d+)", last_line)
    if process.returncode == 0 and size:
        return int(size[1]), int(size[2])
    raise StitchError(_explain(process.returncode, folder / "stderr"))


def _follow(output: IO[bytes] | None, seconds: int, tick: Callable[[str], None]) -> str:
    """Pass the helper's stages to `tick` until it closes its output. Returns its last line."""
    if output is None:
        raise ValueError("the helper was started without a pipe")
    deadline = time.monotonic() + seconds
    stage, unread = "", b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if selector.select(TICK_SECONDS):
                data = os.read(output.fileno(), 4096)
                if not data:
                    return stage
                *lines, unread = (unread + data)[-MAX_MESSAGE_BYTES:].split(b"\n")
                stage = lines[-1].decode(errors="replace") if lines else stage
            if time.monotonic() > deadline:
                raise StitchError(
                    f"stitching took longer than {seconds} s; try fewer or smaller photos"
                )
            tick(stage)


def _explain(status: int, errors: Path) -> str:
    """Return for the uploader why the helper ended with `status`."""
    said = errors.read_bytes()[:MAX_MESSAGE_BYTES].decode(errors="replace").strip()
    if status > 0 and said.startswith("stitch: "):
        return said.splitlines()[-1].removeprefix("stitch: ")
    return "stitching needs more time or memory than one job may have; try fewer or smaller photos"


def _limit(settings: Settings, parent_pid: int) -> None:
    """In the forked child: bound what the helper may use, and tie its life to ours."""
    end_with_parent(parent_pid)
    os.nice(NICE)
    memory = settings.stitch_memory_mb << 20
    for limit, bound in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, settings.stitch_seconds * (os.cpu_count() or 1)),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        wanted = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(limit, (wanted, wanted))
