"""The updater's settings: layers, bounds, and errors that name their origin."""

from pathlib import Path

import pytest

from autoupdate import settings
from autoupdate.errors import SettingsError


def write(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "defaults"
    file.write_text(text)
    return {"SETTINGS_FILE": str(file)}


def test_environment_stands_over_file_over_default(tmp_path: Path) -> None:
    environ = write(tmp_path, "BUCKET=from-file\nINTERVAL=20\n") | {"INTERVAL": "30"}
    found = settings.load(environ)
    assert (found.bucket, found.interval_seconds, found.channel) == ("from-file", 30.0, "stable")


def test_every_path_lies_below_root() -> None:
    found = settings.load({"BUCKET": "a-bucket", "ROOT": "/srv/machine/"}, "tiny")
    assert found.state_dir == Path("/srv/machine/var/lib/tiny-autoupdate")
    assert found.allowed_signers == Path("/srv/machine/etc/tiny/allowed_signers")
    assert found.updater == Path("/srv/machine/usr/bin/tiny-autoupdate")
    assert found.file == Path("/srv/machine/etc/default/tiny")


def test_names_follow_the_service() -> None:
    found = settings.load({"BUCKET": "a-bucket", "MACHINE": "m1"}, "tiny")
    assert found.package == "tiny-server"
    assert found.namespace == "tiny-release"
    assert found.release_key == "stable/tiny-server.deb"
    assert found.report_key == "fleet/m1.json"


def test_file_has_comments_quotes_and_settings_of_others(tmp_path: Path) -> None:
    text = "# a comment\n\nBUCKET=\"a-bucket\"\nROLES='web vision'\nX='say \"hi\" now'\n"
    found = settings.load(write(tmp_path, text))
    assert (found.bucket, found.roles) == ("a-bucket", ("web", "vision"))


def test_nothing_in_the_file_is_expanded(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MACHINE="):
        settings.load(write(tmp_path, "BUCKET=a-bucket\nMACHINE='$(hostname)'\n"))


def test_missing_bucket_says_where_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BUCKET is not set; set it in .*/defaults"):
        settings.load(write(tmp_path, ""))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BUCKET", "Not_A_Bucket"),
        ("BUCKET", ""),
        ("CHANNEL", "../other"),
        ("MACHINE", "web-1/../web-2"),
        ("INTERVAL", "0"),
        ("INTERVAL", "ten"),
        ("INTERVAL", "nan"),
        ("INTERVAL", "1e9"),
        ("INTERVAL", "-5"),
        ("ROLES", "web ../vision"),
        ("PORT", "80.5"),
        ("PORT", "70000"),
        ("ROOT", "relative"),
        ("AWS_ENDPOINT_URL", "file:///etc/passwd"),
        ("AWS_ENDPOINT_URL", "http://host/path"),
        ("MAX_PACKAGE_MB", "99999"),
    ],
)
def test_wrong_value_is_named_with_its_bounds_and_origin(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load({"BUCKET": "a-bucket", name: text})
    assert str(caught.value).startswith(f"{name}={text!r} in the environment: must be ")


def test_line_that_is_no_setting_is_named_by_number(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="defaults:2: not NAME=VALUE: 'export BUCKET=x'"):
        settings.load(write(tmp_path, "# first\nexport BUCKET=x\n"))


def test_settings_file_that_is_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        settings.load({"BUCKET": "a-bucket", "SETTINGS_FILE": str(tmp_path)})
