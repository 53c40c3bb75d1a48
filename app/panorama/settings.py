"""Settings: the environment over the settings file over the defaults.

The file (/etc/default/NAME, or $SETTINGS_FILE; its format: handoff.settings_file) is read anew by
each generation, so that a change takes effect with SIGUSR2.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from handoff import settings_file
from panorama.build_info import NAME


class SettingsError(Exception):
    """A setting has no usable value; the message names it, its origin and its bounds."""


def _setting(default: object, unit: str, text: str, low: int = 0, high: int = 0) -> Any:
    return field(default=default, metadata={"unit": unit, "text": text, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """Every setting of the service. The variable's name is the field's, in capitals."""

    host: str = _setting("0.0.0.0", "address", "where web listens; or /path of a Unix socket")  # noqa: S104
    port: int = _setting(8000, "port", "where web listens", 1, 65535)
    runtime_dir: Path = _setting(Path("/run") / NAME, "folder", "ROLE.json")
    state_dir: Path = _setting(Path("/var/lib") / NAME, "folder", "jobs and pictures")
    grace: int = _setting(90, "seconds", "a stopping web finishes within them", 1, 3600)
    proof_seconds: int = _setting(60, "seconds", "a new build proves itself within them", 1, 3600)
    workers: int = _setting(2, "processes", "of web", 1, 64)
    threads: int = _setting(8, "threads", "of each worker", 1, 256)
    max_upload_mb: int = _setting(100, "MB", "of one upload, all photos together", 1, 10_000)
    max_photos: int = _setting(12, "photos", "of one upload", 2, 100)
    keep_days: int = _setting(7, "days", "then photos and panoramas are removed", 1, 3650)
    stitch: str = _setting("", "file", "the helper [beside the executable, or installed]")
    stitch_seconds: int = _setting(120, "seconds", "the helper's time for one job", 1, 3600)
    stitch_memory_mb: int = _setting(2048, "MB", "the helper's memory for one job", 64, 1_000_000)
    queue_url: str = _setting(
        "", "URL", "an SQS queue; with BUCKET_URL, web and vision scale apart"
    )
    bucket_url: str = _setting("", "s3://…", "where photos and panoramas are then kept")
    region: str = _setting("", "AWS region", "of both [as the AWS libraries find it]")
    aws_endpoint_url: str = _setting("", "URL", "of another server than AWS's for both")

    @property
    def address(self) -> str:
        """HOST:PORT, or the path of a Unix socket."""
        if self.host.startswith("/"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def make_folders(self) -> None:
        """Make the folders that a role writes to, if the init has not.

        Raises:
            SettingsError: this user may not.
        """
        folders = {"RUNTIME_DIR": self.runtime_dir}
        if not self.queue_url:
            folders["STATE_DIR"] = self.state_dir
        for variable, folder in folders.items():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(
                    f"cannot make {variable} {folder}: {error.strerror}; set {variable} to a "
                    "folder that this user may write to"
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise SettingsError(
                    f"cannot write to {variable} {folder}: permission denied; set {variable} to "
                    "a folder that this user may write to"
                )


def load(environ: Mapping[str, str]) -> Settings:
    """Layer the environment over the settings file over the defaults.

    Raises:
        SettingsError: the file cannot be read, or a value is out of its bounds.
    """
    path = Path(environ.get("SETTINGS_FILE", f"/etc/default/{NAME}"))
    in_file = _read_file(path, required="SETTINGS_FILE" in environ)
    values: dict[str, Any] = {}
    for each in fields(Settings):
        variable = each.name.upper()
        for origin, source in (("the environment", environ), (str(path), in_file)):
            if variable in source:
                values[each.name] = _parse(
                    each.type, variable, source[variable], origin, each.metadata
                )
                break
    settings = Settings(**values)
    if bool(settings.queue_url) != bool(settings.bucket_url):
        raise SettingsError("QUEUE_URL and BUCKET_URL go together: set both, or neither")
    if settings.bucket_url and not re.fullmatch(r"s3://[a-z0-9.-]+(/.*)?", settings.bucket_url):
        raise SettingsError(f"BUCKET_URL={settings.bucket_url!r} is not s3://BUCKET/PREFIX")
    return settings


def _parse(
    kind: object, variable: str, text: str, origin: str, metadata: Mapping[str, Any]
) -> str | int | Path:
    if kind is Path:
        if not text.startswith("/"):
            raise SettingsError(f"{variable}={text!r} (from {origin}) is not a full path")
        return Path(text)
    if kind is str:
        return text
    low, high = metadata["low"], metadata["high"]
    if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
        raise SettingsError(
            f"{variable}={text!r} (from {origin}) is not a whole number from {low} to {high}"
        )
    return int(text)


def _read_file(path: Path, *, required: bool) -> dict[str, str]:
    try:
        return settings_file.read(path)
    except FileNotFoundError:
        if required:
            raise SettingsError(f"SETTINGS_FILE {path} is not there") from None
        return {}
    except settings_file.SettingsFileError as error:
        raise SettingsError(str(error)) from error


def table() -> str:
    """Return all settings with their meanings, units and [defaults], for --help."""
    rows = []
    for each in fields(Settings):
        unit, text = each.metadata["unit"], each.metadata["text"]
        default = f" [{each.default}]" if each.default != "" else ""
        rows.append(f"  {each.name.upper():<17} {unit}: {text}{default}")
    return "\n".join(rows)
