"""What eomm says while it works: the logger "eomm" of Python's logging, to standard error unless set up otherwise.

`logging.getLogger("eomm").setLevel("WARNING")` silences progress; replace its handlers to send it elsewhere.
"""

import logging
import sys

from tqdm import tqdm

LOGGER = logging.getLogger("eomm")


class ToStandardError(logging.Handler):
    """Lines as they are, between progress bars and not through them."""

    def emit(self, record: logging.LogRecord) -> None:
        """As of any handler."""
        tqdm.write(self.format(record), file=sys.stderr)
        sys.stderr.flush()


if not LOGGER.handlers and LOGGER.level == logging.NOTSET:  # nobody has set it up: scripts and notebooks shall see it
    LOGGER.addHandler(ToStandardError())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # Orbax has absl's handler put on the root, which would say all of it again
