"""Which build this is: build.json, which packaging put beside the packages."""

import json
from pathlib import Path

_BUILD_FILE = Path(__file__).resolve().parent.parent / "build.json"

# In the source tree there is no such file.
IS_BUNDLE = _BUILD_FILE.exists()
_BUILD: dict[str, str] = json.loads(_BUILD_FILE.read_text()) if IS_BUNDLE else {}

PROGRAM: str = _BUILD.get("name", "panorama-autoupdate")
VERSION: str = _BUILD.get("version", "0+source")
COMMIT: str = _BUILD.get("commit", "")

# The service that this updater looks after.
NAME = PROGRAM.removesuffix("-autoupdate")
