"""`python -m bench`: what `make bench` runs."""

import sys

from bench.table import main

sys.exit(main())
