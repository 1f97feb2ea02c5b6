"""What a probe is asked to tell: labels of a cube's pixels from a raster, polygons or points, and their groups.

A group (a field, a polygon, a block) is what may not be on both sides of a fold: its pixels are not independent.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from jaxtyping import Float32, Int32
from rasterio.errors import CRSError, RasterioError
from scipy import ndimage

from eomm.data.grid import Grid
from eomm.data.missing import is_fill, is_fill_text
from eomm.data.raster import check_self_contained, open_raster
from eomm.data.tables import find_column
from eomm.embedding.blocks import blocks
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.adapters import grid_of, part_of, warp
from eomm.export.features import Feature, exchanged, read_features
from eomm.export.parquet import Piece, place

NONE = -1
MAX_PIXELS = 400_000_000  # of a raster of labels, or of what of it lies on the cube
VECTORS = (".geojson", ".json", ".csv")
WHOLE = "the whole raster, whose numbers make no fields: hold out blocks or sites"
NO_LABEL = ("", "nan", "na", "n/a", "null", "none")
GROUPS = {
    "fields": "connected pixels of equal label, or the polygons of the file",
    "blocks": "squares of the grid",
    "sites": "whole cubes",
}


@dataclass(frozen=True)
class Labels:
    """Labels of a grid's pixels.

    Attributes:
        values: number of the class, or for regression the value.
        known: where there is a label.
        classes: names by number; empty for regression.
        group: number of the field or polygon, from 1; 0 where there is no label.
        names: of the groups, by number.
        left_out: what the file has that is not used, and why, in words.
    """

    values: Int32[np.ndarray, "y x"] | Float32[np.ndarray, "y x"]
    known: np.ndarray
    classes: tuple[str, ...]
    group: Int32[np.ndarray, "y x"]
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def regression(self) -> bool:
        """Whether values are numbers instead of classes."""
        return not self.classes


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file of labels is read.

    Attributes:
        column: the NetCDF variable, or the property or column that holds the label ("label" or "class" when None).
        regression: labels are numbers to predict, not classes.
        ignore: labels that count as none.
        classes: names by label; when given, other labels count as none.
        min_pixels: smaller groups are left out.
    """

    column: str | None = None
    regression: bool = False
    ignore: Sequence[str] = ()
    classes: Mapping[str, str] | None = None
    min_pixels: int = 1


@dataclass(frozen=True)
class Given:
    """What a file says of a grid's pixels: labels as they stand there, and groups where it has polygons."""

    raw: np.ndarray
    known: np.ndarray
    group: Int32[np.ndarray, "y x"] | None = None
    names: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_labels(path: Path | str, grid: Grid, **options: Any) -> Labels:
    """Labels of a GeoTIFF, of a NetCDF variable, or of the points and polygons of a GeoJSON or CSV file.

    Args:
        path: the file; its ending says what it is.
        grid: of the cube; a raster on another grid is warped by nearest neighbour.
        options: of `Reading`.

    Raises:
        DataError: missing, damaged, too large, no such column, a label is no number where one is needed.
        ContractError: it lies elsewhere.
        UsageError: no label is left, or a vector file for a cube of unknown position.
    """
    path, how = Path(path), Reading(**options)
    given = (_from_features if path.suffix.lower() in VECTORS else _from_raster)(path, grid, how)
    labels = without_small((_values if how.regression else _classes)(path, given, how), how.min_pixels)
    if not labels.known.any():
        why = "".join(f"; left out: {text}" for text in labels.left_out)
        raise UsageError(f"{path}: no labelled pixel on the cube ({grid.text}) is left{why}")
    return labels


def _values(path: Path, given: Given, how: Reading) -> Labels:
    """Labels as numbers."""
    try:
        values = np.where(given.known, given.raw, 0).astype(np.float32)
    except ValueError as e:
        raise DataError(f"{path}: {e}; expected numbers, since --regression was said") from e
    known = given.known & np.isfinite(values) & ~is_fill(values)
    group, names = (known, ("", WHOLE)) if given.group is None else (given.group, given.names)
    return Labels(values, known, (), np.where(known, group, 0).astype(np.int32), names, given.left)


def _classes(path: Path, given: Given, how: Reading) -> Labels:
    """Labels as numbers of classes, in order."""
    text, named = _texts(given.raw, given.known), how.classes or {}
    present = sorted({t for t in np.unique(text[given.known]).tolist() if t not in how.ignore}, key=_order)
    if lost := [c for c in named if c not in present]:
        raise UsageError(f"{path}: has no label {', '.join(lost)}; it has {', '.join(present) or 'none'}")
    kept = [t for t in present if not named or t in named]
    values = np.full(given.known.shape, NONE, np.int32)
    for i, t in enumerate(kept):
        values[given.known & (text == t)] = i
    known, left = values != NONE, (*given.left, *(f"label {t}" for t in present if t not in kept))
    group, names = fields(values) if given.group is None else (given.group, given.names)
    kinds = tuple(named.get(t, t) for t in kept)
    return Labels(values, known, kinds, np.where(known, group, 0).astype(np.int32), names, left)


