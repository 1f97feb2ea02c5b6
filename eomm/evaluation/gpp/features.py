"""Features of a tower's surroundings by day, from cubes, embedding cubes or tables, joined with its fluxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from jaxtyping import Float

from eomm.data.attributes import attributes_of
from eomm.data.cube import open_cube
from eomm.data.days import parse_days
from eomm.data.grid import Grid
from eomm.data.missing import without_fills
from eomm.data.raster import open_raster
from eomm.data.tables import read_frame
from eomm.embedding.store import open_embedding
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.features import Features, masked
from eomm.evaluation.features_raw import INDICES, bands, indices
from eomm.evaluation.folds import near_groups
from eomm.evaluation.gpp.flux_files import UNIT, FluxSeries
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.evaluation.gpp.rows import WEATHER, Table, join, make_table

WEATHER_COLUMNS = ("TA_F", "SW_IN_F", "VPD_F")
SHOWN_INDICES = ("NDVI", "kNDVI", "NIRv", "EVI")
NEEDED = 0.5  # of the weights' sum on valid pixels
QUALITY = 0.7  # least share of good half-hours


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where features are; `{site}` in a path stands for the site's name.

    Attributes:
        embeddings: name to embedding cubes.
        cube: cubes, for bands and indices as baselines; None for none.
        extra: name to (table with TIMESTAMP or date, columns).
        extract: how a grid becomes a row: "pixel" (the tower's), "window:N" (mean of N x N pixels), "footprint:M"
            (weights by distance with their peak, integrated over directions, M metres away) or a GeoTIFF of weights.
        quality: least `NEE_VUT_REF_QC`.
    """

    embeddings: Mapping[str, str] = field(default_factory=dict)
    cube: str | None = None
    extra: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    extract: str = "window:3"
    quality: float = QUALITY


def sites_table(fluxes: Sequence[FluxSeries], towers: Mapping[str, Tower], inputs: Inputs) -> Table:
    """Rows of all towers: the days with features, their flux where it was measured well enough.

    Raises:
        DataError: a tower without a position, a file missing, no day in common.
        ContractError: simulated and real meet.
        UsageError: features or `extract` that cannot be read.
    """
    if lost := [f.site for f in fluxes if f.site not in towers]:
        raise DataError(
            f"no position of tower {', '.join(lost)}: give its SITEINFO or BADM file, or a list, by --site-info"
        )
    if len({f.site for f in fluxes}) < len(fluxes):
        raise DataError("two flux files of one tower; give one")
    known = [towers[f.site] for f in fluxes]
    if len(simulated := {f.simulated for f in fluxes} | {t.simulated for t in known}) > 1:
        raise ContractError("simulated and real fluxes never share a table: score them in two runs, report them apart")
    groups: Mapping[str, str] = {}
    if simulated == {False}:
        lat, lon = np.array([t.degrees for t in known]).T
        groups = near_groups([t.site for t in known], lat, lon)
    return join([_site_table(flux, tower, inputs, groups) for flux, tower in zip(fluxes, known, strict=True)])


def _site_table(flux: FluxSeries, tower: Tower, inputs: Inputs, groups: Mapping[str, str]) -> Table:
    named = _features(tower, inputs)
    for name, table in named.items():
        if name in (WEATHER, ""):
            raise UsageError(f"features cannot be called {name!r}; weather comes from the flux file")
        if table.attrs.get("simulated", flux.simulated) != flux.simulated:
            raise ContractError(
                f"{flux.site}: fluxes are {_kind(flux.simulated)}, features {name!r} {_kind(not flux.simulated)}; "
                "simulated and real never share a table"
            )
    weather = [c for c in WEATHER_COLUMNS if c in flux.table]
    frame = flux.table[["day", *weather]].rename(columns={c: f"{WEATHER}/{c}" for c in weather})
    frame["gpp"] = flux.table["gpp"].where(flux.table["quality"] >= inputs.quality)
    features = {WEATHER: [f"{WEATHER}/{c}" for c in weather]} if weather else {}
    for name, table in named.items():
        features[name] = [f"{name}/{c}" for c in table if c != "day"]
        frame = frame.merge(table.set_axis(["day", *features[name]], axis=1), on="day", how="inner")
    about = (
        f"{flux.target} in {UNIT}, days with {inputs.quality:.0%} good half-hours; features by {inputs.extract}, "
        "on days with a clear acquisition"
    )
    frame = frame.assign(site=flux.site, kind=tower.kind)
    try:
        return make_table(frame, features, groups=groups, simulated=flux.simulated, lines=[about])
    except DataError as e:
        raise DataError(f"{flux.path}: {e}") from e


def _features(tower: Tower, inputs: Inputs) -> dict[str, pd.DataFrame]:
    """All that there are of a tower, by name."""

    def at(path: str) -> Path:
        return Path(path.format(site=tower.site))

    named = {name: read_embedding(at(path), tower, inputs.extract) for name, path in inputs.embeddings.items()}
    named |= read_cube(at(inputs.cube), tower, inputs.extract) if inputs.cube else {}
    return named | {name: read_extra(at(path), columns) for name, (path, columns) in inputs.extra.items()}


