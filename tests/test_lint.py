"""Style, types, shell scripts, units, jobs and the package: every check, in the same pytest run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

TOOLS = Path(sys.executable).parent
PACKAGING = ROOT / "packaging"

pytestmark = pytest.mark.lint


def passes(*command: str | Path, cwd: Path = ROOT) -> None:
    result = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def scripts_of(*interpreters: str) -> list[Path]:
    """Return the files of this project whose first line names one of `interpreters`."""
    first_line = re.compile(
        rb"#!\s*/(usr/)?bin/(env )?(" + "|".join(interpreters).encode() + rb")\s"
    )
    return sorted(
        path for path in files() if not path.suffix and first_line.match(path.read_bytes()[:64])
    )


def files() -> list[Path]:
    """Return what git keeps, and what it would if it were added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_python_follows_the_style() -> None:
    passes(TOOLS / "ruff", "check")


def test_python_is_formatted() -> None:
    passes(TOOLS / "ruff", "format", "--check")


def test_types_hold() -> None:
    folders = [
        "app/panorama",
        "docs/hello/hello",
        "scripts/handoff",
        "scripts/autoupdate",
        "scripts/operate",
        "scripts/develop",
        "tests",
    ]
    modules = [each for name in ("packaging", "cloud-init") for each in (ROOT / name).glob("*.py")]
    modules += scripts_of("python3")
    # Several programs in one run: each under its own name, not all as __main__.
    passes(TOOLS / "mypy", "--scripts-are-modules", *folders, *modules)


def test_every_python_script_is_checked() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for script in scripts_of("python3"):
        assert f'"{script.relative_to(ROOT)}"' in listed, "add it to ruff's extend-include"


def test_shell_scripts_pass_shellcheck() -> None:
    scripts = scripts_of("sh", "bash")
    assert len(scripts) > 5
    passes("shellcheck", *scripts)


@pytest.mark.parametrize("job", sorted(ROOT.glob("upstart/*.conf")), ids=lambda path: path.stem)
def test_scripts_in_upstart_jobs_pass_shellcheck(job: Path, tmp_path: Path) -> None:
    sections = re.findall(r"^(?:\S+ )?script\n(.*?)^end script$", job.read_text(), re.M | re.S)
    assert sections
    for section in sections:
        # Upstart runs them with sh -e. `stop` is initctl's command, not the shell's.
        (tmp_path / "section").write_text(f"#!/bin/sh -e\n{section}")
        passes("shellcheck", tmp_path / "section")


def test_units_pass_systemd_analyze(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    units = sorted((tmp_path / "usr/lib/systemd/system").iterdir())
    assert len(units) == 3
    for unit in units:
        # Their programs are not installed here; below the folder they are.
        text = unit.read_text().replace("=/usr/bin", f"={tmp_path}/usr/bin")
        # Its documentation neither.
        unit.write_text(text.replace("file:///usr/share", f"file://{tmp_path}/usr/share"))
    passes("systemd-analyze", "verify", "--recursive-errors=no", *units)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lintian leaves files in its temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.mark.usefixtures("scratch")
def test_package_passes_lintian(package: Path) -> None:
    passes("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package)


@pytest.mark.usefixtures("scratch")
def test_lintian_overrides_are_all_in_use(package: Path) -> None:
    said = subprocess.run(
        ["lintian", "--tags", "unused-override,mismatched-override", package],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == ""
