"""deploy and rollback: signed, atomic, never over somebody else's, always a higher sequence."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project import ROOT

from autoupdate.release.format import Release, from_metadata, to_metadata
from autoupdate.release.signature import sign
from autoupdate.release.trust import Trust
from develop.localcloud import LocalCloud

KEY = "stable/tiny-server.deb"
NAMESPACE = "tiny-release"


class Operator:
    """Somebody with a key who runs the operator's tools against a bucket."""

    def __init__(self, cloud: LocalCloud, bucket: str, folder: Path, key: Path) -> None:
        self.bucket = bucket
        self.folder = folder
        self.key = key
        self.s3 = cloud.client("s3")
        self.tree = ROOT
        self.maintainer = "Ann <ann@example.org>"
        self.environ = {
            **os.environ,
            **cloud.environ,
            "NAME": "tiny",
            "BUCKET": bucket,
            "CHANNEL": "stable",
            "REGION": "us-east-1",
            "SIGNING_KEY": str(key),
            "COMMIT": "8c1f9d0aabbc",
        }

    def trusted(self, key: Path | None = None) -> str:
        public = (key or self.key).with_suffix(".pub").read_text()
        return f'{NAMESPACE} namespaces="{NAMESPACE}" {public}'

    def package(self, version: str, signers: str | None = None) -> Path:
        """Build a package that trusts this operator's key, or `signers`."""
        tree = self.folder / f"tree-{version}"
        for folder in ("DEBIAN", "etc/tiny"):
            (tree / folder).mkdir(parents=True)
        (tree / "etc/tiny/allowed_signers").write_text(signers or self.trusted())
        control = {
            "Package": "tiny-server",
            "Version": version,
            "Architecture": "all",
            "Maintainer": self.maintainer,
            "Description": "made for a test",
        }
        text = "".join(f"{name}: {value}\n" for name, value in control.items())
        (tree / "DEBIAN/control").write_text(text)
        package = self.folder / f"{version}.deb"
        build = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)]
        subprocess.run(build, stdout=subprocess.DEVNULL, check=True)
        return package

    def run(self, tool: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "operate", tool, *words], cwd=self.tree / "scripts",
            env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def deploy(self, version: str) -> None:
        result = self.run("deploy", self.package(version))
        assert result.returncode == 0, result.stderr

    def head(self) -> Any:
        return self.s3.head_object(Bucket=self.bucket, Key=KEY)

    def release(self) -> Release:
        """Return what a machine would read, its signature checked."""
        text, signature = from_metadata(self.head()["Metadata"])
        signers = self.folder / "allowed_signers"
        signers.write_text(self.trusted())
        Trust.read(signers).verify(text, signature, NAMESPACE)
        return Release.parse(text)

    def put(self, body: bytes, metadata: dict[str, str]) -> None:
        """Put an object in the release's place, as whoever may write to the bucket can."""
        self.s3.put_object(Bucket=self.bucket, Key=KEY, Body=body, Metadata=metadata)

    def versions(self) -> int:
        return len(self.s3.list_object_versions(Bucket=self.bucket).get("Versions", []))


@pytest.fixture
def operator(cloud: LocalCloud, bucket: str, tmp_path: Path, signing_key: Path) -> Operator:
    return Operator(cloud, bucket, tmp_path, signing_key)


@pytest.fixture
def own_tree(operator: Operator, tmp_path: Path) -> Path:
    """Give the operator a tree of their own, to keep keys in packaging/."""
    operator.tree = tmp_path / "tree"
    for folder in ("scripts/operate", "scripts/autoupdate", "packaging"):
        shutil.copytree(ROOT / folder, operator.tree / folder)
    return operator.tree


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    key = tmp_path / "stranger"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stranger", "-f", str(key)]
    subprocess.run(keygen, check=True)
    return key


def refused(result: "subprocess.CompletedProcess[str]", *causes: str, status: int = 1) -> None:
    assert result.returncode == status
    [line] = result.stderr.splitlines()
    for cause in causes:
        assert cause in line


