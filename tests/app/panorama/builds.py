"""Builds of the service: the one that `make build` made, unpacked, and others with a few edits.

Example::

    edits = {"web.py": ("a text", "another")}
    edited(tmp_path, "1.0-2", edits)  # an executable, as packaging/bundle makes it
    edited_unpacked(tmp_path, "1.0-2", edits)  # the same program at a third of the cost
"""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from project import BUILD, NAME, ROOT

# File of app/panorama -> a text that is in it once, what becomes of the text.
Edits: TypeAlias = Mapping[str, tuple[str, str]]

# Starts a build that lies unpacked, as a supervisor does that becomes one (packaging/bootstrap.py).
LAUNCHER = """\
#!/bin/sh
export SLIPWAY_EXECUTABLE="$0"
exec /usr/bin/python3 -IS '{folder}/__main__.py' "$@"
"""


@functools.cache
def unpacked() -> "tempfile.TemporaryDirectory[str]":
    """Return a cache folder, to copy from, in which what is built has unpacked itself.

    It holds bytecode too: without it each test would pay for the first start after a deploy.
    """
    cache = tempfile.TemporaryDirectory(prefix="unpacked-")
    folders = dict.fromkeys(("CACHE_DIR", "RUNTIME_DIR", "STATE_DIR"), cache.name)
    environ = {"PATH": os.environ["PATH"], "SETTINGS_FILE": os.devnull, **folders}
    # It imports every module, and writes to the cache alone.
    subprocess.run([BUILD / NAME, "check"], env=environ, stdout=subprocess.DEVNULL, check=True)
    return cache


def edited(folder: Path, version: str, edits: Edits) -> Path:
    """Return an executable of the service with `edits`, made in `folder`."""
    source = folder / f"source-{version}"
    for package in ("app/panorama", "scripts/handoff"):
        shutil.copytree(ROOT / package, source / Path(package).name)
    _edit(source, edits)
    output = folder / f"build-{version}"
    subprocess.run(
        [sys.executable, ROOT / "packaging/bundle", "--name", NAME, "--version", version,
         "--entry", "panorama.cli:main", "--requirements", ROOT / "app/requirements.lock",
         "--source", source / "panorama", "--source", source / "handoff",
         "--output", output, "--work", BUILD],
        check=True,
    )  # fmt: skip
    return output


def edited_unpacked(folder: Path, version: str, edits: Edits) -> Path:
    """Return an executable like that of `edited`, which finds its program unpacked already."""
    (about,) = Path(unpacked().name).glob("*/build.json")
    program = folder / f"unpacked-{version}"
    shutil.copytree(about.parent, program)
    build = {**json.loads(about.read_text()), "version": version}
    (program / about.name).write_text(json.dumps(build))
    _edit(program, edits)
    launcher = folder / f"launcher-{version}"
    launcher.write_text(LAUNCHER.format(folder=program))
    launcher.chmod(0o755)
    return launcher


def _edit(source: Path, edits: Edits) -> None:
    for name, (before, after) in edits.items():
        file = source / "panorama" / name
        text = file.read_text()
        assert text.count(before) == 1, f"{before!r} in {name}"
        file.write_text(text.replace(before, after))
        # It is told from that of another text by length and second alone.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