def fields(values: Int32[np.ndarray, "y x"]) -> tuple[Int32[np.ndarray, "y x"], tuple[str, ...]]:
    """Connected pixels (by their sides) of equal class, numbered from 1, and their names by number."""
    group, count = np.zeros(values.shape, np.int32), 0
    for k in np.unique(values[values != NONE]):
        found, more = ndimage.label(values == k)
        group[found > 0] = found[found > 0] + count
        count += more
    return group, ("", *(f"field {i}" for i in range(1, count + 1)))


def without_small(labels: Labels, least: int) -> Labels:
    """Without groups of fewer pixels."""
    size = np.bincount(labels.group.ravel(), minlength=1)
    small = np.flatnonzero((size < least) & (size > 0))
    small = small[small > 0]
    if not len(small):
        return labels
    gone = np.isin(labels.group, small)
    note = f"{len(small)} groups of fewer than {least} pixels ({int(gone.sum())} pixels)"
    values = np.where(gone, 0 if labels.regression else NONE, labels.values).astype(labels.values.dtype)
    return dataclasses.replace(
        labels,
        values=values,
        known=labels.known & ~gone,
        group=np.where(gone, 0, labels.group).astype(np.int32),
        left_out=(*labels.left_out, note),
    )


def block_groups(shape: tuple[int, int], size: int) -> Int32[np.ndarray, "y x"]:
    """Squares of `size` pixels on a side, numbered from 1."""
    row, col = (np.arange(n) // size for n in shape)
    return (1 + row[:, None] * (col[-1] + 1) + col[None]).astype(np.int32)


def _from_raster(path: Path, grid: Grid, how: Reading) -> Given:
    """Labels on the cube's grid; where they are numbers, what the file says that its own stand for."""
    is_netcdf = path.suffix.lower() in (".nc", ".nc4", ".h5")
    raw, known, own, (scale, offset) = _read_netcdf(path, how.column) if is_netcdf else _read_tiff(path, grid)
    if own != grid:
        y, x, part = part_of(own, grid, path)
        warped, known = warp(raw[y, x, None], known[y, x], part, grid)
        raw = warped[..., 0]
    known = known & np.isfinite(raw) & ~is_fill(raw) if raw.dtype.kind == "f" else known
    if how.regression and (scale, offset) != (1, 0):  # a class is the number itself
        raw = np.where(known, raw, 0).astype(np.float64) * scale + offset
    return Given(raw, known)


Raster = tuple[np.ndarray, np.ndarray, Grid, tuple[float, float]]  # labels, where there are any, grid, scale and offset


def _read_tiff(path: Path, grid: Grid) -> Raster:
    try:
        with open_raster(path) as file:
            y, x, own = part_of(grid_of(path, file), grid, path)
            if own.height * own.width > MAX_PIXELS:
                raise DataError(f"{path}: {own.height} x {own.width} px on the cube; cut it to the site")
            window = rasterio.windows.Window.from_slices(y, x)
            known = file.read_masks(1, window=window) > 0
            return file.read(1, window=window), known, own, (file.scales[0], file.offsets[0])
    except RasterioError as e:
        raise DataError(f"{path}: cannot be read as a raster of labels ({e})") from e


def _read_netcdf(path: Path, variable: str | None) -> Raster:
    try:
        check_self_contained(path)
        with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False, decode_times=False) as file:
            maps = [str(n) for n, v in file.data_vars.items() if v.dims[-2:] == ("y", "x") and v.ndim == 2]
            if variable not in maps:
                raise DataError(
                    f"{path}: has no variable {variable!r} over y and x; it has {', '.join(maps) or 'none'}"
                )
            array = file[variable]
            if array.size > MAX_PIXELS:
                raise DataError(f"{path}: {array.shape} px; cut it to the site")
            raw, fill = array.values, array.attrs.get("_FillValue", array.attrs.get("missing_value"))
            scale, offset = (float(array.attrs.get(k, v)) for k, v in (("scale_factor", 1), ("add_offset", 0)))
            own = _netcdf_grid(path, file)
    except (OSError, KeyError, ValueError) as e:
        raise DataError(f"{path}: cannot be read as NetCDF ({str(e)[:200]})") from e
    known = np.ones(raw.shape, bool) if fill is None else ~np.isin(raw, fill)
    return raw, known, own, (scale, offset)


def _netcdf_grid(path: Path, file: xr.Dataset) -> Grid:
    x, y = (file[n].values.astype(float) for n in ("x", "y"))
    if len(x) < 2 or len(y) < 2 or np.ptp(np.diff(x)) > 1e-6 * abs(x[1] - x[0]) or np.ptp(np.diff(y)) > 1e-6:
        raise DataError(f"{path}: x and y are not evenly spaced pixel centres")
    dx, dy = x[1] - x[0], y[1] - y[0]
    transform = (dx, 0, x[0] - dx / 2, 0, dy, y[0] - dy / 2)
    return Grid(crs=_netcdf_crs(path, file), transform=transform, height=len(y), width=len(x))


