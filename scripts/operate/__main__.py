"""`python -m operate VERB`."""

import sys

from operate.cli import main

sys.exit(main(sys.argv[1:]))
