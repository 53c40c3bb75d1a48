"""The settings file: one meaning for our programs, a shell and systemd, or a refusal."""

import os
import shlex
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_lines import (
    REFUSED,
    TAKEN,
    TAKEN_UNLIKE_A_SHELL,
    TAKEN_UNLIKE_ENVIRONMENT_D,
)

from handoff import settings_file
from handoff.settings_file import SettingsFileError

# systemd's own reader of such files: environment.d(5) has the format of EnvironmentFile=, but its
# generator expands variables and leaves out what is empty.
SYSTEMD = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")


def told_by_shell(file: Path) -> dict[str, str]:
    done = subprocess.run(
        ["sh", "-c", 'set -a; . "$1"; exec env -0', "sh", file],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    return dict(each.split("=", 1) for each in done.stdout.split("\0") if each)


def told_by_systemd(file: Path) -> dict[str, str]:
    folder = file.with_name("environment.d")
    folder.mkdir()
    file.rename(folder / "it.conf")
    done = subprocess.run(
        [SYSTEMD], env={"XDG_CONFIG_HOME": str(file.parent), "HOME": "/nonexistent"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    return dict(each.split("=", 1) for each in shlex.split(done.stdout))


@pytest.mark.parametrize("line", TAKEN | TAKEN_UNLIKE_ENVIRONMENT_D)
def test_line_that_is_taken_means_the_same_to_a_shell(tmp_path: Path, line: str) -> None:
    file = tmp_path / "settings"
    file.write_text(f"BEFORE=1\n{line}\nAFTER=2\n")
    expected = (TAKEN | TAKEN_UNLIKE_ENVIRONMENT_D)[line]
    settings = {"BEFORE": "1", "AFTER": "2"} | dict([expected] if expected else [])
    assert settings_file.read(file) == settings
    assert settings.items() <= told_by_shell(file).items()


def test_lines_that_are_taken_mean_the_same_to_systemd(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    lines, settings = [], {}
    for number, (line, expected) in enumerate((TAKEN | TAKEN_UNLIKE_A_SHELL).items()):
        if expected is None:
            lines.append(line)
        elif expected[1]:
            name = f"{expected[0]}_{number}"
            lines.append(line.replace(expected[0], name, 1))
            settings[name] = expected[1]
    file.write_text("\n".join(lines))
    assert settings_file.read(file) == settings
    assert settings.items() <= told_by_systemd(file).items()


@pytest.mark.parametrize("line", REFUSED)
def test_line_that_is_no_setting_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "settings"
    file.write_bytes(f"A=1\n{line}\n".encode())
    with pytest.raises(SettingsFileError) as refusal:
        settings_file.read(file)
    assert str(refusal.value).startswith(f"{file}:2: ")
    assert REFUSED[line] in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_last_of_two_settings_of_a_name_counts(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("A=1\nB=2\nA=3")
    assert settings_file.read(file) == {"A": "3", "B": "2"}
    assert told_by_shell(file)["A"] == "3"
    assert told_by_systemd(file)["A"] == "3"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A=1\nB=\xff\n", ":2: not UTF-8"),
        (b"#" * (settings_file.MAX_BYTES + 1), "longer than 65536 bytes"),
        (b"A=" + b"a" * 200 + b"$\n", "a…'"),
    ],
)
def test_content_that_is_no_settings_file_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(content)
    with pytest.raises(SettingsFileError) as refusal:
        settings_file.read(file)
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < len(str(file)) + 150


def test_longest_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("A=1\n" + "#" * (settings_file.MAX_BYTES - 4))
    assert settings_file.read(file) == {"A": "1"}


def test_folder_in_the_files_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match=f"cannot read {tmp_path}: Is a directory"):
        settings_file.read(tmp_path)


@given(
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    value=st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" '\"$`\\#")),
)
def test_what_is_written_reads_the_same(name: str, value: str) -> None:
    if "'" in value and set(value) & set('"$`\\'):
        with pytest.raises(ValueError, match="no line of a settings file says"):
            settings_file.line(name, value)
        return
    line = settings_file.line(name, value)
    assert line.endswith("\n")
    assert settings_file.parse(line[:-1]) == (name, value)


@given(line=st.text(st.sampled_from(string.ascii_letters + "=#'\" \t$\\é\r\x00") | st.characters()))
def test_whatever_is_taken_can_be_written_again(line: str) -> None:
    try:
        setting = settings_file.parse(line)
    except ValueError:
        return
    if setting:
        assert settings_file.parse(settings_file.line(*setting)[:-1]) == setting


@pytest.mark.parametrize("value", ["web vision", "[::1]", "a?b&c", "~"])
def test_what_a_shell_would_read_otherwise_is_written_in_quotes(value: str) -> None:
    assert settings_file.line("A", value) == f"A='{value}'\n"


@pytest.mark.parametrize(
    ("name", "value"), [("NAMÉ", "x"), ("A B", "x"), ("A", "x\ny"), ("A", "x\0y")]
)
def test_what_no_line_can_say_is_not_written(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="no line of a settings file says"):
        settings_file.line(name, value)
