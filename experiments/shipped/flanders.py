"""The Flemish site: pixels as series, with land cover and crop of 2018, and what Landsat 8 saw of them."""

from datetime import date
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_dilation

from eomm.data.points import PointSeries
from eomm.evaluation.labels import fields
from eomm.evaluation.quality.dated import Seen
from eomm.evaluation.quality.series import BANDS

from .places import FLANDERS_TEST_COLUMNS, FLANDERS_TRAIN_COLUMNS
from .tables import files, make_series

CLEAR_SCL = (4, 5, 6)
CLOUD_SCL = (0, 1, 3, 8, 9, 10, 11)
DILATED_20M_PX = 2
LANDSAT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07")
CLEAR_QA = 322  # of Landsat 8's pixel_qa: clear land
CELL_PX = 10  # 100 m, at which the thermal sensor sees
NEAREST_DAYS = 5
FEWEST_CLEAR = 0.5  # of the site, for a Landsat scene
REPEATED = (date(2017, 11, 3), date(2018, 2, 23), date(2018, 6, 6), date(2018, 7, 24))  # or also under another date
EPOCH = date(1970, 1, 1)


def read_flanders(data: Path, *, step: int = 2) -> list[PointSeries]:
    """Every second pixel, August 2017 to November 2018; clear where SCL says 4, 5 or 6, and no cloud within 40 m.

    Labels: `crop` and `cover` (numbers of the field, 0 none), `row`, `column`, `part` ("train", "test", or "between").
    Group: the field; pixels of none are "none".
    """
    values, clear, day = acquisitions(data)
    with xr.open_dataset(files(data / "flanders_s1s2", "OUTPUT*")[0], mask_and_scale=False) as ds:
        crop, cover = ds.CT.values.astype(int), ds.LC.values.astype(int)
    field = fields_of(np.where(crop > 0, crop, 10_000 + cover))
    out: list[PointSeries] = []
    for y in range(0, values.shape[1], step):
        for x in range(0, values.shape[2], step):
            about = {"crop": int(crop[y, x]), "cover": int(cover[y, x]), "row": y, "column": x, "part": part_of(x)}
            group = f"field {field[y, x]}"
            out += make_series(("flanders", "flanders", group), values[:, y, x], clear[:, y, x], day, about)
    return out


def acquisitions(data: Path) -> tuple[Float[np.ndarray, "t y x c"], Bool[np.ndarray, "t y x"], Int[np.ndarray, " t"]]:
    """Reflectance on the 10 m grid, whether SCL calls it clear 40 m around, and days."""
    folder = data / "flanders_s1s2"
    with (
        xr.open_dataset(files(folder, "S2_L2A_10m*")[0], mask_and_scale=False) as ten,
        xr.open_dataset(files(folder, "S2_L2A_20m*")[0], mask_and_scale=False) as twenty,
    ):
        finer = [ten[b].values if b in ten else _doubled(twenty[b].values) for b in BANDS]
        scl = twenty.SCL.values
        day = ten.timestamp.values.astype("datetime64[D]").astype(np.int32)
    cloud = np.stack([binary_dilation(np.isin(one, CLOUD_SCL), iterations=DILATED_20M_PX) for one in scl])
    clear = np.isin(scl, CLEAR_SCL) & ~cloud
    return np.stack(finer, axis=-1).astype(np.float32) * np.float32(1e-4), _doubled(clear), day


def part_of(column: int) -> str:
    """Whether a column trains, tests, or lies between."""
    for part, (first, stop) in (("train", FLANDERS_TRAIN_COLUMNS), ("test", FLANDERS_TEST_COLUMNS)):
        if first <= column < stop:
            return part
    return "between"


def fields_of(kind: Int[np.ndarray, "y x"]) -> Int[np.ndarray, "y x"]:
    """Connected pixels of one kind have one number, from 1."""
    return fields(kind.astype(np.int32))[0]


def read_landsat(
    data: Path,
) -> tuple[Float[np.ndarray, "t y x c"], Float[np.ndarray, "t y x"], Bool[np.ndarray, "t y x"], Int[np.ndarray, " t"]]:
    """Surface reflectance of six bands, brightness temperature (K), whether clear, and days of Landsat 8's scenes.

    Scenes that repeat under two dates, and those less than half clear, are left out.
    """
    with xr.open_dataset(files(data / "flanders_landsat8", "L8_SR*")[0], mask_and_scale=False) as ds:
        day = ds.timestamp.values.astype("datetime64[D]").astype(np.int32)
        clear = (ds.pixel_qa.values == CLEAR_QA) & (ds.B10.values > 0)
        kept = clear.mean((1, 2)) >= FEWEST_CLEAR
        kept &= ~np.isin(day, [(d - EPOCH).days for d in REPEATED])
        bands = np.stack([ds[b].values[kept] for b in LANDSAT_BANDS], axis=-1) * 1e-4
        return bands.astype(np.float32), ds.B10.values[kept] * 0.1, clear[kept], day[kept]


def seen_by_landsat(data: Path, series: list[PointSeries]) -> tuple[Seen, Seen, dict[str, np.ndarray]]:
    """Landsat's reflectance and temperature of the pixels' nearest valid dates, at most five days away.

    Returns:
        Reflectance, temperature (the same rows), and `cell`, `date`, `part`, `nearest` (day) of every row.
    """
    bands, kelvin, clear, days = read_landsat(data)
    own: list[PointSeries] = []
    at, scenes = [], []
    for s in series:
        where = np.flatnonzero(s.valid)
        row, column = s.labels["row"], s.labels["column"]
        for k, day in enumerate(days):
            i = int(where[np.abs(s.day[where] - day).argmin()])
            if clear[k, row, column] and abs(int(s.day[i]) - int(day)) <= NEAREST_DAYS:
                own.append(s)
                at.append(i)
                scenes.append(k)
    rows = np.array([s.labels["row"] for s in own])
    columns = np.array([s.labels["column"] for s in own])
    scene = np.array(scenes)
    about = {
        "cell": 100 * (rows // CELL_PX) + columns // CELL_PX,
        "date": days[scene],
        "part": np.array([s.labels["part"] for s in own]),
        "nearest": np.array([s.day[i] for s, i in zip(own, at, strict=True)]),
    }
    everything = np.ones(len(own), bool)
    shared = {
        "series": own,
        "at": np.array(at),
        "group": about["cell"],
        "fold": days[scene],
        "tested": everything,
        "learned": everything,
    }
    reflectance = Seen(values=bands[scene, rows, columns].astype(np.float64), **shared)
    return reflectance, Seen(values=kelvin[scene, rows, columns, None].astype(np.float64), **shared), about


def _doubled(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.repeat(2, axis=1).repeat(2, axis=2))
