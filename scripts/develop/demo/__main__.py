"""`make demo`: the whole life cycle on this machine, without an AWS account."""

import sys

from develop.demo.story import main

sys.exit(main())
