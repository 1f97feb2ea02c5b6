"""What a probe is given of every pixel: one form for raw bands, embeddings and peers, and how its dates become a row.

A provider is a function from a cube (and the dates wanted) to `Features` on the cube's grid: features_raw.py,
features_model.py, adapters.py. How rows are scored is evaluation/probes/tables.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Shaped

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

    @classmethod
    def masked(cls, values: np.ndarray, valid: np.ndarray, day: np.ndarray | None) -> "Features":
        """Of values that may be anything where not valid."""
        return cls(masked(values, valid), valid, day)

    @property
    def days(self) -> Int32[np.ndarray, " t"]:
        """Their dates. Raises UsageError where they have none."""
        if self.day is None:
            raise UsageError("features of no date stand where dates are needed; expected one vector per date")
        return self.day

    def take(self, dates: np.ndarray) -> "Features":
        """Of some dates: bool, or positions."""
        return Features(self.values[dates], self.valid[dates], None if self.day is None else self.day[dates])

    def within(self, dates: Dates) -> "Features":
        """Of the dates between two, both included; what has no date stays."""
        return self if self.day is None else self.take(between(self.day, dates))

    def check(self, grid: Grid, name: str) -> "Features":
        """Themselves, if they are what the form says. Raises UsageError naming whoever made them."""
        if wrong := self._misfit((1 if self.day is None else len(self.day), grid.height, grid.width)):
            raise UsageError(f"features {name!r}: {wrong}")
        return self

    def _misfit(self, expected: tuple[int, int, int]) -> str:
        """What differs from the form, in words; "" for nothing."""
        shape, valid = np.shape(self.values), self.valid
        if len(shape) != 4 or shape[:3] != expected or not shape[3]:
            form = f"({', '.join(map(str, expected))}, k), that is (dates, rows, columns, numbers)"
            return f"values have shape {shape}; expected {form} on the cube's grid"
        if (self.values.dtype, valid.dtype, valid.shape) != (np.float32, bool, expected):
            kinds = f"values are {self.values.dtype} and valid is {valid.dtype} {valid.shape}"
            return f"{kinds}; expected float32 and bool {expected}"
        if self.day is not None and not (np.diff(self.day) >= 0).all():
            return "days are not ascending"
        return "" if np.isfinite(self.values[valid]).all() else "NaN or infinite where valid"


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
        return _map(features, 0, ())
    if mode == "date":
        found = np.flatnonzero(features.day == day)
        if not len(found):
            have = ", ".join(str(to_date(d)) for d in features.day[:40])
            raise UsageError(f"no features of {to_date(day or 0)}; there are some of {have or 'no date at all'}")
        return _map(features, int(found[0]), (str(to_date(day or 0)),))
    every, names = _seasons(features) if mode == "season" else (features, [str(to_date(d)) for d in features.day])
    keep = every.valid.mean(axis=(1, 2)) >= NEEDED
    if not keep.any():
        raise UsageError(f"mode {mode!r}: none of {len(keep)} dates or seasons has a value at half of the pixels")
    kept = every.take(keep)
    filled = fill(kept.values, kept.valid, kept.days)
    row = np.moveaxis(filled, 0, 2).reshape(*filled.shape[1:3], -1)
    some = np.asarray(kept.valid.any(axis=0))
    return Map(masked(row, some), some, tuple(n for n, k in zip(names, keep, strict=True) if k))


def _map(features: Features, at: int, about: tuple[str, ...]) -> Map:
    return Map(masked(features.values[at], features.valid[at]), features.valid[at], about)


def fill(
    values: Float32[np.ndarray, "t y x k"], valid: Bool[np.ndarray, "t y x"], at: Int32[np.ndarray, " t"]
) -> Float32[np.ndarray, "t y x k"]:
    """What is missing, from the line in time between the pixel's own neighbours; beyond the ends the last one."""
    time = np.arange(len(at))[:, None, None]
    last = np.maximum.accumulate(np.where(valid, time, -1), axis=0)
    following = np.minimum.accumulate(np.where(valid, time, len(at))[::-1], axis=0)[::-1]
    left = np.where(last < 0, np.where(following < len(at), following, 0), last)
    right = np.where(following == len(at), left, following)
    days = (at[right] - at[left]).astype(np.float32)
    share = np.where(days > 0, (at[:, None, None] - at[left]) / np.maximum(days, 1), 0).astype(np.float32)[..., None]
    take: Callable[[np.ndarray], np.ndarray] = lambda i: np.take_along_axis(values, i[..., None], axis=0)  # noqa: E731
    return take(left) * (1 - share) + take(right) * share


def _seasons(features: Features) -> tuple[Features, list[str]]:
    """The median of each season, whose day is its number."""
    season = np.array([to_date(d).month % 12 // 3 for d in features.days])
    values, valid = [], []
    for s in range(4):
        here, seen = features.values[season == s], features.valid[season == s]
        valid.append(seen.any(axis=0))
        unseen = np.ma.masked_array(here, np.broadcast_to(~seen[..., None], here.shape))
        median = np.ma.median(unseen, axis=0) if len(here) else np.zeros(features.values.shape[1:])
        values.append(np.ma.filled(median, 0).astype(np.float32))
    return Features(np.stack(values), np.stack(valid), np.arange(4, dtype=np.int32)), list(SEASONS)


def masked(values: Shaped[np.ndarray, "*n k"], valid: Bool[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n k"]:
    """Zero where not valid."""
    return np.where(valid[..., None], values, 0).astype(np.float32)


def apart(a: Shaped[np.ndarray, "*n k"], b: Shaped[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n"]:
    """Euclidean distance of vectors."""
    return np.asarray(np.sqrt(np.square(a - b).sum(-1)))


def between(day: Int32[np.ndarray, " t"], dates: Dates) -> Bool[np.ndarray, " t"]:
    """Which days lie between two dates, both included; all where there are none."""
    if dates is None:
        return np.ones(len(day), bool)
    return (day >= (dates[0] - EPOCH).days) & (day <= (dates[1] - EPOCH).days)


def chosen_dates(group: CubeGroup, dates: Dates) -> np.ndarray:
    """Positions of the usable acquisitions within `dates`, among all acquisitions of the group.

    Raises UsageError where there is none.
    """
    found = np.flatnonzero(group.usable & between(group.day, dates))
    if not len(found):
        raise UsageError(f"{group.path}: no usable acquisition{told(dates)}; choose other dates")
    return found


def told(dates: Dates) -> str:
    """The dates in words, "" for all."""
    return f" from {dates[0]} to {dates[1]}" if dates else ""


def check_size(grid: Grid, dates: int, numbers: int, name: str) -> None:
    """Raise UsageError where features would not fit in memory; they are held whole while rows are made."""
    size = 4 * dates * grid.height * grid.width * numbers
    if size > MAX_BYTES:
        raise UsageError(
            f"features {name!r}: {size / 2**30:.1f} GiB ({dates} dates, {grid.height} x {grid.width} px, {numbers} "
            f"numbers); at most {MAX_BYTES >> 30} are held: name --dates, take --mode date, or cut the site"
        )