def test_deploy_publishes_one_signed_object(operator: Operator) -> None:
    package = operator.package("1.0-1")
    result = operator.run("deploy", package)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("published 1.0-1 as sequence 1: ")
    release = operator.release()
    assert (release.version, release.sequence, release.architecture) == ("1.0-1", 1, "all")
    assert (release.size, release.commit) == (package.stat().st_size, "8c1f9d0aabbc")
    listed = operator.s3.list_objects_v2(Bucket=operator.bucket)["Contents"]
    assert [each["Key"] for each in listed] == [KEY]
    # In one part: a multipart upload's ETag ends in -N.
    assert "-" not in operator.head()["ETag"]
    metadata = operator.head()["Metadata"]
    assert sum(len(name) + len(value) for name, value in metadata.items()) < 2048


def test_sequence_rises_with_every_deploy(operator: Operator) -> None:
    for number in (1, 2, 3):
        operator.deploy(f"1.0-{number}")
        assert operator.release().sequence == number


def test_rollback_publishes_the_older_package_with_a_higher_sequence(operator: Operator) -> None:
    operator.deploy("1.0-9")
    sha256 = operator.release().sha256
    operator.deploy("1.0-10")
    result = operator.run("rollback")
    assert result.returncode == 0, result.stderr
    release = operator.release()
    assert (release.version, release.sequence, release.sha256) == ("1.0-9", 3, sha256)
    # And forth again, by name.
    assert operator.run("rollback", "1.0-10").returncode == 0
    assert (operator.release().version, operator.release().sequence) == ("1.0-10", 4)


def test_rollback_goes_one_release_back_at_a_time_whatever_the_versions_are(
    operator: Operator,
) -> None:
    # Uncommitted changes are told apart by their hashes, which have no order.
    versions = [f"1.0-1+dirty.{each}" for each in ("4fda321", "74c92a5", "884f915", "6d8e5af")]
    for version in versions:
        operator.deploy(version)
    for version in versions[2::-1]:
        assert operator.run("rollback").returncode == 0
        assert operator.release().version == version
    refused(operator.run("rollback"), f"keeps no release from before {versions[0]}")


def test_rollback_lists_what_it_can_go_back_to(operator: Operator) -> None:
    operator.deploy("1.0-1")
    operator.deploy("1.0-2")
    result = operator.run("releases")
    assert result.returncode == 0
    assert result.stdout.index("1.0-2") < result.stdout.index("1.0-1")


def test_rollback_with_nothing_older_says_so(operator: Operator) -> None:
    refused(operator.run("rollback"), "nothing was ever published")
    operator.deploy("1.0-1")
    refused(operator.run("rollback"), "keeps no release from before 1.0-1", "make releases")
    refused(operator.run("rollback", "1.0-7"), "keeps no 1.0-7")
    assert operator.versions() == 1


def test_rollback_never_picks_what_a_stranger_put_there(operator: Operator, stranger: Path) -> None:
    operator.deploy("1.0-1")
    release = operator.release()
    body = operator.s3.get_object(Bucket=operator.bucket, Key=KEY)["Body"].read()
    forged = Release(**{**vars(release), "version": "1.0-2", "sequence": 2})
    text = forged.to_json()
    operator.put(body, to_metadata(forged, sign(text, stranger, NAMESPACE)))
    operator.run("deploy", "--sequence", "3", operator.package("1.0-3"))
    assert operator.run("rollback").returncode == 0
    assert operator.release().version == "1.0-1"


def test_rollback_refuses_a_package_that_was_changed_in_the_bucket(operator: Operator) -> None:
    operator.deploy("1.0-1")
    metadata = operator.head()["Metadata"]
    operator.s3.delete_object(
        Bucket=operator.bucket, Key=KEY, VersionId=operator.head()["VersionId"]
    )
    operator.put(b"other bytes", metadata)
    operator.run("deploy", "--sequence", "2", operator.package("1.0-2"))
    refused(operator.run("rollback"), "1.0-1 in the bucket is not what was signed")


