"""`python -m autoupdate`: the updater from its source tree."""

import sys

from autoupdate.cli import main

sys.exit(main())
