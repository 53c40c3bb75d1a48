"""make userdata, and what it renders: small, the same each time, and as strict as the updater."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from project import ROOT

import provision
from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import sign

KEYS = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "secret+/=", "Token": "token+/="}
SETTINGS = {"NAME": "tiny", "BUCKET": "releases", "REGION": "eu-west-1", "CHANNEL": "stable"}


def userdata(output: Path, key: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}}
    settings = {"NAME": "tiny", "BUCKET": "releases", "SIGNING_KEY": str(key)}
    return subprocess.run(
        [sys.executable, "-m", "operate.userdata", "--output", output], cwd=ROOT / "scripts",
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
    shown_program = (tmp_path / "shown/provision.py").read_bytes()
    assert shown_program == (ROOT / "cloud-init/provision.py").read_bytes()


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"BUCKET": ""}, "BUCKET is not set"),
        ({"BUCKET": "s3://releases"}, "BUCKET is 's3://releases'; use"),
        ({"SIGNING_KEY": ""}, "SIGNING_KEY is not set"),
        ({"SIGNING_KEY": __file__.removesuffix(".py")}, "cannot read"),
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


@pytest.mark.parametrize("bucket", ["releases", "releases.example.org"])
def test_request_is_signed_as_botocore_signs_it(bucket: str) -> None:
    host, path = provision.location({**SETTINGS, "BUCKET": bucket})
    headers = provision.signed_headers(KEYS, "eu-west-1", host, path)
    sent = {name: text for name, text in headers.items() if name not in {"host", "authorization"}}
    request = AWSRequest("GET", f"https://{host}{path}", headers=sent)
    request.context["timestamp"] = headers["x-amz-date"]
    # botocore leaves the hash of the body to the header that S3 wants.
    signer = SigV4Auth(Credentials(KEYS["AccessKeyId"], KEYS["SecretAccessKey"]), "s3", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    expected = signer.signature(text, request)
    assert re.search(r"Signature=(\w+)$", headers["authorization"])[1] == expected  # type: ignore[index]


def release(**changes: object) -> Release:
    fields: dict[str, object] = {
        "package": "tiny-server", "version": "1.0-1", "architecture": "all", "sha256": "0" * 64,
        "size": 1, "sequence": 1, "published": "2026-11-23T08:10:00Z", "commit": "",
        "channel": "stable",
    }  # fmt: skip
    return Release(**{**fields, **changes})  # type: ignore[arg-type]


def metadata(made: Release, key: Path, namespace: str = "tiny-release") -> dict[str, str]:
    return to_metadata(made, sign(made.to_json(), key, namespace))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"package": "mail-server"}, "its package is mail-server"),
        ({"channel": "beta"}, "its channel is beta"),
        ({"architecture": "riscv64"}, "its architecture is riscv64"),
    ],
)
def test_release_for_others_is_refused(
    signing_key: Path, changes: dict[str, object], cause: str
) -> None:
    trusted = f"tiny-release {signing_key.with_suffix('.pub').read_text()}"
    assert provision.verified(SETTINGS, trusted, metadata(release(), signing_key)) == release()
    with pytest.raises(provision.ProvisionError, match=cause):
        provision.verified(SETTINGS, trusted, metadata(release(**changes), signing_key))


def test_release_that_nobody_trusted_has_signed_is_refused(
    signing_key: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stranger", "-f", str(stranger)]
    subprocess.run(keygen, check=True)
    trusted = f"tiny-release {signing_key.with_suffix('.pub').read_text()}"
    for bad in (
        metadata(release(), stranger),
        metadata(release(), signing_key, "other"),
        {"release": release().to_json(), "signature": ""},
    ):
        with pytest.raises(provision.ProvisionError, match="refused what is in the bucket"):
            provision.verified(SETTINGS, trusted, bad)


class Ran:
    """Records the commands of a machine, and answers as it is told."""

    def __init__(self, fails: str = "") -> None:
        self.commands: list[str] = []
        self._fails = fails

    def __call__(self, *command: str) -> "subprocess.CompletedProcess[str]":
        self.commands.append(" ".join(command))
        failed = bool(self._fails) and self._fails in self.commands[-1]
        return subprocess.CompletedProcess(command, int(failed), "", "what it says" * failed)


def test_updater_is_started_even_if_a_role_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(fails="tiny-web")
    monkeypatch.setattr(provision, "run", ran)
    failures = provision.start({**SETTINGS, "ROLES": "web vision"})
    assert failures == ["tiny-web does not start: what it says"]
    assert [each.split()[-1] for each in ran.commands] == [
        "tiny-web.service", "tiny-vision.service", "tiny-autoupdate.service"
    ]  # fmt: skip


def test_logs_are_forwarded_and_told_of_where_a_role_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(settings: object) -> None:
        raise provision.ProvisionError("cannot forward logs")

    monkeypatch.setattr(provision, "write_settings", lambda settings: None)
    monkeypatch.setattr(provision, "install_release", lambda settings, signers: None)
    monkeypatch.setattr(provision, "run", Ran(fails="tiny-web"))
    monkeypatch.setattr(provision, "forward_logs", nowhere)
    assert provision.main({**SETTINGS, "ROLES": "web"}, "") == 1
    assert capsys.readouterr().err.splitlines() == [
        "user-data: failed: tiny-web does not start: what it says",
        "user-data: failed: cannot forward logs",
    ]


def test_package_lists_are_fetched_only_if_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for fails, commands in (("", ["install"]), ("install", ["install", "update", "install"])):
        ran = Ran(fails)
        monkeypatch.setattr(provision, "run", ran)
        if fails:
            with pytest.raises(provision.NotYetError, match=r"cannot install x\.deb: what"):
                provision.install(Path("x.deb"))
        else:
            provision.install(Path("x.deb"))
        found = [re.search(r" (install|update)\b", each) for each in ran.commands]
        assert [each[1] for each in found if each] == commands


def test_what_may_pass_is_tried_again_until_time_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def sleep(pause: float) -> None:
        clock[0] += pause

    monkeypatch.setattr("time.sleep", sleep)
    answers: list[str | None] = ["no release yet", "no release yet", None]

    def attempt() -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer:
            raise provision.NotYetError(answer)
        return "done"

    assert provision.patiently(attempt) == "done"
    # Said once, however often it is tried.
    assert capsys.readouterr().err == "user-data: no release yet; tries again\n"
    answers[:] = ["the mirror is away"]
    with pytest.raises(provision.ProvisionError, match=r"gave up after 18\d\d s: the mirror"):
        provision.patiently(attempt)