@pytest.mark.parametrize("publish_first", [False, True])
def test_of_two_publishers_one_wins_and_the_other_is_told(
    operator: Operator, publish_first: bool
) -> None:
    if publish_first:
        operator.deploy("1.0-1")
    packages = [operator.package("1.0-2"), operator.package("1.0-3")]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "operate", "deploy", package], cwd=ROOT / "scripts",
            env=operator.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for package in packages
    ]  # fmt: skip
    ended = [(each.communicate()[1], each.returncode) for each in started]
    statuses = sorted(status for _, status in ended)
    # One after the other is fine as well: then both are published.
    assert statuses in ([0, 3], [0, 0])
    published = statuses.count(0) + publish_first
    assert operator.release().sequence == published
    assert operator.versions() == published
    for said, status in ended:
        assert (status == 3) == ("somebody else published at the same time" in said)


def test_deploy_never_goes_over_what_somebody_else_published_meanwhile(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same, but certain: the other one comes between the look and the upload.
    from operate import publish, settings
    from operate.channel import Channel
    from operate.errors import LostRaceError
    from operate.package import Package

    operator.deploy("1.0-1")
    for name, value in operator.environ.items():
        monkeypatch.setenv(name, value)
    channel = Channel.of(settings.read("deploy", operator.environ))
    before = publish.current(channel)
    assert before
    operator.deploy("1.0-2")
    package = Package.read(operator.package("1.0-3"))
    with pytest.raises(LostRaceError):
        publish.publish(channel, package, "", over=before.etag, sequence=2)
    with pytest.raises(LostRaceError):
        publish.publish(channel, package, "", over=None, sequence=2)
    assert operator.release().version == "1.0-2"


def strange_bytes(operator: Operator, _stranger: Path) -> dict[str, str]:
    return {}


def strange_signature(operator: Operator, stranger: Path) -> dict[str, str]:
    text = operator.release().to_json()
    return {"release": text, "signature": sign(text, stranger, NAMESPACE)}


def strange_sequence(operator: Operator, _stranger: Path) -> dict[str, str]:
    metadata: dict[str, str] = operator.head()["Metadata"]
    return {**metadata, "release": metadata["release"].replace('"sequence":1', '"sequence":9')}


@pytest.mark.parametrize("metadata", [strange_bytes, strange_signature, strange_sequence])
def test_deploy_over_what_is_not_ours_needs_a_sequence(
    operator: Operator, stranger: Path, metadata: Callable[[Operator, Path], dict[str, str]]
) -> None:
    operator.deploy("1.0-1")
    operator.put(b"strange", metadata(operator, stranger))
    package = operator.package("1.0-2")
    refused(operator.run("deploy", package), "holds no release of ours", "SEQUENCE=N")
    assert operator.run("deploy", "--sequence", "10", package).returncode == 0
    assert (operator.release().version, operator.release().sequence) == ("1.0-2", 10)


def test_package_that_would_lock_machines_out_is_refused(
    operator: Operator, stranger: Path
) -> None:
    package = operator.package("1.0-1", signers=operator.trusted(stranger))
    refused(operator.run("deploy", package), "itself does not trust SIGNING_KEY")
    assert operator.versions() == 0


def test_text_of_a_key_signs_and_is_left_nowhere(operator: Operator, tmp_path: Path) -> None:
    text = operator.key.read_text()
    (tmp_path / "temporary").mkdir()
    # A CI service may lose the last newline.
    operator.environ |= {"SIGNING_KEY": text.strip(), "TMPDIR": str(tmp_path / "temporary")}
    result = operator.run("deploy", operator.package("1.0-1"))
    assert result.returncode == 0, result.stderr
    assert operator.release().version == "1.0-1"
    operator.deploy("1.0-2")
    assert operator.run("rollback").returncode == 0
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text.replace("-----BEGIN OPENSSH", "-----BEGIN RSA"),
        lambda text: text.rsplit("\n", 3)[0],
        lambda text: text.replace("b3BlbnNzaC1rZXk", "AAAAAAAAAAAAAAA"),
        lambda text: "\n".join(text.splitlines()[1:]),
    ],
)
def test_text_that_is_no_whole_key_is_refused_and_not_repeated(
    operator: Operator, harm: Callable[[str], str]
) -> None:
    text = operator.key.read_text()
    operator.environ["SIGNING_KEY"] = harm(text)
    result = operator.run("deploy", operator.package("1.0-1"))
    refused(result, "SIGNING_KEY is a text; ")
    assert text.splitlines()[2] not in result.stderr
    assert operator.versions() == 0


