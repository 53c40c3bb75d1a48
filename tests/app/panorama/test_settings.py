"""Settings: layers, bounds, and the line that a bad one gets."""

from pathlib import Path

import pytest
from settings_lines import REFUSED, TAKEN, TAKEN_UNLIKE_ENVIRONMENT_D

import autoupdate.errors
import autoupdate.settings
from panorama.settings import Settings, SettingsError, load


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("# a comment\n\nPORT=9000\nWORKERS='3'\nMAX_PHOTOS=\"5\"\nUNKNOWN='kept out'\n")
    settings = load({"SETTINGS_FILE": str(file), "PORT": "9001"})
    assert (settings.port, settings.workers, settings.max_photos) == (9001, 3, 5)
    assert settings.threads == Settings().threads


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "0"), ("PORT", "65536"), ("PORT", "http"), ("PORT", ""), ("PORT", "-1"),
     ("PORT", "٣"), ("WORKERS", "0"), ("GRACE", "1.5"), ("STATE_DIR", "relative")],
)  # fmt: skip
def test_bad_value_is_named_with_its_origin(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}={value!r} \\(from the environment\\)"):
        load({variable: value})


def test_bad_value_in_the_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("PORT=many\n")
    with pytest.raises(SettingsError, match=f"from {file}"):
        load({"SETTINGS_FILE": str(file)})


def test_line_that_is_no_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("PORT=1\nexport WORKERS=2\n")
    with pytest.raises(SettingsError, match=r"settings:2: not NAME=VALUE"):
        load({"SETTINGS_FILE": str(file)})


def test_settings_file_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(SettingsError, match="is not there"):
        load({"SETTINGS_FILE": "/nonexistent/settings"})


def test_queue_without_bucket_is_refused() -> None:
    with pytest.raises(SettingsError, match="go together"):
        load({"QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/jobs"})


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "0.0.0.0:8000"), ("::", "[::]:8000"), ("/run/web", "/run/web")],  # noqa: S104
)
def test_address_of_each_family(host: str, address: str) -> None:
    assert load({"HOST": host}).address == address


def test_folder_that_cannot_be_made_is_told_by_its_variable() -> None:
    settings = load({"RUNTIME_DIR": "/proc/panorama", "STATE_DIR": "/proc/panorama"})
    with pytest.raises(SettingsError, match="RUNTIME_DIR /proc/panorama"):
        settings.make_folders()


@pytest.mark.parametrize("line", [*TAKEN, *TAKEN_UNLIKE_ENVIRONMENT_D, *REFUSED])
def test_service_and_updater_take_and_refuse_the_same_lines(tmp_path: Path, line: str) -> None:
    file = tmp_path / "settings"
    file.write_bytes(f"# first\n{line}\n".encode())
    environ = {"SETTINGS_FILE": str(file), "BUCKET": "a-bucket"}
    reasons = []
    for program in (load, autoupdate.settings.load):
        try:
            program(environ)
        except (SettingsError, autoupdate.errors.SettingsError) as error:
            reasons.append(str(error))
    if line in REFUSED:
        assert len(reasons) == 2
        assert reasons[0] == reasons[1]
        assert reasons[0].startswith(f"{file}:2: ")
    else:
        assert reasons == []
