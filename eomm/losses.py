"""Moved: `eomm.models.losses`. This name works for one release, with a warning; writers of encoders used it."""

import warnings

from eomm.models.losses import *  # noqa: F403

warnings.warn(
    "eomm.losses is now eomm.models.losses; the old name goes with release 0.3", DeprecationWarning, stacklevel=2
)