def test_key_with_a_passphrase_is_taken_as_a_path_alone(operator: Operator, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(key)]
    subprocess.run(keygen, check=True)
    operator.environ["SIGNING_KEY"] = key.read_text()
    package = operator.package("1.0-1", signers=operator.trusted(key))
    refused(operator.run("deploy", package), "without a passphrase")


def test_package_of_the_example_maintainer_is_refused(operator: Operator) -> None:
    operator.maintainer = "Your Name <you@example.com>"
    package = operator.package("1.0-1")
    refused(operator.run("deploy", package), "the example of config.mk; set MAINTAINER")
    assert operator.versions() == 0


def test_revoked_keys_of_somebody_in_the_temporary_folder_stop_nothing(
    operator: Operator, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/revoked_keys").write_bytes(operator.key.with_suffix(".pub").read_bytes())
    operator.environ["TMPDIR"] = str(tmp_path / "shared")
    operator.deploy("1.0-1")
    operator.deploy("1.0-2")


def test_key_that_packaging_revokes_is_not_trusted_at_the_desk(
    operator: Operator, own_tree: Path, stranger: Path
) -> None:
    operator.deploy("1.0-1")
    public = operator.key.with_suffix(".pub").read_bytes()
    (own_tree / "packaging/revoked_keys").write_bytes(public)
    refused(operator.run("deploy", operator.package("1.0-2")), "which revoked_keys revokes")
    # Both halves count where there is a list of keys, too.
    (own_tree / "packaging/allowed_signers").write_text(operator.trusted())
    refused(operator.run("rollback"), "which revoked_keys revokes")
    (own_tree / "packaging/revoked_keys").write_bytes(stranger.with_suffix(".pub").read_bytes())
    operator.deploy("1.0-3")


def test_list_of_keys_is_trusted_instead_of_the_own_key_alone(
    operator: Operator, own_tree: Path, stranger: Path
) -> None:
    both = operator.trusted() + operator.trusted(stranger)
    (own_tree / "packaging/allowed_signers").write_text(both)
    assert operator.run("deploy", operator.package("1.0-1", signers=both)).returncode == 0
    operator.environ["SIGNING_KEY"] = str(stranger)
    assert operator.run("deploy", operator.package("1.0-2", signers=both)).returncode == 0
    # To look, no key is needed then.
    operator.environ["SIGNING_KEY"] = "/nowhere/key"
    assert "1.0-2 (sequence 2)" in operator.run("status").stdout


def test_package_may_bring_a_second_key(operator: Operator, stranger: Path) -> None:
    both = operator.trusted() + operator.trusted(stranger)
    assert operator.run("deploy", operator.package("1.0-1", signers=both)).returncode == 0


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"BUCKET": ""}, "BUCKET is not set; set it in config.mk"),
        (
            {"BUCKET": "no-such-bucket-anywhere"},
            "there is no bucket no-such-bucket-anywhere; make stack makes it",
        ),
        ({"SIGNING_KEY": "/nowhere/key"}, "ssh-keygen -t ed25519 -f /nowhere/key"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_what_keeps_from_publishing_is_one_line(
    operator: Operator, environ: dict[str, str], cause: str
) -> None:
    operator.environ.update(environ)
    refused(operator.run("deploy", operator.package("1.0-1")), cause)


def test_deploy_of_what_is_no_package_is_refused(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "not.deb").write_text("a text")
    refused(operator.run("deploy", tmp_path / "not.deb"), "is no package")
    refused(operator.run("deploy", tmp_path / "nothing.deb"), "run make package")


def test_release_in_the_bucket_is_plain_json(operator: Operator) -> None:
    operator.deploy("1.0-1")
    document = json.loads(operator.head()["Metadata"]["release"])
    assert list(document) == sorted(document)
    assert document["package"] == "tiny-server"
