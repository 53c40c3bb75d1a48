"""Which dependencies of a new package are missing: what apt-get would be asked for."""

import io
import subprocess
from pathlib import Path

import pytest
from clocks import PatientClock

from autoupdate.log import Log
from autoupdate.machine import dependencies
from autoupdate.machine.dpkg import Dpkg

INSTALLED = {"python3": "3.11.2-1", "libtbb12": "2021.8.0-2", "openssh-client": "1:9.2p1-2"}


@pytest.fixture
def dpkg(tmp_path: Path) -> Dpkg:
    """Make a dpkg root in which INSTALLED are installed, and one package is removed."""
    database = tmp_path / "var/lib/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "updates").mkdir()
    stanza = (
        "Package: {}\nStatus: {}\nArchitecture: all\nVersion: {}\nMaintainer: Ann <a@example.org>\n"
        "Description: made for a test\n\n"
    )
    rows = [stanza.format(name, "install ok installed", each) for name, each in INSTALLED.items()]
    rows.append(stanza.format("removed", "deinstall ok config-files", "1.0"))
    (database / "status").write_text("".join(rows))
    subprocess.run(["dpkg-query", f"--admindir={database}", "-W"], check=True, capture_output=True)
    log = Log("autoupdate", io.StringIO())
    return Dpkg(tmp_path, PatientClock(), log, lock_seconds=1, install_seconds=60)


@pytest.mark.parametrize(
    ("depends", "unmet"),
    [
        ("", []),
        ("python3", []),
        ("python3 (>= 3.10), openssh-client, libtbb12 (>= 2021.8)", []),
        ("python3:any (>= 3.10~)", []),
        ("python3 (>= 3.12)", ["python3 (>= 3.12)"]),
        ("libtbb13, python3", ["libtbb13"]),
        ("libtbb13 | libtbb12 (>= 2021.4.0)", []),
        ("libtbb13 | libtbb12 (>= 2022)", ["libtbb13 | libtbb12 (>= 2022)"]),
        ("removed", ["removed"]),
        ("openssh-client (<< 1:9)", ["openssh-client (<< 1:9)"]),
        ("python3 (= 3.11.2-1)", []),
    ],
)
def test_clause_that_nothing_installed_meets_is_named(
    dpkg: Dpkg, depends: str, unmet: list[str]
) -> None:
    assert dependencies.unmet(depends, dpkg) == unmet
