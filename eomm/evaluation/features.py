"""What a probe is given of every pixel: one form for raw bands, embeddings and peers, and how its dates become a row.

A provider is a function from a cube (and the dates wanted) to `Features` on the cube's grid: features_raw.py,
features_model.py, adapters.py. How rows are scored is evaluation/probes/tables.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Bool, Float32, Int32

from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import EPOCH, Grid, to_date
from eomm.errors import UsageError

MODES = {
    "date": "of one date",
    "season": "of seasons (the median of each, one after the other; winter is December to February)",
    "series": "of all dates, one after the other",
}
SEASONS = ("DJF", "MAM", "JJA", "SON")
NEEDED = 0.5  # of the pixels: dates and seasons with fewer are left out of a row
MAX_BYTES = 4 * 2**30

Dates = tuple[date, date] | None  # first and last, both included; None is all
Provider = Callable[[Cube, Dates], "Features"]


@dataclass(frozen=True)
class Features:
    """Features of every pixel of a grid at some dates, or of a whole period.

    Attributes:
        values: anything finite where not valid.
        valid: where there is a feature.
        day: days since 1970-01-01, ascending; None for features of no date, which have a time axis of one.
    """

    values: Float32[np.ndarray, "t y x k"]
    valid: Bool[np.ndarray, "t y x"]
    day: Int32[np.ndarray, " t"] | None

    def check(self, grid: Grid, name: str) -> "Features":
        """Themselves, if they are what the form says. Raises UsageError naming whoever made them."""
        shape = np.shape(self.values)
        days = 1 if self.day is None else len(self.day)
        if len(shape) != 4 or shape[:3] != (days, grid.height, grid.width) or not shape[3]:
            raise UsageError(
                f"features {name!r}: values have shape {shape}; expected ({days}, {grid.height}, {grid.width}, k), "
                "that is (dates, rows, columns, numbers) on the cube's grid"
            )
        if self.values.dtype != np.float32 or self.valid.shape != shape[:3] or self.valid.dtype != bool:
            raise UsageError(
                f"features {name!r}: values are {self.values.dtype} and valid is {self.valid.dtype} "
                f"{self.valid.shape}; expected float32 and bool {shape[:3]}"
            )
        if self.day is not None and not (np.diff(self.day) >= 0).all():
            raise UsageError(f"features {name!r}: days are not ascending")
        if not np.isfinite(self.values[self.valid]).all():
            raise UsageError(f"features {name!r}: NaN or infinite where valid")
        return self


@dataclass(frozen=True)
class Map:
    """A row of features for every pixel; what one probe of one method sees of a site.

    Attributes:
        values: zero where not valid.
        valid: where there is a row.
        about: dates or seasons that a row holds, in order; empty for features of no date.
    """

    values: Float32[np.ndarray, "y x f"]
    valid: Bool[np.ndarray, "y x"]
    about: tuple[str, ...]


def rows_of(features: Features, mode: str, day: int | None = None) -> Map:
    """Features to one row per pixel.

    Where a pixel lacks a date (or season) that the row holds, the value lies on the line in time between those it has
    around it; pixels that have none are not valid. Dates and seasons that fewer than half of the pixels have are left
    out. Features of no date are the same in every mode.

    Args:
        features: of a provider.
        mode: one of MODES.
        day: for "date", which.

    Raises:
        UsageError: the date is not among those of the features, or none is left.
    """
    if mode not in MODES:
        raise UsageError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    if features.day is None:
        return Map(_zero(features.values[0], features.valid[0]), features.valid[0], ())
    if mode == "date":
        found = np.flatnonzero(features.day == day)
        if not len(found):
            have = ", ".join(str(to_date(d)) for d in features.day[:40])
            raise UsageError(f"no features of {to_date(day or 0)}; there are some of {have or 'no date at all'}")
        i = int(found[0])
        return Map(_zero(features.values[i], features.valid[i]), features.valid[i], (str(to_date(day or 0)),))
    values, valid, at, names = _seasons(features) if mode == "season" else _dates(features)
    keep = valid.mean(axis=(1, 2)) >= NEEDED
    if not keep.any():
        raise UsageError(f"mode {mode!r}: none of {len(at)} dates or seasons has a value at half of the pixels")
    values, valid, at = values[keep], valid[keep], at[keep]
    filled = fill(values, valid, at)
    row = np.moveaxis(filled, 0, 2).reshape(*filled.shape[1:3], -1)
    some = valid.any(axis=0)
    return Map(_zero(row, some), some, tuple(n for n, k in zip(names, keep, strict=True) if k))


def fill(
    values: Float32[np.ndarray, "t y x k"], valid: Bool[np.ndarray, "t y x"], at: Int32[np.ndarray, " t"]
) -> Float32[np.ndarray, "t y x k"]:
    """What is missing, from the line in time between the pixel's own neighbours; beyond the ends the last one."""
    time = np.arange(len(at))[:, None, None]
    last = np.maximum.accumulate(np.where(valid, time, -1), axis=0)
    following = np.minimum.accumulate(np.where(valid, time, len(at))[::-1], axis=0)[::-1]
    left = np.where(last < 0, np.where(following < len(at), following, 0), last)
    right = np.where(following == len(at), left, following)
    apart = (at[right] - at[left]).astype(np.float32)
    share = np.where(apart > 0, (at[:, None, None] - at[left]) / np.maximum(apart, 1), 0).astype(np.float32)[..., None]
    take: Callable[[np.ndarray], np.ndarray] = lambda i: np.take_along_axis(values, i[..., None], axis=0)  # noqa: E731
    return take(left) * (1 - share) + take(right) * share


def _dates(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    assert features.day is not None
    return features.values, features.valid, features.day, [str(to_date(d)) for d in features.day]


def _seasons(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    assert features.day is not None
    season = np.array([to_date(d).month % 12 // 3 for d in features.day])
    values, valid = [], []
    for s in range(4):
        here, seen = features.values[season == s], features.valid[season == s]
        valid.append(seen.any(axis=0))
        masked = np.ma.masked_array(here, np.broadcast_to(~seen[..., None], here.shape))
        median = np.ma.median(masked, axis=0) if len(here) else np.zeros(features.values.shape[1:])
        values.append(np.ma.filled(median, 0).astype(np.float32))
    return np.stack(values), np.stack(valid), np.arange(4, dtype=np.int32), list(SEASONS)


def _zero(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid[..., None], values, 0).astype(np.float32)


def chosen_dates(group: CubeGroup, dates: Dates) -> np.ndarray:
    """Positions of the usable acquisitions within `dates`, among all acquisitions of the group.

    Raises UsageError where there is none.
    """
    low, high = ((d - EPOCH).days for d in dates) if dates else (-(2**31), 2**31 - 1)
    found = np.flatnonzero(group.usable & (group.day >= low) & (group.day <= high))
    if not len(found):
        when = f" from {dates[0]} to {dates[1]}" if dates else ""
        raise UsageError(f"{group.path}: no usable acquisition{when}; choose other dates")
    return found


def check_size(grid: Grid, dates: int, numbers: int, name: str) -> None:
    """Raise UsageError where features would not fit in memory; they are held whole while rows are made."""
    size = 4 * dates * grid.height * grid.width * numbers
    if size > MAX_BYTES:
        raise UsageError(
            f"features {name!r}: {size / 2**30:.1f} GiB ({dates} dates, {grid.height} x {grid.width} px, {numbers} "
            f"numbers); at most {MAX_BYTES >> 30} are held: name --dates, take --mode date, or cut the site"
        )
