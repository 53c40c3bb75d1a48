"""Settings of the updater: environment over settings file over default."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from autoupdate.build_info import NAME
from autoupdate.errors import SettingsError
from autoupdate.settings_kinds import (
    Setting,
    absolute_path,
    matching,
    names,
    number,
    whole,
)
from handoff import settings_file

_BUCKET = matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "an S3 bucket's name")
_WORD = matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "1 to 64 letters, digits, . _ -")
# The colon is for EC2: the part of the bucket that its role may write to is ROLE-ID:INSTANCE-ID.
_MACHINE = matching(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", "1 to 64 letters, digits, . _ - :")
_REGION = matching(r"[a-z]{2}[a-z0-9-]{1,30}", "an AWS region")
_URL = matching(r"|https?://[^\s/]+/?", "http://HOST:PORT or https://HOST")
_HOST = matching(r"[A-Za-z0-9.:\[\]_-]*|/.+", "a host name, an IP address or a socket's path")
_SECONDS = number(1, 86400)


@dataclass(frozen=True)
class Settings:
    """What one updater works with. Times are seconds, sizes as their names say."""

    name: str  # of the service
    environ: Mapping[str, str]  # as found, for the programs that the updater runs
    file: Path  # the settings file, whether it is there or not

    bucket: Annotated[str, Setting("BUCKET", None, _BUCKET, "S3 bucket of the releases; required")]
    channel: Annotated[
        str, Setting("CHANNEL", "stable", _WORD, "folder of the bucket with the release to follow")
    ]
    region: Annotated[str, Setting("REGION", "us-east-1", _REGION, "AWS region of the bucket")]
    endpoint_url: Annotated[
        str, Setting("AWS_ENDPOINT_URL", "", _URL, "another S3 server than AWS's")
    ]
    ca_bundle: Annotated[
        str,
        Setting("AWS_CA_BUNDLE", "", matching(r"|/.+", "an absolute path"),
                "certificates to trust; empty: those that the system trusts"),
    ]  # fmt: skip
    machine: Annotated[
        str, Setting("MACHINE", "{hostname}", _MACHINE, "this machine's name in its report")
    ]
    roles: Annotated[
        tuple[str, ...], Setting("ROLES", "web vision", names, "roles that this machine runs")
    ]
    host: Annotated[str, Setting("HOST", "0.0.0.0", _HOST, "address that web listens on")]  # noqa: S104
    port: Annotated[int, Setting("PORT", "8000", whole(1, 65535), "port that web listens on")]
    interval_seconds: Annotated[
        float, Setting("INTERVAL", "10", number(0.1, 86400), "seconds from poll to poll")
    ]
    report_seconds: Annotated[
        float, Setting("REPORT_SECONDS", "900", _SECONDS, "report at least so often")
    ]
    root: Annotated[Path, Setting("ROOT", "/", absolute_path, "where dpkg installs")]
    state_dir: Annotated[
        Path,
        Setting("AUTOUPDATE_STATE_DIR", "{root}/var/lib/{name}-autoupdate", absolute_path,
                "what the updater must not forget, and the packages it keeps"),
    ]  # fmt: skip
    hold_file: Annotated[
        Path,
        Setting("HOLD_FILE", "{root}/var/lib/{name}-autoupdate/HOLD", absolute_path,
                "while it exists nothing is updated; its first line may say why"),
    ]  # fmt: skip
    allowed_signers: Annotated[
        Path,
        Setting("ALLOWED_SIGNERS", "{root}/etc/{name}/allowed_signers", absolute_path,
                "the keys that may sign a release"),
    ]  # fmt: skip
    runtime_dir: Annotated[
        Path,
        Setting("RUNTIME_DIR", "{root}/run/{name}", absolute_path, "where roles write ROLE.json"),
    ]
    max_package_mb: Annotated[
        float, Setting("MAX_PACKAGE_MB", "256", number(1, 5000), "refuse a larger package")
    ]
    download_seconds: Annotated[
        float, Setting("DOWNLOAD_SECONDS", "600", _SECONDS, "time limit of a download")
    ]
    check_seconds: Annotated[
        float, Setting("CHECK_SECONDS", "60", _SECONDS, "time limit of a new build's check")
    ]
    lock_seconds: Annotated[
        float, Setting("LOCK_SECONDS", "600", number(0, 86400), "wait so long for dpkg's lock")
    ]
    install_seconds: Annotated[
        float, Setting("INSTALL_SECONDS", "600", _SECONDS, "time limit of dpkg, of apt-get")
    ]
    ready_seconds: Annotated[
        float, Setting("READY_SECONDS", "180", _SECONDS, "time limit from SIGUSR2 to all ready")
    ]

    @property
    def package(self) -> str:
        return f"{self.name}-server"

    @property
    def namespace(self) -> str:
        """Of the signatures of releases, and the principal in allowed_signers."""
        return f"{self.name}-release"

    @property
    def release_key(self) -> str:
        return f"{self.channel}/{self.package}.deb"

    @property
    def report_key(self) -> str:
        return f"fleet/{self.machine}.json"

    @property
    def cache_dir(self) -> Path:
        """Where the roles' executable unpacks itself, unless its unit or job says otherwise."""
        return self.root / "var/cache" / self.name

    @property
    def proof_dir(self) -> Path:
        """Where a package is unpacked aside; for the roles' user to read, unlike STATE_DIR."""
        return self.root / "var/cache" / f"{self.name}-proof"

    @property
    def updater(self) -> Path:
        """The installed executable of the updater itself."""
        return self.root / "usr/bin" / f"{self.name}-autoupdate"


def load(environ: Mapping[str, str], name: str = NAME) -> Settings:
    """Return the settings that `environ` and the settings file give.

    Its format: handoff.settings_file. It need not be there.

    Raises:
        SettingsError: naming variable, value, bounds and origin.
    """
    file = file_of(environ, name)
    try:
        in_file = settings_file.read(file)
    except FileNotFoundError:
        in_file = {}
    except settings_file.SettingsFileError as error:
        raise SettingsError(str(error)) from error
    words = {"name": name, "root": "", "hostname": socket.gethostname()}
    values: dict[str, Any] = {}
    # ROOT first: other defaults lie below it.
    for field, setting in sorted(declared(), key=lambda each: each[0] != "root"):
        if setting.variable in environ:
            text, origin = environ[setting.variable], "the environment"
        elif setting.variable in in_file:
            text, origin = in_file[setting.variable], str(file)
        elif setting.default is None:
            raise SettingsError(f"{setting.variable} is not set; set it in {file}")
        else:
            text, origin = setting.default.format(**words), "its default"
        try:
            values[field] = setting.read(text)
        except ValueError as error:
            raise SettingsError(
                f"{setting.variable}={text!r:.80} in {origin}: must be {error}"
            ) from error
        if field == "root":
            words["root"] = text.rstrip("/")
    return Settings(name=name, environ=dict(environ), file=file, **values)


def file_of(environ: Mapping[str, str], name: str = NAME) -> Path:
    """Return ``$SETTINGS_FILE``, or ``/etc/default/NAME`` below ``$ROOT``; it need not be there."""
    root = environ.get("ROOT", "/").rstrip("/")
    return Path(environ.get("SETTINGS_FILE") or f"{root}/etc/default/{name}")


def declared() -> Iterator[tuple[str, Setting]]:
    """Yield field and declaration of every setting, in order."""
    for field, hint in get_type_hints(Settings, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            yield field, extra
