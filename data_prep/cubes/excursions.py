"""A screen for cloud shadow and thin cloud that masks pass: dates that leave their neighbours and come back.

What it cannot do: judge the newest dates, which no later one follows (they are provisional); see what lasts for two
clear dates; tell shadow from soil that is wet on one clear date. Mowing, harvest and tillage move near and short-wave
infrared apart or do not come back.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int16, Int32, UInt8

from eomm.data.spool import Spool
from eomm.errors import UsageError

BANDS = ("B06", "B07", "B08", "B8A", "B11", "B12")
LEAST_BANDS = 3
NEIGHBOUR_DAYS = 20  # a neighbour farther than this says nothing
LEAST = 0.02  # reflectance
SHARE = 0.15  # of the neighbours' mean
BACK = 0.5  # the neighbours differ by less than this share of the excursion
MISSING = -32768
ROWS_TOGETHER = 4_000_000  # values in memory at once

NOTHING, DARKER, BRIGHTER, PROVISIONAL = range(4)
MEANINGS = "nothing darker brighter provisional"


def excursions(
    planes: Int16[np.ndarray, "t b y x"], clear: Bool[np.ndarray, "t y x"], day: Int32[np.ndarray, " t"]
) -> UInt8[np.ndarray, "t y x"]:
    """What the screen finds at each clear pixel and date: NOTHING, DARKER, BRIGHTER or PROVISIONAL.

    A date is an excursion where in every band it lies below (or in every band above) both the clear date before and the
    one after, each at most NEIGHBOUR_DAYS away, by more than LEAST and SHARE of their mean, and these two differ by
    less than BACK of that. It is provisional where none comes after and the series ends within NEIGHBOUR_DAYS.

    Args:
        planes: infrared bands, reflectance x 10,000.
        clear: where they count.
        day: days since 1970-01-01, in order.
    """
    time = np.arange(len(day))[:, None, None]
    none = len(day)
    before = np.maximum.accumulate(np.where(clear, time, -1), axis=0)
    after = np.minimum.accumulate(np.where(clear, time, none)[::-1], axis=0)[::-1]
    found = np.zeros(clear.shape, np.uint8)
    for i in range(len(day)):
        if i and i + 1 < none:
            b, a = before[i - 1], after[i + 1]
            judged = clear[i] & (b >= 0) & (a < none)
            judged &= (day[i] - day[b] <= NEIGHBOUR_DAYS) & (day[np.minimum(a, none - 1)] - day[i] <= NEIGHBOUR_DAYS)
            past, future = (_take(planes, np.clip(k, 0, none - 1)) for k in (b, a))
            found[i] = np.where(judged, _judge(planes[i].astype(np.int32), past, future), NOTHING)
        waits = clear[i] if i + 1 == none else clear[i] & (after[i + 1] == none)
        if day[-1] - day[i] <= NEIGHBOUR_DAYS:
            found[i][waits] = PROVISIONAL
    return found


def _take(planes: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(planes, index[None, None], axis=0)[0].astype(np.int32)


def _judge(own: np.ndarray, past: np.ndarray, future: np.ndarray) -> np.ndarray:
    limit = np.maximum(LEAST * 1e4, SHARE * (past + future) / 2)
    back = np.abs(future - past) < BACK * np.minimum(np.abs(own - past), np.abs(own - future))
    down = (past - own > limit) & (future - own > limit) & back
    up = (own - past > limit) & (own - future > limit) & back
    return np.select([down.all(0), up.all(0)], [DARKER, BRIGHTER], NOTHING).astype(np.uint8)


class ExcursionScreen:
    """`excursions` for a whole site: the series goes through a `Spool`, so that memory holds a few rows.

    Raises OSError where the disk is full.
    """

    description = (
        f"{', '.join(BANDS)} (those there) all below or all above the clear date before and after, each within "
        f"{NEIGHBOUR_DAYS} days, by {LEAST} and {SHARE:.0%}, and back to {BACK:.0%} of that; the last {NEIGHBOUR_DAYS} "
        "days are provisional"
    )

    def __init__(self, shape: tuple[int, int], bands: int, directory: Path):
        self.shape, self.bands = shape, bands
        self._days: list[int] = []
        self._directory, self._series = directory, Spool(directory, np.int16, (bands, *shape))
        self._found: Spool | None = None

    def __enter__(self) -> "ExcursionScreen":
        return self

    def __exit__(self, *error: object) -> None:
        for spool in filter(None, (self._series, self._found)):
            spool.__exit__()

    def add(self, day: int, planes: Float[np.ndarray, "b y x"]) -> None:
        """The next acquisition: reflectances of the infrared bands, NaN where missing."""
        known = np.isfinite(planes) & (np.abs(planes) < 3)
        self._series.add(np.where(known, np.rint(planes * 1e4), MISSING).astype(np.int16))
        self._days.append(day)

    def found(self, kept: Callable[[int], Bool[np.ndarray, "y x"]]) -> Iterator[UInt8[np.ndarray, "y x"]]:
        """What `excursions` finds, acquisition by acquisition; `kept` says of each where it is clear."""
        count, (height, width) = len(self._days), self.shape
        day, series = np.array(self._days, np.int32), self._series.read()
        self._found = Spool(self._directory, np.uint8, (count, width))
        rows = max(1, ROWS_TOGETHER // max(1, count * self.bands * width))
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            block = np.array(series[:, :, start:stop])
            clear = np.stack([kept(i)[start:stop] for i in range(count)])
            for row in excursions(block, clear & (block != MISSING).all(1), day).swapaxes(0, 1):
                self._found.add(row)
        found = self._found.read()  # [y, time, x]
        return (np.array(found[:, i]) for i in range(count))


def infrared(bands: Sequence[str]) -> tuple[str, ...]:
    """Those of BANDS that are there."""
    return tuple(b for b in BANDS if b in bands)


def check_screen(name: str, bands: Sequence[str]) -> None:
    """Raise UsageError where a modality's bands are too few to be screened."""
    there = infrared(bands)
    if len(there) < LEAST_BANDS or not {"B11", "B12"} & set(there):
        raise UsageError(
            f"screen: modality {name!r} has {', '.join(there) or 'none'} of {', '.join(BANDS)}; expected "
            f"{LEAST_BANDS} or more, B11 or B12 among them. Say --screen none"
        )
