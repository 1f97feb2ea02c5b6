"""The pixels of a cube that a check looks at. Judges nothing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16

from eomm.data.cube import CubeGroup

SAMPLE_BYTES = 2e8
MOST_PX, LEAST_PX = 256, 64
MIN_VALID = 0.2  # of the sample's pixels, for an acquisition to be compared
MIN_SIDE_PX = 32  # smaller sites tell no shift


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One modality's pixels that are looked at: a square from the middle of the site, of all acquisitions.

    Attributes:
        group: of the cube.
        values: as stored.
        valid: which are.
        fraction: share of the whole site that is valid, per acquisition.
    """

    group: CubeGroup
    values: Int16[np.ndarray, "t y x band"]
    valid: Bool[np.ndarray, "t y x"]
    fraction: Float64[np.ndarray, " t"]

    def physical(self, i: int) -> Float32[np.ndarray, "y x band"]:
        """One acquisition in physical units, NaN where invalid."""
        decoded = self.group.modality.decode(self.values[i])
        return np.where(self.valid[i][..., None], decoded, np.float32(np.nan))

    @property
    def compared(self) -> np.ndarray:
        """Indices of the usable acquisitions with enough of the sample valid."""
        return np.flatnonzero(self.group.usable & (self.valid.mean((1, 2)) >= MIN_VALID))


def take_sample(group: CubeGroup) -> Sample:
    """The square from the middle of the site that fits SAMPLE_BYTES, at all times."""
    per_pixel = 2 * len(group) * len(group.modality.bands)
    size = int(np.clip(np.sqrt(SAMPLE_BYTES / per_pixel), LEAST_PX, MOST_PX))
    rows, cols = (_middle(n, size) for n in (group.grid.height, group.grid.width))
    values, valid = group.read(None, rows, cols)
    return Sample(group=group, values=values, valid=valid, fraction=group.valid_fraction())


def _middle(length: int, size: int) -> slice:
    start = max(0, (length - size) // 2)
    return slice(start, min(length, start + size))
