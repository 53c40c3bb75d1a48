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
from autoupdate.release import Release, sign, to_metadata

KEYS = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "secret+/=", "Token": "token+/="}
SETTINGS = {"NAME": "tiny", "BUCKET": "releases", "REGION": "eu-west-1", "CHANNEL": "stable"}


def userdata(output: Path, key: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}}
    settings = {"NAME": "tiny", "BUCKET": "releases", "SIGNING_KEY": str(key)}
    return subprocess.run(
        [sys.executable, ROOT / "scripts/userdata", "--output", output],
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
