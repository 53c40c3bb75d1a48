"""What make looks at before it builds anything: every variable, every setting, all at once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project import ROOT

EXAMPLE = "Your Name <you@example.com>"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what a fresh clone has, in which nothing is installed yet."""
    tree = tmp_path / "a fresh clone"
    for folder in ("app", "packaging", "scripts", "upstart"):
        shutil.copytree(ROOT / folder, tree / folder)
    for file in ("Makefile", "config.mk"):
        shutil.copy(ROOT / file, tree)
    return tree


def make(tree: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *words], cwd=tree,
        env={"PATH": os.environ["PATH"], "HOME": str(tree / "nobody"), **environ},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def refused(tree: Path, *words: str, **environ: str) -> list[str]:
    """Return what make says of settings, having built and installed nothing."""
    made = make(tree, *words, **environ)
    assert made.returncode != 0
    assert made.stdout == ""
    assert not (tree / "build").exists()
    assert not (tree / ".venv").exists()
    *lines, end = made.stderr.splitlines()
    assert "checked" in end
    return lines


def test_all_that_is_missing_is_told_at_once_and_the_slip_of_the_pen_named(tree: Path) -> None:
    lines = refused(tree, "deploy", "BUKCET=x")
    assert lines[0] == "make deploy: 4 settings are missing or wrong:"
    assert lines[1] == "  BUKCET is no setting; did you mean BUCKET?"
    assert lines[2].startswith("  BUCKET is not set; set it in config.mk: ")
    assert lines[3].startswith(f"  MAINTAINER is {EXAMPLE!r}; that is the example of config.mk")
    assert lines[4].startswith(f"  SIGNING_KEY is '{tree}/nobody/.ssh/id_ed25519'; there is no su")
    assert lines[4].endswith(f"ssh-keygen -t ed25519 -f {tree}/nobody/.ssh/id_ed25519")
    assert len(lines) == 5


def test_one_problem_is_one_line(tree: Path) -> None:
    assert refused(tree, "help", "VESRION=1") == [
        "make help: VESRION is no setting; did you mean VERSION?"
    ]


@pytest.mark.parametrize(
    ("words", "causes"),
    [
        (["package", "BUCKET=a..b", "REGION=Frankfurt"], ["two dots", "like us-east-1"]),
        (["package", "MAINTAINER=me", "VERSION=one"], ["MAINTAINER is 'me'", "VERSION is 'one'"]),
        (["package", "SIGNING_KEY=/nowhere/key"], ["there is no such key"]),
        (["scale", "N=many"], ["ROLE is not set", "N is 'many'; use a number"]),
        (["stack", "VPC=here", "BUCKET=releases"], ["VPC is 'here'", "SIGNING_KEY is"]),
        (["rollback", "TO=last"], ["TO is 'last'", "BUCKET is not set", "SIGNING_KEY is"]),
        (["status", "BUCKET=x"], ["BUCKET is 'x'; use 3 to 63", "SIGNING_KEY is"]),
        (["lock"], ["LOCK is not set; say make lock LOCK=app"]),
        (["lock", "LOCK=stitch"], ["LOCK is 'stitch'; use develop, app or all"]),
        (["-j4", "build", "NAME=Tiny"], ["NAME is 'Tiny'; use 2 to 20 lower-case letters"]),
        (["build/panorama", "COLOUR=red"], ["COLOUR is no setting"]),
    ],
)
def test_settings_of_a_verb_are_looked_at_before_it_builds(
    tree: Path, words: list[str], causes: list[str]
) -> None:
    said = "\n".join(refused(tree, *words))
    for cause in causes:
        assert cause in said


def test_variables_that_something_reads_are_no_slips(tree: Path) -> None:
    # Of the makefiles, of AWS, of make, of app/build.mk; a package of none is not asked for.
    words = [
        "RENDER=1",
        "AWS_PROFILE=acme",
        "SHELL=/bin/bash",
        "CXX=g++",
        "RESTARTS=3",
        "ROLES=web",
    ]
    done = make(tree, "help", *words, BUKCET="of the user's own environment")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_config_mk_sets_reaches_the_verbs(tree: Path) -> None:
    with (tree / "config.mk").open("a") as config:
        config.write("MAX_MACHINES = lots\n")
    assert "MAX_MACHINES is 'lots'" in "\n".join(refused(tree, "stack", "BUCKET=releases"))


@pytest.mark.parametrize("by", ["path", "text", "copy"])
def test_development_key_is_refused_by_deploy(tree: Path, tmp_path: Path, by: str) -> None:
    environ = {**os.environ, "NAME": "tiny", "SIGNING_KEY": ""}
    subprocess.run([tree / "packaging/trusted-keys"], env=environ, capture_output=True, check=True)
    key = tree / "build/development-key"
    copy = tmp_path / "copy"
    for suffix in ("", ".pub"):
        shutil.copy(f"{key}{suffix}", f"{copy}{suffix}")
    given = {"path": "build/development-key", "text": key.read_text(), "copy": str(copy)}[by]
    settings = {"BUCKET": "releases", "MAINTAINER": "Ann <ann@example.org>", "SIGNING_KEY": given}
    made = make(tree, "deploy", **settings)
    assert made.returncode != 0
    [line, _] = made.stderr.splitlines()
    assert "that is the development key of this checkout" in line
    assert line.endswith("make one with ssh-keygen -t ed25519 -f ~/.ssh/id_ed25519")
    assert "PRIVATE KEY" not in line
    assert [each.name for each in sorted((tree / "build").iterdir())] == [
        key.name,
        f"{key.name}.pub",
    ]
