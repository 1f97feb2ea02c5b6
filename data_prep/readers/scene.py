"""What every reader gives: scenes whose metadata are known before any pixel is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.readers.stated import Numbers
from eomm.data.grid import EPOCH, Grid
from eomm.data.missing import is_fill
from eomm.data.modality import STATIC_DAY

STATIC = datetime(EPOCH.year, EPOCH.month, EPOCH.day) + timedelta(days=STATIC_DAY)
"""The time of what has none."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One file's part of one acquisition. Files of one acquisition are joined in `passes`.

    Attributes:
        product: the provider's name of it, or the file's name.
        file: where it lies.
        time: UTC, without zone; of a static layer STATIC.
        mapping: what the file means.
        grids: the layers it holds (bands, and the mask's) -> the grid each lies on.
        read: layer -> float32 [y, x] in the mapping's unit, NaN where missing; the mask's layers [y, x] as the file
            has them.
        platform: such as "S2A", or None.
        orbit: label, or None.
        direction: "ascending", "descending" or None.
        incidence_deg: or None.
        offset: what was added to number * scale, where the scene says it itself (baseline 04.00 of Sentinel-2); None
            for the mapping's.
        angles: what is known of `mapping.ANGLES`, in degrees.
        named: whether `product` is the provider's own name.
        simulated: whether the file says that it is simulated.
        stated: what else the file states of itself: "level", "calibration"; "baseline", the version of the provider's
            processor such as "04.00"; of a static layer "time", which means nothing unless files differ in it.
        numbers: what the file states of the numbers of its layers.
    """

    product: str
    file: Path
    time: datetime
    mapping: SourceMapping
    grids: Mapping[str, Grid]
    read: Callable[[str], np.ndarray]
    platform: str | None = None
    orbit: str | None = None
    direction: str | None = None
    incidence_deg: float | None = None
    angles: Mapping[str, float] = field(default_factory=dict)
    offset: float | None = None
    named: bool = False
    simulated: bool = False
    stated: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Numbers] = field(default_factory=dict)

    @property
    def added_offset(self) -> float:
        """What was added to number * scale, in the mapping's unit."""
        return self.mapping.offset if self.offset is None else self.offset

    @property
    def when(self) -> str:
        """Its time in brackets behind a blank, for messages; nothing of a static layer."""
        return "" if self.mapping.contract.static else f" ({self.time:%Y-%m-%d %H:%M} UTC)"

    @property
    def label(self) -> str:
        """File and date, for messages."""
        return f"{self.file}{self.when}"


def decode(
    raw: np.ndarray, mapping: SourceMapping, *, stated: Numbers, offset: float | None = None
) -> Float[np.ndarray, "y x"]:
    """A provider's numbers to physical values, float32, NaN where missing.

    Args:
        raw: as read.
        mapping: says scale, offset, what numbers mean no data and which are clipped.
        stated: what the file says of these numbers; here only which mean no data counts.
        offset: of this scene, in the mapping's unit, where it states its own.
    """
    offset = mapping.offset if offset is None else offset
    # Before baseline 04.00 a reflectance of 0 or less was written as 1: not a measurement. With the offset such values
    # are measured, and kept down to the contract's minimum: masking them would make dark water too bright.
    fill = [*mapping.fill, *stated.fill, *(mapping.clipped if offset == 0 else ())]
    physical = raw.astype(np.float32) * np.float32(mapping.scale) + np.float32(offset)
    # In the raster's own precision, or -9999.9 would not be found; and what nobody declares but no quantity is.
    if raw.dtype.kind == "f":
        hole = np.isin(raw, np.array(fill, raw.dtype)) | is_fill(raw)
    else:
        hole = np.isin(raw, fill)
    if stated.valid is not None:
        hole |= (raw < stated.valid[0]) | (raw > stated.valid[1])
    return np.where(hole, np.float32(np.nan), physical)
