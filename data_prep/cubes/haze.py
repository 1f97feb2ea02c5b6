"""A screen for haze and missed cloud: clear pixels compared with their own series.

What it cannot do: find shadows, or dark thin cloud over snow; find haze where fewer than three clear dates lie within
60 days; find haze that stays for most of them; tell haze from a lasting change that brightens blue more than red.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int16
from scipy import ndimage

from eomm.data.spool import Spool

WINDOW_DAYS = 60  # either side: what a pixel is compared with
NODE_DAYS = 10  # the running median is evaluated at these steps and the nearest is used
MIN_DATES = 3  # fewer clear dates say nothing
SMOOTH_M = 90.0  # haze is smooth, single bright pixels are not haze
MAJORITY_M = 500.0  # where much of a neighbourhood is hazy, all of it is
MAJORITY = 0.4
BLUE_EXCESS = 0.02  # reflectance
HOT_EXCESS = 0.01  # reflectance
MISSING = -32768


class HazeScreen:
    """Finds haze and missed cloud by comparing each clear pixel with its own series.

    Haze brightens blue more than red; soil after harvest or tillage brightens red nearly twice as much as blue. So the
    measure is B02 - 0.5 B04, which soil hardly moves (the haze optimised transform of Zhang, Guindon and Cihlar 2002,
    Remote Sens. Environ. 82, with the slope fixed). A pixel is hazy where both that and B02, smoothed over 90 m of
    clear pixels, exceed the pixel's running median over +-60 days by HOT_EXCESS and BLUE_EXCESS; and wherever more than
    MAJORITY of the clear pixels in a box of 500 m are. The thresholds were set on one site (Flanders 2017-2018).

    The series goes through a `Spool`. Raises OSError where the disk is full.
    """

    description = (
        f"B02 and B02 - 0.5 B04, mean over {SMOOTH_M:g} m, above the pixel's running median of +-{WINDOW_DAYS} days by "
        f"{BLUE_EXCESS} and {HOT_EXCESS}; all of a neighbourhood of {MAJORITY_M:g} m where more than {MAJORITY:.0%} is"
    )

    def __init__(self, shape: tuple[int, int], gsd_m: float, directory: Path):
        self.shape, self.gsd_m = shape, gsd_m
        self._days: list[int] = []
        self._series, self._medians = (Spool(directory, np.int16, (2, *shape)) for _ in range(2))

    def __enter__(self) -> "HazeScreen":
        return self

    def __exit__(self, *error: object) -> None:
        self._series.__exit__()
        self._medians.__exit__()

    def add(
        self, day: int, blue: Float[np.ndarray, "y x"], red: Float[np.ndarray, "y x"], clear: Bool[np.ndarray, "y x"]
    ) -> None:
        """The next acquisition: reflectances of B02 and B04, and where they are clear."""
        clear = clear & (np.abs(blue) < 2) & (np.abs(red) < 2)  # false for NaN
        planes = np.stack([blue, blue - np.float32(0.5) * red])
        self._series.add(np.where(clear, np.rint(planes * 1e4), MISSING).astype(np.int16))
        self._days.append(day)

    def hazy(self) -> Iterator[Bool[np.ndarray, "y x"]]:
        """True where hazy, acquisition by acquisition, in the order of `add`."""
        days = np.array(self._days)
        nodes = np.arange(days.min(), days.max() + NODE_DAYS, NODE_DAYS)
        self._write_medians(days, nodes)
        series, medians = self._series.read(), self._medians.read()
        for i, day in enumerate(days):
            median = medians[np.abs(nodes - day).argmin()]
            yield self._flag(series[i], median)

    def _flag(self, planes: Int16[np.ndarray, "2 y x"], median: Int16[np.ndarray, "2 y x"]) -> np.ndarray:
        known = (planes[0] != MISSING) & (median[0] != MISSING)
        if not known.any():
            return np.zeros(self.shape, bool)
        blue, hot = (self._mean(known, (planes[k] - median[k].astype(np.float32)) * 1e-4, SMOOTH_M) for k in (0, 1))
        high = known & (blue > BLUE_EXCESS) & (hot > HOT_EXCESS)
        return (planes[0] != MISSING) & (high | (self._mean(known, high, MAJORITY_M) > MAJORITY))

    def _mean(self, known: np.ndarray, values: np.ndarray, metres: float) -> np.ndarray:
        """Mean over the known pixels of a box about `metres` wide."""
        size = 2 * round(metres / self.gsd_m / 2) + 1
        total = ndimage.uniform_filter(np.where(known, values, 0).astype(np.float32), size, mode="constant")
        count = ndimage.uniform_filter(known.astype(np.float32), size, mode="constant")
        return np.divide(total, count, out=np.zeros_like(total), where=count > 1e-6)

    def _write_medians(self, days: np.ndarray, nodes: np.ndarray) -> None:
        series = self._series.read()
        for node in nodes:
            near = np.flatnonzero(np.abs(days - node) <= WINDOW_DAYS)
            plane = np.full((2, *self.shape), MISSING, np.int16)
            # Rows at a time: a window of a long series of a large site does not fit in memory.
            rows = max(1, 4_000_000 // max(1, 2 * len(near) * self.shape[1]))
            for start in range(0, self.shape[0], rows) if len(near) else ():
                block = series[near, :, start : start + rows]
                plane[:, start : start + rows] = _median(block)
            self._medians.add(plane)


def _median(values: Int16[np.ndarray, "t 2 y x"]) -> Int16[np.ndarray, "2 y x"]:
    """Median over time of what is not missing; missing where fewer than MIN_DATES are there."""
    ordered = np.sort(values, axis=0)  # the missing come first
    missing = (values == MISSING).sum(0)
    count = len(values) - missing
    low, high = (np.minimum(missing + k, len(values) - 1)[None] for k in (np.maximum(count - 1, 0) // 2, count // 2))
    middle = (np.take_along_axis(ordered, low, 0)[0].astype(np.int32) + np.take_along_axis(ordered, high, 0)[0]) // 2
    return np.where(count >= MIN_DATES, middle, MISSING).astype(np.int16)
