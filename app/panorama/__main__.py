"""`python -m panorama`: the service from its source tree."""

import sys

from panorama.cli import main

sys.exit(main())
