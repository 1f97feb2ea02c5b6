"""Bavarian fields of wheat and barley, 2018: pixels as series, with the yield that harvesters measured there."""

from pathlib import Path

import numpy as np
import pandas as pd
from pyproj import Transformer

from eomm.data.points import PointSeries
from eomm.evaluation.quality.series import BANDS

from .places import bavarian_role, farm_of
from .tables import files, make_series, some, table, to_days

LAYERS = ("CLM", "dataMask", "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
CROPS = {"Weizen": "wheat", "Gerste": "barley"}
TRIM = (0.05, 0.95)  # of a field's harvester points; the ends are turns, overlaps and an empty header
FEWEST_POINTS = 3  # of a pixel


def read_bavaria(data: Path, *, pixels: int = 60, seed: int = 0) -> list[PointSeries]:
    """Pixels drawn from those with a yield.

    Labels: `crop`, `yield` (t/ha, dry; median of at least three points of the pixel), `farm`, `role`.
    """
    folder, rng, out = data / "bavaria_fields", np.random.default_rng(seed), []
    points = table(folder, "harvester_points.parquet")
    for path in files(folder, "*.npz"):
        mine = points[points.field == path.stem]
        with np.load(path) as z:
            layers, transform, epsg = z["data"], z["transform"], int(z["epsg"])
            day = to_days([str(t)[:10] for t in z["time"]])
        yields = yield_by_pixel(mine, transform, epsg, layers.shape[2:])
        clear, cloud = layers[:, 1] > 0.5, layers[:, 0]
        bands = [LAYERS.index(b) for b in BANDS]
        at = np.argwhere(np.isfinite(yields) & clear.any(0))
        labels = {"crop": CROPS[mine.crop.iloc[0]], "farm": farm_of(path.stem), "role": bavarian_role(path.stem)}
        for y, x in at[some(len(at), pixels, rng)]:
            ok = clear[:, y, x] & (cloud[:, y, x] == 0)
            own = {**labels, "yield": float(yields[y, x])}
            out += make_series(("bavaria", "bavaria", path.stem), layers[:, bands, y, x], ok, day, own, fewest=5)
    return out


def yield_by_pixel(points: pd.DataFrame, transform: np.ndarray, epsg: int, shape: tuple[int, ...]) -> np.ndarray:
    """[y, x] median dry yield of a pixel's points, the field's lowest and highest left out; NaN where there are few."""
    low, high = points.yield_dry_t_ha.quantile(list(TRIM))
    kept = points[(points.yield_dry_t_ha >= low) & (points.yield_dry_t_ha <= high)]
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(kept.lon.to_numpy(), kept.lat.to_numpy())
    col = np.floor((np.asarray(x) - transform[2]) / transform[0]).astype(int)
    row = np.floor((np.asarray(y) - transform[5]) / transform[4]).astype(int)
    out = np.full(shape, np.nan)
    inside = (row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1])
    frame = pd.DataFrame({"row": row[inside], "col": col[inside], "value": kept.yield_dry_t_ha.to_numpy()[inside]})
    found = frame.groupby(["row", "col"]).value.agg(["median", "size"]).reset_index()
    found = found[found["size"] >= FEWEST_POINTS]
    out[found.row, found.col] = found["median"]
    return out
