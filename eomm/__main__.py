"""`python -m eomm`."""

import sys

from eomm.cli.entry import main

sys.exit(main())
