"""Hostile and mistaken releases: refused with one line, and nothing is installed."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from one_machine import RELEASE_KEY, OneMachine
from package_maker import Key, signed

from autoupdate.errors import RefusedError


def refusal(machine: OneMachine) -> str:
    """Look, and return why the release was refused; nothing may have been installed."""
    served, requests = machine.role(), machine.bucket.count("GET")
    lines = len(machine.log_lines())
    problem = machine.look()
    assert isinstance(problem, RefusedError)
    machine.look()
    said = [line for line in machine.log_lines()[lines:] if str(problem) in line]
    assert len(said) == 1, "one line, however often it is looked at"
    assert machine.installed() == "1.0-1"
    assert machine.role() == served
    assert machine.bucket.count("GET") <= requests + 1
    assert machine.report()["state"] == "refused"
    assert machine.report()["error"] == str(problem)
    return str(problem)


def test_release_signed_by_another_key_is_refused(serving: OneMachine, tmp_path: Path) -> None:
    package = serving.package("1.0-2")
    metadata = signed(package.release(2), Key.make(tmp_path / "stranger"))
    serving.bucket.put(RELEASE_KEY, package.body, metadata)
    reason = refusal(serving)
    assert "signed by an unknown key (SHA256:" in reason
    assert "has 1 key" in reason
    assert serving.bucket.count("GET") == 0


def test_release_with_one_byte_changed_is_refused(serving: OneMachine) -> None:
    package = serving.package("1.0-2")
    metadata = signed(package.release(2), serving.key)
    metadata["release"] = metadata["release"].replace('"sequence":2', '"sequence":3')
    serving.bucket.put(RELEASE_KEY, package.body, metadata)
    assert "does not hold" in refusal(serving)


def test_release_of_another_channel_is_refused(serving: OneMachine) -> None:
    # Whoever may write to the bucket moves a trial's signed object to where all machines look.
    serving.publish(serving.package("1.0-2"), sequence=2, channel="beta")
    assert "it is for channel beta, this machine follows stable" in refusal(serving)


def test_sequences_are_counted_by_channel(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=7)
    assert serving.look() is None
    serving.environ["CHANNEL"] = "beta"
    serving.restart_updater()
    beta = serving.package("1.0-3")
    metadata = signed(beta.release(1, channel="beta"), serving.key)
    serving.bucket.put(RELEASE_KEY.replace("stable", "beta"), beta.body, metadata)
    assert serving.look() is None
    assert serving.installed() == "1.0-3"
    # Back in stable, what is older there is still refused.
    serving.environ["CHANNEL"] = "stable"
    serving.restart_updater()
    serving.publish(serving.package("1.0-4"), sequence=6)
    assert isinstance(serving.look(), RefusedError)
    serving.publish(serving.package("1.0-5"), sequence=8)
    assert serving.look() is None


def test_machine_without_a_memory_refuses_what_is_older_than_what_is_installed(
    serving: OneMachine,
) -> None:
    # Installed by hand from a newer package, the bucket replayed.
    shutil.rmtree(serving.settings.state_dir)
    serving.restart_updater()
    serving.publish(serving.package("1.0-0"), sequence=3)
    problem = serving.look()
    assert isinstance(problem, RefusedError)
    assert "1.0-1 is installed, which is newer" in str(problem)
    assert serving.installed() == "1.0-1"


def test_package_with_one_byte_changed_is_refused(serving: OneMachine) -> None:
    package = serving.package("1.0-2")
    body = bytearray(package.body)
    body[len(body) // 2] ^= 1
    serving.bucket.put(RELEASE_KEY, bytes(body), signed(package.release(2), serving.key))
    assert "its sha256 is not the signed one" in refusal(serving)
    # The right bytes under the same signature are taken.
    serving.publish(package, sequence=2)
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_replayed_older_release_is_refused(serving: OneMachine) -> None:
    old = serving.package("1.0-0")
    serving.publish(serving.package("1.0-1"), sequence=5)
    serving.look()
    serving.publish(old, sequence=4)
    assert "older than sequence 5 (1.0-1)" in refusal(serving)


def test_replay_is_refused_after_a_restart_too(serving: OneMachine) -> None:
    old = serving.package("1.0-0")
    serving.publish(serving.package("1.0-1"), sequence=5)
    serving.look()
    serving.restart_updater()
    serving.publish(old, sequence=4)
    assert "older than sequence 5" in refusal(serving)


def test_second_release_of_the_same_sequence_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=1)
    assert "its sequence was used before, by another release of 1.0-1" in refusal(serving)


def test_release_of_another_name_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2, package="mail-server")
    assert "it is package mail-server" in refusal(serving)
    assert [each.sequence for each in serving.state.accepted] == [1]


def test_release_for_another_architecture_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2, architecture="riscv64")
    assert "it is for riscv64" in refusal(serving)
    assert [each.sequence for each in serving.state.accepted] == [1]


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ({"name": "mail-server"}, "the package says package mail-server"),
        ({"architecture": "riscv64"}, "the package says architecture riscv64"),
    ],
)
def test_package_that_is_not_what_its_release_says_is_refused(
    serving: OneMachine, inside: dict[str, str], says: str
) -> None:
    serving.publish(serving.package("1.0-2", **inside), sequence=2)
    assert says in refusal(serving)


def test_package_of_another_version_than_signed_is_refused(serving: OneMachine) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2, version="1.0-3")
    assert "the package says version 1.0-2, the release 1.0-3" in refusal(serving)


def test_body_that_is_no_package_is_refused(serving: OneMachine) -> None:
    package = dataclasses.replace(serving.package("1.0-2"))
    package.path.write_bytes(b"no package" * 100)
    serving.publish(package, sequence=2)
    assert "refused release 1.0-2 (sequence 2) before installing it" in refusal(serving)


def test_object_of_another_size_than_signed_is_not_even_downloaded(serving: OneMachine) -> None:
    downloads = serving.bucket.count("GET")
    serving.publish(serving.package("1.0-2"), sequence=2)
    serving.bucket.size_said = 10**12
    assert "the object has 1000000000000 bytes, signed are" in refusal(serving)
    assert serving.bucket.count("GET") == downloads


def test_package_larger_than_the_limit_is_refused(serving: OneMachine) -> None:
    package = serving.package("1.0-2")
    too_much = 300 * 2**20
    metadata = signed(package.release(2, size=too_much), serving.key)
    serving.bucket.put(RELEASE_KEY, package.body, metadata)
    serving.bucket.size_said = too_much
    assert "more than MAX_PACKAGE_MB=256" in refusal(serving)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda metadata: {},
        lambda metadata: {"release": metadata["release"]},
        lambda metadata: {"signature": metadata["signature"]},
        lambda metadata: {**metadata, "release": "[" * 2000},
        lambda metadata: {**metadata, "release": "x" * 5000},
        lambda metadata: {**metadata, "signature": "QUFB" * 2000},
        lambda metadata: {**metadata, "signature": "not base64"},
        lambda metadata: {**metadata, "signature": "QUFB"},
        lambda metadata: {**metadata, "signature": metadata["signature"][:100]},
    ],
)
def test_malformed_metadata_is_refused(
    serving: OneMachine, spoil: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    package = serving.package("1.0-2")
    metadata = spoil(signed(package.release(2), serving.key))
    serving.bucket.put(RELEASE_KEY, package.body, metadata)
    assert refusal(serving).startswith("refused what is in the bucket: ")


def test_signature_for_another_purpose_is_refused(serving: OneMachine) -> None:
    package = serving.package("1.0-2")
    metadata = signed(package.release(2), serving.key, namespace="file")
    serving.bucket.put(RELEASE_KEY, package.body, metadata)
    assert "namespace does not match" in refusal(serving)


def test_escape_sequences_in_an_answer_do_not_reach_the_log(serving: OneMachine) -> None:
    package = serving.package("1.0-2", fault="check fails")
    text = package.path.read_bytes().replace(b"cannot import", b"\x1b[2J\x07 import")
    package.path.write_bytes(text)
    serving.publish(package, sequence=2)
    assert "\x1b" not in refusal(serving)


def test_key_added_to_allowed_signers_is_noticed_without_a_restart(
    serving: OneMachine, tmp_path: Path
) -> None:
    second = Key.make(tmp_path / "second")
    package = serving.package("1.0-2")
    serving.bucket.put(RELEASE_KEY, package.body, signed(package.release(2), second))
    assert "unknown key" in refusal(serving)
    serving.settings.allowed_signers.write_text(serving.key.line() + second.line())
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_release_that_could_not_be_verified_here_is_looked_at_again(
    serving: OneMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.publish(serving.package("1.0-2"), sequence=2)
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert "install openssh-client" in str(serving.look())
    assert serving.look() is None
    assert serving.installed() == "1.0-2"


def test_keys_rotate_by_a_release_signed_with_a_key_trusted_today(
    serving: OneMachine, tmp_path: Path
) -> None:
    following = Key.make(tmp_path / "following")
    serving.publish(serving.package("1.0-2", allowed_signers=following.line()), sequence=2)
    assert serving.look() is None
    serving.publish(serving.package("1.0-3"), sequence=3)
    assert isinstance(serving.look(), RefusedError)
    package = serving.package("1.0-4", allowed_signers=following.line())
    serving.bucket.put(RELEASE_KEY, package.body, signed(package.release(4), following))
    assert serving.look() is None
    assert serving.installed() == "1.0-4"