def _netcdf_crs(path: Path, file: xr.Dataset) -> str:
    """Of its `spatial_ref` or `crs` variable, else of the attributes `epsg` or `crs`."""
    found: Any = None
    for name in ("spatial_ref", "crs"):
        if name in file.variables:
            attributes = file[name].attrs
            found = found or attributes.get("crs_wkt") or attributes.get("spatial_ref")
    found = found or (f"EPSG:{file.attrs['epsg']}" if "epsg" in file.attrs else file.attrs.get("crs"))
    if not found:
        raise ContractError(f"{path}: does not say its CRS (spatial_ref, or an attribute epsg)")
    try:
        crs = rasterio.crs.CRS.from_user_input(str(found))
    except CRSError as e:
        raise ContractError(f"{path}: CRS {str(found)[:60]!r} is not understood ({e})") from e
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt())


def _from_features(path: Path, grid: Grid, how: Reading) -> Given:
    """Labels of points and polygons: a pixel has that of the polygon that holds its centre, or of the point in it.

    Pixels of two features with different labels have none. Features and pixels without effect are said in words.
    """
    if grid.crs == "LOCAL":
        raise UsageError(f"{path}: the cube's CRS is LOCAL, so nobody knows where points and polygons lie on it")
    every = read_features(path, "features")
    labelled = [(f, text) for f in every if (text := _property(path, f, how.column or "label")) is not None]
    left = [f"{len(every) - len(labelled)} of {len(every)} features without a label"] * (len(labelled) < len(every))
    features, texts = [f for f, _ in labelled], [text for _, text in labelled]
    kinds = {t: i for i, t in enumerate(dict.fromkeys(texts))}
    owner = np.zeros((grid.height, grid.width), np.int32)
    label = np.full(owner.shape, NONE, np.int32)
    areas, placed = blocks(grid), place(features, grid)
    for (y, x), piece in ((areas[number], piece) for number, pieces in placed.items() for piece in pieces):
        part = (
            slice(y.start + piece.y.start, y.start + piece.y.stop),
            slice(x.start + piece.x.start, x.start + piece.x.stop),
        )
        kind, here = kinds[texts[piece.feature]], label[part]
        other = piece.mask & (owner[part] > 0) & (here != kind)
        here[piece.mask] = kind
        here[other] = NONE
        owner[part][piece.mask] = piece.feature + 1
    raw = np.array([*kinds, ""], object)[label]
    left += _without_pixel(features, placed, grid)
    if torn := int(((owner > 0) & (label == NONE)).sum()):
        left.append(f"{torn} pixels that lie in features of different labels")
    return Given(raw, label != NONE, owner, ("", *(f.id for f in features)), tuple(left))


def _without_pixel(features: Sequence[Feature], placed: Mapping[int, Sequence[Piece]], grid: Grid) -> list[str]:
    """In words, which features have no pixel of the grid, and whether exchanged coordinates are why."""
    off = [f for i, f in enumerate(features) if i not in _reached(placed)]
    if not off:
        return []
    turned = [dataclasses.replace(f, geometry=exchanged(f.geometry)) for f in off]
    words = [f"{len(off)} of {len(features)} features without a pixel of the cube ({_some(off)})"]
    if found := [off[i] for i in sorted(_reached(place(turned, grid)))]:
        words.append(
            f"{len(found)} of them would lie on it with longitude and latitude exchanged ({_some(found)}): "
            "mend the file"
        )
    return words


def _reached(placed: Mapping[int, Sequence[Piece]]) -> set[int]:
    """Numbers of features that have a pixel."""
    return {piece.feature for pieces in placed.values() for piece in pieces if piece.mask.any()}


def _some(features: Sequence[Feature]) -> str:
    return ", ".join(f.id[:40] for f in features[:5]) + (" …" if len(features) > 5 else "")


def _property(path: Path, feature: Feature, column: str) -> str | None:
    """A feature's label as text; None where it says that it has none. Raises DataError."""
    name = find_column(feature.properties, column)
    value = None if name is None else feature.properties[name]
    text = "" if value is None else str(value)
    if name is not None and (text.strip().lower() in NO_LABEL or is_fill_text(text)):
        return None
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise DataError(
            f"{path}: feature {feature.id[:40]!r} has {column} {str(value)[:40]!r}; expected a label. It has the "
            f"properties {', '.join(map(str, list(feature.properties)[:20])) or 'none'}: name one (--column)"
        )
    return text


def _texts(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels as text; whole numbers without a point."""
    if raw.dtype == object:
        return raw.astype(str)
    found = np.full(raw.shape, "", object)
    for v in np.unique(raw[known]).tolist():
        found[known & (raw == v)] = f"{v:g}" if isinstance(v, float) and v == int(v) else str(v)
    return found.astype(str)


def _order(text: str) -> tuple[int, float, str]:
    return (0, float(text), text) if re.fullmatch("-?[0-9]+", text) else (1, 0.0, text)
