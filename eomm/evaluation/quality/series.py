"""Series: what one pixel or one parcel's mean was at the dates of one sensor, and how dates are hidden."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32

from eomm.errors import DataError

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
REACH_DAYS = 365  # what lies farther from a hidden target is not given to any method


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The dates of one pixel or parcel, in time order.

    Attributes:
        name: of the set it comes from.
        region: part of the set between which methods may be carried over.
        group: what must not be divided between training and test, and what is resampled: a field, a locality.
        values: [t, band] reflectance in the order of BANDS, or dB of VV and VH; of invalid dates they say nothing.
        day: [t] days since 1970-01-01, ascending, none twice.
        valid: [t] whether the date was clear there.
        labels: by name, as the set gives them.
        geometry: by name ("sun_zenith_deg", …), [t]; None where the set has none.
        orbit: [t] a number per relative orbit, of radar; None where there is one or it is unknown.
    """

    name: str
    region: str
    group: str
    values: Float32[np.ndarray, "t c"]
    day: Int32[np.ndarray, " t"]
    valid: Bool[np.ndarray, " t"]
    labels: Mapping[str, Any] = field(default_factory=dict)
    geometry: Mapping[str, Float32[np.ndarray, " t"]] | None = None
    orbit: Int32[np.ndarray, " t"] | None = None

    def __post_init__(self) -> None:
        """Raise DataError where lengths differ, a valid value is not finite, or days do not ascend."""
        where = f"series of {self.name}, {self.region}, {self.group}"
        if not len(self.values) == len(self.day) == len(self.valid):
            lengths = f"{len(self.values)} values, {len(self.day)} days, {len(self.valid)} masks"
            raise DataError(f"{where}: {lengths}; expected one of each per date")
        if not np.isfinite(self.values[self.valid]).all():
            raise DataError(f"{where}: valid values hold NaN or infinity; mark those dates invalid")
        if (np.diff(self.day) <= 0).any():
            raise DataError(f"{where}: days do not ascend; sort them and merge equal dates")

    def __len__(self) -> int:
        return len(self.day)


def keep(series: Series, which: np.ndarray) -> Series:
    """Some of its dates.

    Args:
        series: to cut.
        which: [t] bool, or ascending positions.
    """
    geometry = None if series.geometry is None else {k: v[which] for k, v in series.geometry.items()}
    part = {"values": series.values[which], "day": series.day[which], "valid": series.valid[which]}
    orbit = None if series.orbit is None else series.orbit[which]
    return replace(series, geometry=geometry, orbit=orbit, **part)


def hide(series: Series, target: int, gap_days: int) -> tuple[Series, int]:
    """The series as a method sees it that must say what a date was without that date and those near it.

    The target stays as an invalid date without values; valid dates within `gap_days` of it are gone.

    Returns:
        That series, and the target's position in it.
    """
    apart = np.abs(series.day - series.day[target])
    stays = series.valid & (apart > gap_days) & (apart <= REACH_DAYS)
    stays[target] = True
    at = int(stays[:target].sum())
    values, valid = series.values[stays].copy(), series.valid[stays].copy()
    values[at], valid[at] = 0, False
    return replace(keep(series, stays), values=values, valid=valid), at


def every(series: Sequence[Series]) -> list[np.ndarray]:
    """Positions of all dates of each."""
    return [np.arange(len(s)) for s in series]


def groups_of(series: Sequence[Series]) -> np.ndarray:
    """The group of each, [n] str."""
    return np.array([s.group for s in series], dtype=str)
