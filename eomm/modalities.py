"""Moved: `eomm.data.modality`. This name works for one release, with a warning; writers of encoders used it."""

import warnings

from eomm.data.modality import *  # noqa: F403

warnings.warn(
    "eomm.modalities is now eomm.data.modality; the old name goes with release 0.3", DeprecationWarning, stacklevel=2
)
