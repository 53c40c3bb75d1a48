"""What signs requests to AWS, and the JSON in which AWS's services hand it out."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Keys:
    """An access key."""

    access_key: str
    secret_key: str
    token: str = ""  # of temporary credentials

    def __post_init__(self) -> None:
        for text in (self.access_key, self.secret_key, self.token):
            # They travel in headers; what gave them may be a stranger's.
            if not isinstance(text, str) or re.search(r"[^!-~]", text):
                raise ValueError("a key that no header can hold")


@dataclass(frozen=True)
class Temporary:
    """Keys, and when they end."""

    keys: Keys
    expires: float  # seconds since the epoch

    @classmethod
    def parse(cls, text: str) -> "Temporary":
        """Return the keys that the metadata service, or a container's provider, answers with.

        Raises:
            ValueError: it is something else; the message says what is wrong.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            keys = Keys(found["AccessKeyId"], found["SecretAccessKey"], found.get("Token", ""))
            expires = datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00"))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no credentials in {text!r:.100}") from error
        return cls(keys, expires.timestamp())
