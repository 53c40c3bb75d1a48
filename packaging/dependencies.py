"""The layer of dependencies: what a lock file names, less what cannot be of use on a server.

What is left out, with its size in the compressed executable where that is known:

======================================================  =====
compiled modules, bytecode                               it must fit any CPU and Python
data of services other than _SERVICES (botocore, boto3)  9 MB
the "documentation" of every API and parameter           1 MB
.dist-info but METADATA's head, entry points, licences   100 KB
dateutil's copy of the time zones                        150 KB
stubs, py.typed, examples, tests, commands               10 KB
======================================================  =====

Tried and kept: the certificate authorities (129 KB: a bare machine has none),
gunicorn's other workers (75 KB), botocore.docs (26 KB: botocore imports it),
werkzeug's debugger (5 KB), the licences (5 KB: they must go where the code goes).
"""

import gzip
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layer

# What this project's two programs talk to; sts gives them their credentials,
# ssm is where a configuration may live.
_SERVICES = frozenset({"s3", "sqs", "sts", "ssm"})

_USELESS = re.compile(
    r"""
      .*\.(so|pyd|pyc|pyi)                       # compiled: each has its Python twin, see _prove
    | (.*/)?py\.typed
    | (.*/)?(__pycache__|tests)/.*
    | bin/.*                                     # commands; `python -m` does without
    | (boto3/)?examples/.* | boto3/examples/.*
    | (botocore|boto3)/data/.*/(examples|completions)-\d+\.json(\.gz)?
    | dateutil/zoneinfo/dateutil-zoneinfo\.tar\.gz  # dateutil.tz reads /usr/share/zoneinfo first
    """,
    re.VERBOSE,
)
_SERVICE_DATA = re.compile(r"(?:botocore|boto3)/data/([^/]+)/.*")
_METADATA = re.compile(r"[^/]+\.dist-info/(.*)")
_KEPT_METADATA = re.compile(
    r"METADATA|entry_points\.txt|(.*/)?(LICEN[CS]E|NOTICE|COPYING|AUTHORS)[^/]*"
)


class DependenciesError(Exception):
    """The dependencies cannot travel in an executable; the message says why, in one line."""


def packed(lock: Path, work: Path) -> bytes:
    """Return the layer of what the requirements file `lock` names, from `work` if kept there.

    Args:
        lock: exact versions with hashes (pip's --require-hashes), dependencies included.
        work: a folder for layers, each named by all that it is made from.

    Raises:
        DependenciesError: pip refuses, or a dependency does not work without what is left out.
    """
    recipe = (lock.read_bytes(), Path(__file__).read_bytes(), Path(layer.__file__).read_bytes())
    key = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
    kept = work / f"dependencies-{key}.tar.xz"
    if not kept.exists():
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work, prefix=".new-") as name:
            folder = Path(name)
            _install(lock, folder / "pip")
            files = dict(_trimmed(folder / "pip"))
            _prove(files, folder / "proof")
            new = folder / kept.name
            new.write_bytes(layer.pack(files, last=False))
            # Two builds at once each put the same bytes there.
            new.replace(kept)
    return kept.read_bytes()


def _install(lock: Path, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        # The lock is the whole truth: nothing beside it, nothing that is not what was locked.
        *("--require-hashes", "--no-deps"),
        # An sdist would run its setup.py here, with tools that no hash covers.
        *("--only-binary", ":all:"),
        *("--no-compile", "--target", str(folder), "--requirement", str(lock)),
    ]
    pip = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if pip.returncode:
        sys.stderr.write(pip.stderr)
        raise DependenciesError(f"cannot install {lock}: pip exited with status {pip.returncode}")


def _trimmed(site: Path) -> Iterator[tuple[str, bytes]]:
    for file in site.rglob("*"):
        path = file.relative_to(site).as_posix()
        if not file.is_file() or _USELESS.fullmatch(path):
            continue
        service = _SERVICE_DATA.fullmatch(path)
        if service and service[1] not in _SERVICES:
            continue
        metadata = _METADATA.fullmatch(path)
        if metadata and not _KEPT_METADATA.fullmatch(metadata[1]):
            continue
        content = file.read_bytes()
        if metadata and metadata[1] == "METADATA":
            # The head is what importlib.metadata reads; the body is the project's README.
            content = content.partition(b"\n\n")[0] + b"\n"
        elif path.startswith(("botocore/data/", "boto3/data/")):
            if path.endswith(".json.gz"):
                # botocore reads both; together they are better compressed by xz.
                content, path = gzip.decompress(content), path.removesuffix(".gz")
            if path.endswith(".json"):
                content = json.dumps(
                    _without_documentation(json.loads(content)), separators=(",", ":")
                ).encode()
        yield path, content


def _without_documentation(data: Any) -> Any:
    """Return `data` with empty texts: botocore looks some of them up, and reads none."""
    if isinstance(data, dict):
        return {
            # A member that an API calls so is an object, not a text.
            name: ""
            if name == "documentation" and isinstance(value, str)
            else _without_documentation(value)
            for name, value in data.items()
        }
    if isinstance(data, list):
        return [_without_documentation(each) for each in data]
    return data


def _prove(files: dict[str, bytes], folder: Path) -> None:
    """Import every top-level module from what is left, with nothing else installed.

    Raises:
        DependenciesError: one needs what was left out, a compiled module most likely.
    """
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    tops = {path.split("/")[0] for path in files if path.endswith(".py")}
    for module in sorted(top.removesuffix(".py") for top in tops):
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {module}"
        proof = subprocess.run(
            [sys.executable, "-ISBc", code], stderr=subprocess.PIPE, text=True, check=False
        )
        if proof.returncode:
            cause = proof.stderr.strip().splitlines()[-1]
            raise DependenciesError(
                f"cannot bundle {module}: without compiled files and what else is left out it "
                f"says {cause!r}; choose a package of pure Python"
            )
