"""What readers of the shipped sets share: the screen, tables of dated rows to series, the missing band, near places."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from scipy.cluster.hierarchy import fcluster, linkage

from eomm.data.points import PointSeries
from eomm.errors import DataError

B8A_FROM_B07_B08 = (0.9113, 0.1068, 0.0145)  # slopes and offset on 470,007 clear Swiss pixel-dates; rmse 0.0113
NINE = ("blue", "green", "red", "re1", "re2", "re3", "nir", "swir1", "swir2")  # without B8A
FEWEST_DATES = 10
KM_PER_DEGREE = 111.2


def screen(values: Float[np.ndarray, "t c"], clear: Bool[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """What passes each set's own mask and one simple screen for cloud and snow, the same for every method."""
    with np.errstate(invalid="ignore"):
        ok = clear & np.isfinite(values).all(1) & (values > -0.05).all(1) & (values < 1.2).all(1)
        blue, green, swir = values[:, 0], values[:, 1], values[:, 8]
        snow = ((green - swir) / np.maximum(green + swir, 1e-3) > 0.3) & (green > 0.15)
        return ok & (blue < 0.2) & ~snow


def make_series(
    place: tuple[str, str, str],
    values: Float[np.ndarray, "t c"],
    clear: Bool[np.ndarray, " t"],
    day: Int[np.ndarray, " t"],
    labels: Mapping[str, Any] | None = None,
    *,
    fewest: int = FEWEST_DATES,
) -> list[PointSeries]:
    """One series of the dates that pass the screen, the first of equal days; none where fewer than ten are left.

    Args:
        place: set; region of it, between which methods may be carried over; group: what must not be divided between
            training and test, and what is resampled, such as a field. The first two become labels of these names.
        values: reflectance in the order of BANDS.
        clear: by the set's own mask.
        day: days since 1970-01-01.
        labels: as the set gives them.
        fewest: dates.
    """
    order = np.argsort(day, kind="stable")
    values, day = values[order].astype(np.float32), day[order].astype(np.int32)
    ok = screen(values, clear[order])
    days, first = np.unique(day[ok], return_index=True)
    if len(days) < fewest:
        return []
    known = {"set": place[0], "region": place[1], **(labels or {})}
    valid = np.ones(len(days), bool)
    return [PointSeries(id=place[1], group=place[2], day=days, values=values[ok][first], valid=valid, labels=known)]


def to_days(dates: Any) -> Int[np.ndarray, " t"]:
    """Days since 1970-01-01, int32."""
    return pd.to_datetime(pd.Series(dates)).to_numpy("datetime64[D]").astype(np.int32)


def with_b8a(nine: Float[np.ndarray, "t 9"]) -> Float[np.ndarray, "t 10"]:
    """Ten bands from nine; B8A by a regression on B07 and B08. For evaluation only."""
    red_edge, nir, offset = B8A_FROM_B07_B08
    return np.column_stack([nine[:, :7], red_edge * nine[:, 5] + nir * nine[:, 6] + offset, nine[:, 7:]])


def near_places(lon: Shaped[np.ndarray, " n"], lat: Shaped[np.ndarray, " n"], km: float) -> Int[np.ndarray, " n"]:
    """A number for each point; points chained by less than so many kilometres have one."""
    east = np.asarray(lon, float) * KM_PER_DEGREE * np.cos(np.radians(np.mean(lat)))
    at = np.column_stack([east, np.asarray(lat, float) * KM_PER_DEGREE])
    return np.asarray(fcluster(linkage(at, "single"), km, "distance")) if len(at) > 1 else np.ones(len(at), int)


def table(folder: Path, name: str) -> pd.DataFrame:
    """A Parquet table. Raises DataError where it is missing."""
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: missing; expected the data sets in {folder.parent} (--data)")
    return pd.read_parquet(path)


def files(folder: Path, pattern: str) -> list[Path]:
    """Sorted files. Raises DataError where there is none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"{folder / pattern}: no file; expected the data sets in {folder.parent} (--data)")
    return found


def some(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """At most so many of the numbers below `count`, ascending."""
    return np.sort(rng.choice(count, min(most, count), replace=False))
