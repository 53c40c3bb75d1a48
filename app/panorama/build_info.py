"""Which build this is: the bundle's build.json, or the source tree's stand-in."""

import json
from pathlib import Path

_FILE = Path(__file__).parent.parent / "build.json"
_BUILD = (
    json.loads(_FILE.read_text())
    if _FILE.exists()
    else {"name": "panorama", "version": "0+source", "commit": ""}
)

NAME: str = _BUILD["name"]
VERSION: str = _BUILD["version"]
COMMIT: str = _BUILD["commit"]