def read_embedding(path: Path, tower: Tower, extract: str) -> pd.DataFrame:
    """A row per date of an embedding cube: `day` and a column per number; attrs["simulated"]."""
    data = open_embedding(path)
    grid = Grid.from_attributes(data.attrs)
    rows, cols, weight = weights(grid, tower, extract)
    part = data[["embedding", "valid"]].isel(y=rows, x=cols)
    day = data["time"].values.astype("datetime64[D]").astype(np.int32)
    found = average(Features(part["embedding"].values.astype(np.float32), part["valid"].values, day), weight)
    found.attrs["simulated"] = bool(attributes_of(data).get("provenance", {}).get("simulated", False))
    return found


def read_cube(path: Path, tower: Tower, extract: str) -> dict[str, pd.DataFrame]:
    """Bands, and indices one by one, of every clear Sentinel-2 date of a cube."""
    cube = open_cube(path)
    rows, cols, weight = weights(cube["s2"].grid, tower, extract)
    raw, vegetation = (
        average(Features(f.values[:, rows, cols], f.valid[:, rows, cols], f.day), weight)
        for f in (bands(cube, None), indices(cube, None))
    )
    named = {"bands": raw}
    for name in SHOWN_INDICES:
        named[name] = vegetation[["day", f"f{INDICES.index(name)}"]].copy()
    for table in named.values():
        table.attrs["simulated"] = cube.simulated
    return named


def read_extra(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a table with a column TIMESTAMP or date, of days as `parse_day` reads them. Raises DataError."""
    table = read_frame(path)
    stamps = [c for c in ("TIMESTAMP", "date") if c in table]
    if lost := [c for c in columns if c not in table] + ([] if stamps else ["TIMESTAMP or date"]):
        raise DataError(f"{path}: no column {', '.join(lost)}; there are {', '.join(table)}")
    day = parse_days(table[stamps[0]], where=f"{path}, column {stamps[0]}")
    try:
        values = without_fills(table[list(columns)].astype(np.float64))
    except (ValueError, TypeError) as e:
        raise DataError(f"{path}: {e}; expected numbers in {', '.join(columns)}") from e
    return values.assign(day=day)[["day", *columns]].dropna()


def average(features: Features, weight: Float[np.ndarray, "y x"]) -> pd.DataFrame:
    """The weighted mean of the valid pixels of every date; dates with too little valid weight are left out.

    Several acquisitions of a day count as one.
    """
    days, mask = features.days, features.valid * weight[None]
    total = mask.sum((1, 2))
    keep = total >= NEEDED * weight.sum()
    mean = np.einsum("tyx,tyxk->tk", mask[keep], masked(features.values, features.valid)[keep])
    mean = mean / total[keep, None]
    frame = pd.DataFrame(mean, columns=[f"f{i}" for i in range(mean.shape[1])])
    frame.insert(0, "day", days[keep])
    return frame.groupby("day", as_index=False).mean()


def weights(grid: Grid, tower: Tower, extract: str) -> tuple[slice, slice, Float[np.ndarray, "y x"]]:
    """Rows and columns to read, and the pixels' weights there.

    The footprint is that of Schuepp et al. (1990), Boundary-Layer Meteorology 50, 355, equation 3 with one length and
    wind from every direction alike. Raises UsageError for what is none of `Inputs.extract`.
    """
    if extract.lower().endswith((".tif", ".tiff")):
        return slice(0, grid.height), slice(0, grid.width), _raster(Path(extract.format(site=tower.site)), grid)
    (row, col), how, number = tower.pixel(grid), *_extraction(extract)
    reach = {"pixel": 0, "window": number // 2}.get(how, int(np.ceil(10 * number / grid.gsd_m)))
    rows = slice(max(0, row - reach), min(grid.height, row + reach + 1))
    cols = slice(max(0, col - reach), min(grid.width, col + reach + 1))
    y, x = np.mgrid[rows, cols]
    if how != "footprint":
        return rows, cols, np.ones(y.shape)
    size = grid.gsd_m
    distance = np.maximum(np.hypot(y - row, x - col) * size, size / 2)
    length = 2.0 * number
    return rows, cols, length / distance**2 * np.exp(-length / distance) / (2 * np.pi * distance)


def _extraction(extract: str) -> tuple[str, int]:
    """What is read round a tower, and the number beside it. Raises UsageError."""
    how, _, text = extract.partition(":")
    number = int(text) if text.isdigit() else 0
    fits = {"pixel": extract == "pixel", "window": number % 2 == 1, "footprint": number > 0}
    if not fits.get(how):
        raise UsageError(
            f"--extract {extract}: expected pixel, window:N (N odd), footprint:METRES, or a GeoTIFF of weights"
        )
    return how, number


def _raster(path: Path, grid: Grid) -> Float[np.ndarray, "y x"]:
    try:
        with open_raster(path) as file:
            weight = file.read(1).astype(np.float64)
            crs = file.crs.to_string() if file.crs else "LOCAL"
            same = np.allclose(tuple(file.transform)[:6], grid.transform, rtol=0, atol=1e-3) and crs == grid.crs
    except rasterio.errors.RasterioIOError as e:
        raise DataError(f"{path}: not a raster of weights ({e})") from e
    if weight.shape != (grid.height, grid.width) or not same:
        raise ContractError(f"{path}: weights lie on another grid than {grid.text}; warp them to it first")
    if not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise ContractError(f"{path}: weights must be finite, none below 0, not all 0")
    return weight


def _kind(simulated: bool) -> str:
    return "simulated" if simulated else "real"
