"""What goes wrong between the desk and S3, in a person's words."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from canned_s3 import Answer, CannedS3, error
from project import ROOT


def status(url: str, key: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    settings = {"NAME": "tiny", "BUCKET": "releases", "REGION": "eu-west-1",
                "SIGNING_KEY": str(key)}  # fmt: skip
    aws = {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "operate", "status"], cwd=ROOT / "scripts",
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **settings, **aws, **environ},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def is_one_line(result: "subprocess.CompletedProcess[str]", *causes: str) -> None:
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("status: cannot tell the status: ")
    for cause in causes:
        assert cause in line


@pytest.mark.parametrize(
    ("answer", "causes"),
    [
        (Answer(400, error("ExpiredToken")), ["credentials have expired", "aws sso login"]),
        (Answer(403, error("InvalidAccessKeyId")), ["does not know these", "AWS_PROFILE"]),
        (Answer(403, error("SignatureDoesNotMatch")), ["does not know these credentials"]),
        (Answer(403, error("AccessDenied", "no s3:ListBucket")), ["denies it", "no s3:ListBucket"]),
        (Answer(403, error("RequestTimeTooSkewed")), ["this computer's clock is wrong"]),
        (Answer(404, error("NoSuchBucket")), ["there is no bucket releases; make stack makes it"]),
        (Answer(503, error("SlowDown")), ["AWS is busy; try again"]),
        (Answer(501, error("NotImplemented", "not so")), ["not so (NotImplemented)"]),
        (
            Answer(301, error("PermanentRedirect"), {"x-amz-bucket-region": "eu-central-1"}),
            ["releases is in the region eu-central-1; set REGION=eu-central-1"],
        ),
        (
            Answer(400, error("AuthorizationHeaderMalformed", more="<Region>us-west-2</Region>")),
            ["set REGION=us-west-2"],
        ),
    ],
)
def test_refusal_is_one_line_that_says_what_to_do(
    signing_key: Path, answer: Answer, causes: list[str]
) -> None:
    def after_a_look(method: str, *_: str) -> Answer:
        return Answer(404) if method == "HEAD" else answer

    with CannedS3(after_a_look) as url:
        is_one_line(status(url, signing_key), *causes)


@pytest.mark.parametrize("code", [301, 400])
def test_bucket_elsewhere_is_told_by_the_first_look_as_well(signing_key: Path, code: int) -> None:
    # boto3 would follow it, and machines, with the same REGION, would not.
    with CannedS3(lambda *_: Answer(code, b"", {"x-amz-bucket-region": "eu-central-1"})) as url:
        is_one_line(status(url, signing_key), "set REGION=eu-central-1")


@pytest.mark.parametrize(
    ("environ", "causes"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["no AWS credentials"]),
        ({"AWS_PROFILE": "acme"}, ["AWS_PROFILE: ", "(acme)"]),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, ["is not reached", "127.0.0.1:1"]),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "REGION": "eu-wset-1"},
            ["REGION eu-wset-1 may be wrong, is it eu-west-1?"],
        ),
    ],
)
def test_what_never_reaches_the_bucket_is_one_line(
    signing_key: Path, environ: Mapping[str, str], causes: list[str]
) -> None:
    is_one_line(status("http://127.0.0.1:1", signing_key, **environ), *causes)
