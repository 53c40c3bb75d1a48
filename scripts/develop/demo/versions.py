"""The three versions that the demo publishes, each built from a tree of its own by make."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from develop.demo.processes import DemoError

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Edit:
    """One commit of the story: a text in a file that becomes another."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before!r} becomes {self.after!r}"

    def apply(self, tree: Path) -> None:
        file = tree / self.path
        text = file.read_text()
        if text.count(self.before) != 1:
            raise DemoError(f"{self.path} does not hold {self.before!r} exactly once")
        file.write_text(text.replace(self.before, self.after))


@dataclass(frozen=True)
class Tree:
    """A copy of this repository, to change and build without touching the original."""

    path: Path
    variables: Mapping[str, str]  # of config.mk and VERSION, given on make's command line
    environ: Mapping[str, str]

    @classmethod
    def copy(cls, path: Path, variables: Mapping[str, str], environ: Mapping[str, str]) -> "Tree":
        ignore = shutil.ignore_patterns(
            ".git", ".venv", "demo-*", "__pycache__", "*.deb", "machines"
        )
        # Times are kept: make builds only what a version changes.
        shutil.copytree(ROOT, path, ignore=ignore, symlinks=True)
        (path / ".venv").symlink_to(ROOT / ".venv")
        return cls(path, variables, environ)

    def make(self, target: str) -> None:
        """Run one make target in this tree.

        Raises:
            DemoError: it failed; the message holds its last lines.
        """
        # Its own make, not a part of the one that runs the demo.
        environ = {name: text for name, text in self.environ.items() if name != "MAKEFLAGS"}
        result = subprocess.run(
            ["make", target, *(f"{name}={text}" for name, text in self.variables.items())],
            cwd=self.path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode:
            tail = "\n  ".join(result.stdout.splitlines()[-12:])
            raise DemoError(f"make {target} failed in {self.path.name}:\n  {tail}")

    def size(self, name: str) -> str:
        """Return the size of build/`name` in megabytes."""
        return f"{(self.path / 'build' / name).stat().st_size / 1e6:.1f} MB"
