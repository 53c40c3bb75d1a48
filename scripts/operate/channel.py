"""A channel: where releases go, and whom its machines trust."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autoupdate.release.trust import REVOKED_KEYS, Trust
from operate.bucket import Bucket
from operate.errors import OperateError
from operate.signing_key import ALLOWED_SIGNERS, ROOT, is_text


@dataclass(frozen=True)
class Channel:
    """What the settings say of it."""

    name: str
    bucket_name: str
    region: str
    channel: str
    signing_key: str  # its path or its text: operate.signing_key

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> "Channel":
        """Return the channel of the settings of a verb that works on the bucket."""
        return cls(
            settings["NAME"],
            settings["BUCKET"],
            settings["REGION"],
            settings["CHANNEL"],
            settings.get("SIGNING_KEY", ""),
        )

    @property
    def key(self) -> str:
        return f"{self.channel}/{self.name}-server.deb"

    @property
    def url(self) -> str:
        return f"s3://{self.bucket_name}/{self.key}"

    @property
    def namespace(self) -> str:
        return f"{self.name}-release"

    @cached_property
    def bucket(self) -> Bucket:
        return Bucket(self.bucket_name, self.region)

    @cached_property
    def trust(self) -> Trust:
        """The keys that the next package will tell machines to trust.

        Raises:
            OperateError: there are none.
            OSError: revoked keys cannot be read: then nobody is trusted.
        """
        key = self.signing_key
        if not is_text(key):
            key = str(Path(key).expanduser().absolute())
        made = subprocess.run(
            [ROOT / "packaging" / "trusted-keys"],
            env={**os.environ, "NAME": self.name, "SIGNING_KEY": key},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise OperateError(" ".join(made.stderr.split()))
        revoked_keys = ROOT / "packaging" / REVOKED_KEYS
        revoked = revoked_keys.read_bytes() if revoked_keys.exists() else b""
        origin = str(ALLOWED_SIGNERS) if ALLOWED_SIGNERS.exists() else "SIGNING_KEY"
        return Trust(made.stdout, revoked, origin)
