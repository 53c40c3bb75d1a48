"""The desk's program: one table of verbs, each with its help, its settings and its exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

VERBS = ["deploy", "rollback", "releases", "status", "machines", "scale", "stack", "userdata"]


def operate(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "operate", *words], cwd=ROOT / "scripts",
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environ},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_lists_every_verb() -> None:
    told = operate("--help")
    assert told.returncode == 0
    assert re.findall(r"^    ([a-z]+)", told.stdout, re.M) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_help_with_settings_and_exit_status_and_refuses_wrong_usage(verb: str) -> None:
    told = operate(verb, "--help")
    assert told.returncode == 0
    assert told.stdout.startswith(f"usage: operate {verb} ")
    assert "\n  NAME  " in told.stdout
    assert "\nexit status: 0 " in told.stdout
    wrong = operate(verb, "--nothing")
    assert (wrong.returncode, wrong.stdout) == (2, "")


@pytest.mark.parametrize("words", [[], ["fly"], ["deploy"], ["status", "web-1"]])
def test_wrong_usage_is_exit_status_2(words: list[str]) -> None:
    assert operate(*words).returncode == 2


def test_file_that_cannot_be_written_is_one_line(signing_key: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    key = {"SIGNING_KEY": str(signing_key)}
    output = str(tmp_path / "file" / "user-data")
    made = operate("userdata", "--output", output, NAME="tiny", BUCKET="releases", **key)
    assert made.returncode == 1
    [line] = made.stderr.splitlines()
    assert line.startswith("userdata: cannot render user-data: /")
