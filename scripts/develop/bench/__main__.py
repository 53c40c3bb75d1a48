"""`python -m develop.bench`: what `make bench` runs."""

import sys

from develop.bench.table import main

sys.exit(main())
