"""Where this project is, and what `make build` has built of it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
NAME = os.environ.get("NAME") or "panorama"  # config.mk's, exported by make
