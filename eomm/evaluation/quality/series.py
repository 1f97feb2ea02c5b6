"""The bands of the quality bench, and how dates of a series are hidden. What a series is: `eomm.data.points`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eomm.data.points import PointSeries

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
REACH_DAYS = 365  # what lies farther from a hidden target is not given to any method


def hide(series: PointSeries, target: int, gap_days: int) -> tuple[PointSeries, int]:
    """The series as a method sees it that must say what a date was without that date and those near it.

    The target stays as an invalid date without values; valid dates within `gap_days` of it are gone.

    Returns:
        That series, and the target's position in it.
    """
    apart = np.abs(series.day - series.day[target])
    stays = series.valid & (apart > gap_days) & (apart <= REACH_DAYS)
    stays[target] = True
    at = int(stays[:target].sum())
    seen = series.keep(stays)
    values, valid = seen.values.copy(), seen.valid.copy()
    values[at], valid[at] = 0, False
    return replace(seen, values=values, valid=valid), at


def every(series: Sequence[PointSeries]) -> list[np.ndarray]:
    """Positions of all dates of each."""
    return [np.arange(len(s)) for s in series]


def groups_of(series: Sequence[PointSeries]) -> np.ndarray:
    """The group of each, [n] str."""
    return np.array([s.group for s in series], dtype=str)
