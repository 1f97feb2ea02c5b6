"""Sets that train and carry no label of use: Swiss fields, ICOS towers, forest plots, points in Berlin."""

import re
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from eomm.data.points import PointSeries
from eomm.evaluation.quality.series import BANDS

from .tables import files, make_series, some, table, to_days

PIXELS = 60  # of a field or chip
CLEAR_SCL = (4, 5, 6)


def read_swiss(data: Path, *, pixels: int = PIXELS, seed: int = 0) -> list[PointSeries]:
    """Pixels of 26 fields, October 2019 to July 2020; clear where SCL says 4, 5 or 6."""
    rng, out = np.random.default_rng(seed), list[PointSeries]()
    for field, rows in table(data / "swiss_fields", "swiss_fields.parquet").groupby("field"):
        at = rows[["x", "y"]].drop_duplicates().reset_index(drop=True)
        chosen = at.iloc[some(len(at), pixels, rng)]
        for _, one in rows.merge(chosen, on=["x", "y"]).groupby(["x", "y"]):
            clear = one.SCL.isin(CLEAR_SCL).to_numpy()
            values = one[list(BANDS)].to_numpy() * 1e-4
            out += make_series(("swiss", "swiss", str(field)), values, clear, to_days(one.date.to_numpy()))
    return out


def read_towers(data: Path, *, pixels: int = PIXELS, seed: int = 0) -> list[PointSeries]:
    """Pixels around three towers, 2023; numbers carry the +1000 offset, 0 is no data."""
    rng, out = np.random.default_rng(seed), list[PointSeries]()
    for path in files(data / "towers_s2_2023", "*.nc"):
        with xr.open_dataset(path, mask_and_scale=False) as ds:
            raw = np.stack([ds[b].values for b in BANDS], axis=-1).astype(np.float32)
            scl, day = ds.SCL.values, ds.time.values.astype("datetime64[D]").astype(np.int32)
        values = np.where(raw > 0, (raw - 1000) * 1e-4, np.nan)
        site = path.stem.split("_image")[0].removeprefix("S2_fid-")
        for j in some(values.shape[1] * values.shape[2], pixels, rng):
            y, x = divmod(int(j), values.shape[2])
            out += make_series(("towers", site, site), values[:, y, x], np.isin(scl[:, y, x], CLEAR_SCL), day)
    return out


def read_forest(data: Path) -> list[PointSeries]:
    """All 36 pixels of five forest plots of a year each; clear where snow and cloud are less likely than 20 %."""
    out: list[PointSeries] = []
    for path in [*files(data / "forest_plots", "*.h5"), *files(data / "forest_plots_more", "*.h5")]:
        with h5py.File(path) as h:
            values = np.moveaxis(h["sen-2-data"][:], 1, -1) * 1e-4
            masks = h["sen-2-masks"][:]
            names = [n.decode() if isinstance(n, bytes) else str(n) for n in h["sen-2-products"][:]]
        day = to_days([m.group(1) for n in names if (m := re.search(r"_(\d{8})T", n))])
        clear = (masks[:, 0] < 20) & (masks[:, 1] < 20)
        for y, x in np.ndindex(values.shape[1:3]):
            out += make_series(("forest", path.stem, path.stem), values[:, y, x], clear[:, y, x], day)
    return out


def read_berlin(data: Path) -> list[PointSeries]:
    """Points at clear dates, 2021 to 2023. Their label is undocumented and is no task."""
    out: list[PointSeries] = []
    for (area, index), rows in table(data / "berlin_points", "points.parquet").groupby(["aoi", "global_idx"]):
        values = rows[list(BANDS)].to_numpy() * 1e-4
        finite = np.isfinite(values).all(1)
        out += make_series(("berlin", "berlin", f"{area}{index}"), values, finite, to_days(rows.date.to_numpy()))
    return out
