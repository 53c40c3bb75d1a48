"""make userdata, and what it renders: small, the same each time, with all that it needs."""

import ast
import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT


def userdata(
    output: Path, key: Path, project: Path = ROOT, /, **environ: str
) -> "subprocess.CompletedProcess[str]":
    inherited = {name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}}
    settings = {"NAME": "tiny", "BUCKET": "releases", "SIGNING_KEY": str(key)}
    return subprocess.run(
        [sys.executable, "-m", "operate", "userdata", "--output", output], cwd=project / "scripts",
        env={**inherited, **settings, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_user_data_is_small_the_same_each_time_and_shows_what_it_runs(
    tmp_path: Path, signing_key: Path
) -> None:
    for name in ("one", "two"):
        made = userdata(tmp_path / name, signing_key, ROLES="web", LOG_HOST="logs.example.org:514")
        assert made.returncode == 0, made.stderr
    text = (tmp_path / "one").read_text()
    assert text == (tmp_path / "two").read_text()
    assert len(text.encode()) < 16384
    assert text.startswith("#!/usr/bin/python3\n")
    assert signing_key.with_suffix(".pub").read_text().split()[1] in text
    shown = [sys.executable, str(tmp_path / "one"), "--show", str(tmp_path / "shown")]
    subprocess.run(shown, check=True)
    shown_program = ast.parse((tmp_path / "shown/firstboot.py").read_text())
    program = ast.parse((ROOT / "cloud-init/firstboot.py").read_text())
    assert names_of(shown_program) == names_of(program)


def names_of(program: ast.Module) -> list[str]:
    return [each.name for each in program.body if isinstance(each, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"BUCKET": ""}, "BUCKET is not set"),
        ({"BUCKET": "s3://releases"}, "BUCKET is 's3://releases'; use"),
        ({"SIGNING_KEY": ""}, "SIGNING_KEY is not set"),
        ({"SIGNING_KEY": __file__.removesuffix(".py")}, "there is no such key"),
        ({"ROLES": "web; reboot"}, "ROLES is"),
        ({"LOG_HOST": "no port"}, "LOG_HOST is"),
        ({"QUEUE_URL": "x\nROOT=/"}, "QUEUE_URL is"),
        ({"SIGNING_KEY": "/nowhere/key"}, "/nowhere/key"),
    ],
)
def test_what_cannot_be_rendered_is_one_line(
    tmp_path: Path, signing_key: Path, environ: dict[str, str], cause: str
) -> None:
    made = userdata(tmp_path / "user-data", signing_key, **environ)
    assert made.returncode == 1
    [line] = made.stderr.splitlines()
    assert line.startswith("userdata: cannot render user-data: ")
    assert cause in line
    assert not (tmp_path / "user-data").exists()


def test_render_says_for_which_machine(tmp_path: Path, signing_key: Path) -> None:
    path = tmp_path / "one"
    assert "a machine with ROLES=web vision\n" in userdata(path, signing_key).stdout
    local = userdata(path, signing_key, ROLES="vision", AWS_ENDPOINT_URL="http://127.0.0.1:5000")
    assert "a machine with ROLES=vision\n" in local.stdout
    assert "reaches no AWS, but http://127.0.0.1:5000" in local.stdout


def test_user_data_provisions_nothing_when_it_is_asked_for_something_else(
    tmp_path: Path, signing_key: Path
) -> None:
    assert userdata(tmp_path / "one", signing_key).returncode == 0
    for words in (["--help"], ["--show"], ["-x", "y"]):
        command = [sys.executable, str(tmp_path / "one"), *words]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert asked.returncode == 1
        assert asked.stderr.startswith("usage: user-data")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy what user-data is rendered from, with a packaging folder to put keys into."""
    for each in ("scripts/operate", "scripts/autoupdate", "cloud-init"):
        shutil.copytree(ROOT / each, tmp_path / "project" / each)
    (tmp_path / "project/packaging").mkdir()
    shutil.copy(ROOT / "packaging/trusted-keys", tmp_path / "project/packaging")
    return tmp_path / "project"


def test_four_large_keys_fit(project: Path, tmp_path: Path) -> None:
    lines = []
    for number in range(4):
        key = tmp_path / f"key{number}"
        comment = ["-C", f"someone.with.a.name{number}@example.org"]
        keygen = ["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", *comment, "-f", str(key)]
        subprocess.run(keygen, check=True)
        public = key.with_suffix(".pub").read_text()
        lines.append(f'tiny-release namespaces="tiny-release" {public}')
    (project / "packaging/allowed_signers").write_text("".join(lines))
    # With all that a stack fills in.
    optional = {
        "ROLES": "web vision", "ROLE_ID": "A" * 21, "LOG_HOST": "logs7.papertrailapp.com:12345",
        "QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/tiny-jobs-XXXXXXXXXXXX",
        "BUCKET_URL": "s3://tiny-pictures-xxxxxxxxxxxx-xxxxxxxxxxxx",
    }  # fmt: skip
    made = userdata(tmp_path / "one", tmp_path / "key0", project, **optional)
    assert made.returncode == 0, made.stderr
    assert "".join(lines).splitlines()[3].split()[3] in (tmp_path / "one").read_text()


def test_revocations_travel_too(project: Path, tmp_path: Path, signing_key: Path) -> None:
    public = signing_key.with_suffix(".pub")
    shutil.copy(public, project / "packaging/revoked_keys")
    assert userdata(tmp_path / "one", signing_key, project).returncode == 0
    assert base64.b64encode(public.read_bytes()).decode() in (tmp_path / "one").read_text()


def test_key_whose_comment_cloudformation_would_fill_in_is_refused(
    project: Path, tmp_path: Path, signing_key: Path
) -> None:
    line = f"tiny-release {signing_key.with_suffix('.pub').read_text().strip()} ${{USER}}\n"
    (project / "packaging/allowed_signers").write_text(line)
    made = userdata(tmp_path / "one", signing_key, project)
    assert made.returncode == 1
    assert "the keys to trust hold ${" in made.stderr
