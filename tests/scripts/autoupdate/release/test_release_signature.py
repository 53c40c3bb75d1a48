"""Signatures, by the real ssh-keygen."""

import subprocess
from pathlib import Path

import pytest
from package_maker import NAMESPACE, Key

from autoupdate.release.signature import SignatureError, sign
from autoupdate.release.trust import Trust

TEXT = '{"sequence":12}'


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key.make(tmp_path / "key")


@pytest.fixture
def signers(tmp_path: Path, key: Key) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(key.line())
    return path


def fingerprint_by_ssh_keygen(key: Key) -> str:
    listing = ["ssh-keygen", "-l", "-f", str(key.private.with_suffix(".pub"))]
    return subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]


def signature_by(key: Key, text: str = TEXT, namespace: str = NAMESPACE) -> str:
    return sign(text, key.private, namespace)


def refusal(signature: str, signers: Path, text: str = TEXT) -> str:
    with pytest.raises(SignatureError) as caught:
        Trust.read(signers).verify(text, signature, NAMESPACE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_signature_by_a_trusted_key_holds_and_names_it(key: Key, signers: Path) -> None:
    assert Trust.read(signers).verify(
        TEXT, signature_by(key), NAMESPACE
    ) == fingerprint_by_ssh_keygen(key)


def test_signature_is_one_line_of_base64(key: Key) -> None:
    signature = signature_by(key)
    assert signature.isascii()
    assert not set(signature) & set("\n -")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_fits(tmp_path: Path, signers: Path, kind: str) -> None:
    key = Key.make(tmp_path / kind, kind)
    signers.write_text(key.line())
    signature = signature_by(key)
    assert len(signature) < 1600
    Trust.read(signers).verify(TEXT, signature, NAMESPACE)


def test_any_of_several_keys_will_do(tmp_path: Path, key: Key, signers: Path) -> None:
    second = Key.make(tmp_path / "second")
    signers.write_text(f"# who may release\n\n{key.line()}{second.line()}")
    for each in (key, second):
        Trust.read(signers).verify(TEXT, signature_by(each), NAMESPACE)


def test_unknown_key_is_named(tmp_path: Path, signers: Path) -> None:
    stranger = Key.make(tmp_path / "stranger")
    reason = refusal(signature_by(stranger), signers)
    assert f"signed by an unknown key ({fingerprint_by_ssh_keygen(stranger)})" in reason
    assert reason.endswith("has 1 key")


@pytest.mark.parametrize("text", ["", " ", TEXT + " ", TEXT[:-1], TEXT.replace("12", "13")])
def test_other_text_is_refused(key: Key, signers: Path, text: str) -> None:
    assert "does not hold" in refusal(signature_by(key), signers, text)


def test_signature_for_another_namespace_is_refused(key: Key, signers: Path) -> None:
    assert "namespace" in refusal(signature_by(key, namespace="file"), signers)


def test_key_that_may_sign_for_another_namespace_only_is_refused(key: Key, signers: Path) -> None:
    signers.write_text(key.line('namespaces="git"'))
    refusal(signature_by(key), signers)


def test_key_of_another_principal_is_refused(key: Key, signers: Path) -> None:
    signers.write_text(key.line().replace(f"{NAMESPACE} ", "somebody ", 1))
    refusal(signature_by(key), signers)


def test_expired_key_is_refused_with_its_date(key: Key, signers: Path) -> None:
    signers.write_text(key.line('valid-before="20200101"'))
    assert "key has expired" in refusal(signature_by(key), signers)


def test_key_that_is_not_valid_yet_is_refused(key: Key, signers: Path) -> None:
    signers.write_text(key.line('valid-after="29990101"'))
    refusal(signature_by(key), signers)


def test_revoked_key_is_refused_though_it_is_allowed(key: Key, tmp_path: Path) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(key.line())
    signature = sign(TEXT, key.private, NAMESPACE)
    Trust.read(signers).verify(TEXT, signature, NAMESPACE)
    revoked = tmp_path / "revoked_keys"
    revoked.write_text(key.private.with_suffix(".pub").read_text())
    with pytest.raises(SignatureError, match="revoked_keys revokes"):
        Trust.read(signers).verify(TEXT, signature, NAMESPACE)


def test_empty_allowed_signers_trusts_nobody(key: Key, signers: Path) -> None:
    signers.write_text("# nobody\n")
    assert refusal(signature_by(key), signers).endswith("has 0 keys")


def test_missing_allowed_signers_trusts_nobody(key: Key, tmp_path: Path) -> None:
    assert "cannot read" in refusal(signature_by(key), tmp_path / "none")


def test_damaged_allowed_signers_trusts_nobody(key: Key, signers: Path) -> None:
    signers.write_bytes(b"\x00\xff" * 100)
    refusal(signature_by(key), signers)


@pytest.mark.parametrize("damage", [lambda s: s[:-4], lambda s: s[:60], lambda s: s[4:],
                                    lambda s: s.replace(s[100:104], "AAAA"), lambda s: s * 2,
                                    lambda s: "", lambda s: "-----END SSH SIGNATURE-----",
                                    lambda s: "\u00e9" * 40])  # fmt: skip
def test_damaged_signature_is_refused(key: Key, signers: Path, damage: object) -> None:
    assert callable(damage)
    refusal(damage(signature_by(key)), signers)


def test_public_half_alone_is_enough_when_an_agent_holds_the_key(
    key: Key, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert agent.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(key.private)], check=True)
        key.private.unlink()
        Trust.read(signers).verify(TEXT, signature_by(key), NAMESPACE)
    finally:
        agent.terminate()
        agent.wait()


def test_missing_key_is_said(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match=r"cannot sign with .*/none: no such key; make one"):
        sign(TEXT, tmp_path / "none", NAMESPACE)


def test_missing_ssh_keygen_is_said(
    key: Key, signers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signature = signature_by(key)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(signature, signers) == (
        "cannot run ssh-keygen: not found; install openssh-client"
    )


def test_revoked_keys_that_cannot_be_read_trust_nobody(key: Key, signers: Path) -> None:
    signature = signature_by(key)
    signers.with_name("revoked_keys").mkdir()
    assert "cannot read" in refusal(signature, signers)


def test_what_others_put_into_the_temporary_folder_decides_nothing(
    key: Key, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signature_by(key)
    public = key.private.with_suffix(".pub").read_text()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "revoked_keys").write_text(public)
    monkeypatch.setenv("TMPDIR", str(shared))
    Trust(key.line()).verify(TEXT, signature, NAMESPACE)
    Trust.read(signers).verify(TEXT, signature, NAMESPACE)
    assert [each.name for each in shared.iterdir()] == ["revoked_keys"]


def test_key_trusted_for_one_namespace_signs_for_no_other(key: Key) -> None:
    # For its namespace alone even where the principal is another's.
    trust = Trust(key.line().replace(NAMESPACE, "git", 1))
    with pytest.raises(SignatureError):
        trust.verify(TEXT, signature_by(key, namespace="git"), "git")
