"""The AWS CLI as the operator's tools use it: arguments in, JSON out, errors by their code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 600

# "An error occurred (404) when calling the HeadObject operation: Not Found"
_ERROR = re.compile(r"An error occurred \(([^)]*)\) when calling the \w+ operation[^:]*: (.*)")

NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket"}
PRECONDITION_FAILED = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}


class AwsError(Exception):
    """AWS refused, or could not be asked; the message is its own, in one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def region() -> str:
    """Return the region of config.mk."""
    return os.environ.get("REGION") or "us-east-1"


def aws(*arguments: str | Path) -> dict[str, Any]:
    """Run ``aws ARGUMENTS`` and return what it answers.

    Raises:
        AwsError: it failed.
    """
    result = subprocess.run(
        [Path(sys.executable).with_name("aws"), *arguments, "--output", "json"],
        env={
            **os.environ,
            "AWS_DEFAULT_REGION": region(),
            "AWS_PAGER": "",  # version 2 would page what no person reads
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode:
        said = [line for line in result.stderr.splitlines() if line.strip()] or ["no message"]
        known = _ERROR.search(result.stderr)
        raise AwsError(known[1] if known else "", known[2] if known else said[-1].strip())
    answer: dict[str, Any] = json.loads(result.stdout) if result.stdout.strip() else {}
    return answer
