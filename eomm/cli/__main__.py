"""`python -m eomm.cli`."""

import sys

from eomm.cli.entry import main

sys.exit(main())
