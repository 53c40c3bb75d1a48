"""Tiny executables, made by packaging/bundle in a second.

Example::

    program = Bundle(tmp_path, "1.0-1", LATE_IMPORT)
    assert program.run("late").stdout == "1.0-1\\n"
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from project import ROOT

PACKAGING = ROOT / "packaging"

# Answers each line of its input; `late` is imported when it is asked for.
ANSWERING = """\
import sys

def main():
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "path":
            print(*sys.path, flush=True)
        else:
            from hello import late
            print(late.VERSION, flush=True)
    return 0
"""


def bundle(
    folder: Path,
    version: str = "1.0-1",
    *,
    modules: dict[str, str] | None = None,
    output: str = "hello",
    **options: str,
) -> "subprocess.CompletedProcess[str]":
    """Run packaging/bundle on a package `hello` of these modules, in `folder`."""
    source = folder / "source" / "hello"
    source.mkdir(parents=True, exist_ok=True)
    files = {"__init__.py": "", "cli.py": ANSWERING, "late.py": f"VERSION = {version!r}\n"}
    for name, text in {**files, **(modules or {})}.items():
        (source / name).write_text(text)
    (folder / "none.lock").touch()
    arguments = {
        "name": "hello",
        "version": version,
        "entry": "hello.cli:main",
        "requirements": str(folder / "none.lock"),
        "source": str(source),
        "output": str(folder / output),
        "work": str(folder / "work"),
        **options,
    }
    words = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    return subprocess.run(
        [sys.executable, PACKAGING / "bundle", *words],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )


class Program:
    """A built executable and the cache folder that it is told to use."""

    def __init__(self, executable: Path, cache: Path, **environ: str) -> None:
        self.executable = executable
        self.cache = cache
        self.environ = {"PATH": "/usr/bin:/bin", "CACHE_DIR": str(cache), **environ}

    def run(self, *words: str, asked: str = "", **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run it to its end, with `asked` as its input."""
        return subprocess.run(
            [self.executable, *words],
            env=self.environ, input=asked, capture_output=True, text=True, check=False, **how,
        )  # fmt: skip

    def start(self) -> "subprocess.Popen[str]":
        """Start it, and return once it is at work."""
        process = subprocess.Popen(
            [self.executable],
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    def builds(self) -> list[str]:
        """Return the builds that are unpacked now."""
        return sorted(each.name for each in self.cache.iterdir() if each.name != ".lock")


def ask(process: "subprocess.Popen[str]", question: str = "version") -> str:
    assert process.stdin
    assert process.stdout
    print(question, file=process.stdin, flush=True)
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate()
    assert process.returncode == 0
