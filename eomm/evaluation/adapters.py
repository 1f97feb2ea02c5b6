"""Peers behind the interface of features.py: anybody's function of a cube, and embeddings in Zarr, GeoTIFF or npy.

`NAME=PATH` or `NAME=FORM:PATH`; FORMS says what is read. Files are not to be trusted: nothing is unpickled, sizes are
looked at first. What lies on another grid is warped by nearest neighbour, which changes no vector.
"""

import importlib
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from jaxtyping import Bool, Shaped
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import Resampling, reproject, transform_bounds

from eomm.data.cube import Cube
from eomm.data.days import parse_days
from eomm.data.grid import Grid
from eomm.data.missing import is_fill
from eomm.data.raster import open_raster
from eomm.errors import ContractError, DataError, EommError, UsageError
from eomm.evaluation.features import Dates, Features, Provider
from eomm.evaluation.features_model import embedded, stored
from eomm.evaluation.result import Json
from eomm.models.directory import load_model
from eomm.store.fields import Fields, ListOf, check

MAX_BYTES = 2 * 2**30  # of a file as it is in memory
ALPHAEARTH_MISSING = -128
BESIDE = Fields({"crs": str | int, "transform": ListOf(of=float, count=6), "missing?": float})
"""What stands in the JSON beside an npy file."""

FORMS = {
    "zarr": "an embedding cube of eomm",
    "model": "a model directory; the cube is embedded with it",
    "tiff": "a GeoTIFF or COG, a number per band, with its own scale, offset and nodata",
    "alphaearth": "a GeoTIFF of AlphaEarth's int8: sign(v) (v / 127.5)^2, -128 is missing",
    "npy": "[rows, columns, numbers] or [dates, rows, columns, numbers] beside a NAME.json that declares the grid",
    "tessera": "int8 npy with NAME_scales.npy beside it, and NAME.json, NAME.tif or NAME.tiff for the grid",
    "function": "MODULE:FUNCTION of a module that you trust, as it is run; given the cube, it returns the features",
}
"""What can be read, by the word before the path."""


def provider(spec: str, *, work: Path | None = None) -> tuple[str, Provider]:
    """A named source of features from `NAME=PATH` or `NAME=FORM:PATH`.

    Raises:
        UsageError: not of that form, an unknown form, or a function that cannot be imported.
    """
    name, _, rest = spec.partition("=")
    form, _, path = rest.partition(":")
    if form not in FORMS:
        form, path = _form_of(Path(rest)), rest
    if not name or not path or form not in FORMS:
        raise UsageError(
            f"features {spec!r}: expected NAME=PATH or NAME=FORM:PATH, FORM one of {', '.join(FORMS)}; the form may "
            "be left out for .zarr, .npy and a model directory"
        )
    if form == "function":
        return name, partial(_call, name, load_function(path))
    if form == "model":
        model = load_model(path)
        return name, lambda cube, dates: embedded(model, cube, dates, work=work, name=name)
    return name, partial(_read, name, form, Path(path))


def _form_of(path: Path) -> str:
    ending = path.suffix.lower()
    if ending == ".npy":
        return "tessera" if path.with_name(path.stem + "_scales.npy").exists() else "npy"
    if ending in (".zarr", ".tif", ".tiff"):
        return {".zarr": "zarr"}.get(ending, "tiff")
    return "model" if (path / "model.json").exists() else ""


def load_function(where: str) -> Callable[[Cube], Any]:
    """MODULE:FUNCTION imported; the module is code that the user named and trusts. Raises UsageError."""
    module, _, name = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), name or "features")
    except (ImportError, AttributeError, ValueError, TypeError) as e:
        raise UsageError(f"function {where!r}: {e}; expected MODULE:FUNCTION of an installed module") from e
    if not callable(found):
        raise UsageError(f"function {where!r}: is a {type(found).__name__}, expected a function of a cube")
    return found


def _call(name: str, function: Callable[[Cube], Any], cube: Cube, dates: Dates) -> Features:
    """A user's function gets the cube and returns Features, or (values, valid, day or None). NaN is missing."""
    made = function(cube)
    if not isinstance(made, Features):
        if not isinstance(made, tuple) or len(made) != 3:
            raise UsageError(f"features {name!r}: the function returned a {type(made).__name__}; expected Features")
        made = Features(np.asarray(made[0], np.float32), np.asarray(made[1], bool), made[2])
    finite = np.isfinite(made.values).all(axis=-1) & made.valid
    return Features.masked(made.values, finite, made.day).check(cube.grid, name).within(dates)


def _read(name: str, form: str, path: Path, cube: Cube, dates: Dates) -> Features:
    if form == "zarr":
        return stored(path, cube, dates, name=name)
    grid = cube.grid
    try:
        if form in ("tiff", "alphaearth"):
            features, own = read_tiff(path, grid, alphaearth=form == "alphaearth")
        else:
            features, own = read_npy(path, grid, scaled=form == "tessera")
        pairs = zip(features.values, features.valid, strict=True)
        found = [warp(v, ok, own, grid) for v, ok in pairs]
    except EommError as e:
        raise type(e)(f"features {name!r}: {e}") from e
    made = Features(np.stack([v for v, _ in found]), np.stack([ok for _, ok in found]), features.day)
    return made.check(grid, name).within(dates)


def read_tiff(path: Path, grid: Grid, *, alphaearth: bool = False) -> tuple[Features, Grid]:
    """What a raster, whose bands are the numbers of a vector, has of a grid, on its own grid.

    Raises:
        DataError: missing, damaged, or too large.
        ContractError: it does not touch the grid, or nobody knows where it lies.
        UsageError: integers whose meaning the file does not declare.
    """
    try:
        with open_raster(path) as file:
            integer = all(np.issubdtype(np.dtype(d), np.integer) for d in file.dtypes)
            if alphaearth and set(file.dtypes) != {"int8"}:
                raise UsageError(f"{path}: {file.dtypes[0]}; AlphaEarth's embeddings are int8")
            if integer and not alphaearth and set(file.scales) == {1.0} and set(file.offsets) == {0.0}:
                raise UsageError(
                    f"{path}: {file.dtypes[0]} without scale; say alphaearth:{path} if it is that, or set scales and "
                    "offsets in the file"
                )
            y, x, own = part_of(grid_of(path, file), grid, path)
            _check_bytes(path, 4 * file.count * own.height * own.width)
            window = rasterio.windows.Window.from_slices(y, x)
            raw = np.moveaxis(file.read(window=window), 0, -1)
            missing = np.moveaxis(file.read_masks(window=window) == 0, 0, -1) | _hole(raw)
            scales, offsets = np.float32(file.scales), np.float32(file.offsets)
    except RasterioError as e:
        raise DataError(f"{path}: cannot be read as GeoTIFF ({e})") from e
    if alphaearth:
        missing |= raw == ALPHAEARTH_MISSING
        values = np.sign(raw) * (raw.astype(np.float32) / 127.5) ** 2
    else:
        values = raw.astype(np.float32) * scales + offsets
    return Features.masked(values[None], ~missing.any(axis=-1)[None], None), own


def read_npy(path: Path, grid: Grid, *, scaled: bool = False) -> tuple[Features, Grid]:
    """What an npy file has of a grid, on its own grid.

    That is declared beside it, in NAME.json as {"crs": "EPSG:32631", "transform": [a, b, c, d, e, f]} with optional
    "missing" (the number that stands for it) and "dates"; or it is that of NAME.tif (TESSERA's land mask). NaN is
    missing. With `scaled`, vectors are int8 times NAME_scales.npy, [y, x] or [y, x, k]; a scale that is 0 or not
    finite is missing.

    Raises:
        DataError: missing, damaged, pickled, too large, of another shape than its grid.
        ContractError: it does not touch the grid, or nobody knows where it lies.
    """
    whole = load_array(path)
    whole = whole[None] if whole.ndim == 3 else whole
    if whole.ndim != 4 or whole.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: {whole.dtype} {whole.shape}; expected numbers [rows, columns, k] or [dates, rows, columns, k]"
        )
    own, about = declared_grid(path, whole.shape[1:3])
    y, x, own = part_of(own, grid, path)
    _check_bytes(path, 4 * whole.shape[0] * own.height * own.width * whole.shape[3])
    raw = np.array(whole[:, y, x])
    values, valid = raw.astype(np.float32), np.logical_not(_hole(raw).any(axis=-1))
    if "missing" in about:
        valid &= ~(raw == about["missing"]).all(axis=-1)
    if scaled:
        scales = np.array(load_scales(path, whole)[y, x])
        known = (np.isfinite(scales) & (scales != 0)).all(axis=-1)
        valid &= known
        values = values * np.where(known[..., None], scales, 0).astype(np.float32)
    return Features.masked(values, valid, declared_days(path, about, len(raw))), own


def _hole(raw: np.ndarray) -> np.ndarray:
    """Where there is no number: of floats also what nobody declares but everybody writes (`eomm.data.missing`)."""
    return ~np.isfinite(raw) | is_fill(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)


def load_scales(path: Path, vectors: np.ndarray) -> np.ndarray:
    """[y, x, 1 or k] beside int8 vectors [1, y, x, k]. Raises DataError."""
    beside = path.with_name(path.stem + "_scales.npy")
    scales = load_array(beside)
    scales = scales[..., None] if scales.ndim == 2 else scales
    shapes = ((*vectors.shape[1:3], 1), vectors.shape[1:])
    if vectors.dtype != np.int8 or scales.dtype.kind != "f" or scales.shape not in shapes:
        raise DataError(
            f"{beside}: {scales.dtype} {scales.shape} beside {vectors.dtype} {vectors.shape[1:]}; expected float "
            "scales [rows, columns] or [rows, columns, k] of int8 vectors"
        )
    return scales


def declared_days(path: Path, about: Json, count: int) -> np.ndarray | None:
    """Days of an array's first axis; None where there is one and it has no date. Raises DataError."""
    beside = path.with_suffix(".json")
    if "dates" not in about:
        if count != 1:
            raise DataError(f'{path}: {count} dates; {beside.name} must name them as "dates"')
        return None
    if not isinstance(about["dates"], list):
        raise DataError(f"{beside}: dates {str(about['dates'])[:60]}; expected a list of days such as 2018-07-05")
    day = parse_days(about["dates"], where=f"{beside}, dates")
    if day.shape != (count,):
        raise DataError(f"{beside}: {day.size} dates for {count} in the array")
    return day


def load_array(path: Path) -> np.ndarray:
    """An npy file, mapped into memory, never unpickled. Raises DataError."""
    try:
        view = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise DataError(f"{path}: cannot be read as npy ({str(e)[:200]}); pickled objects are refused") from e
    if not isinstance(view, np.ndarray):
        raise DataError(f"{path}: is an archive, expected a single array (npy)")
    return view


def declared_grid(path: Path, shape: tuple[int, int]) -> tuple[Grid, Json]:
    """The grid that stands beside an npy file, and what else its JSON says. Raises DataError."""
    beside = path.with_suffix(".json")
    if beside.exists():
        try:
            about = check(json.loads(beside.read_text(encoding="utf-8")), BESIDE, str(beside), remedy="mend it")
            a, b, c, d, e, f = (float(v) for v in about["transform"])
            crs = _code(beside, None if about["crs"] == "LOCAL" else CRS.from_user_input(about["crs"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, CRSError) as error:
            raise DataError(
                f'{beside}: {str(error)[:200]}; expected {{"crs": "EPSG:32631", "transform": [a, b, c, d, e, f]}}'
            ) from error
        return Grid(crs=crs, transform=(a, b, c, d, e, f), height=shape[0], width=shape[1]), about
    for mask in (path.with_suffix(".tif"), path.with_suffix(".tiff")):
        if mask.exists():
            try:
                with open_raster(mask) as file:
                    grid = grid_of(mask, file)
            except RasterioError as error:
                raise DataError(f"{mask}: cannot be read as GeoTIFF ({error})") from error
            if (grid.height, grid.width) != shape:
                raise DataError(f"{mask}: {grid.height} x {grid.width} px, but {path} has {shape[0]} x {shape[1]}")
            return grid, {}
    raise DataError(
        f"{path}: nothing says where it lies; write {beside.name} beside it: "
        '{"crs": "EPSG:32631", "transform": [10, 0, 500000, 0, -10, 5600000]}'
    )


def grid_of(path: Path, file: Any) -> Grid:
    """Of an open raster."""
    t = file.transform
    return Grid(
        crs=_code(path, file.crs), transform=(t.a, t.b, t.c, t.d, t.e, t.f), height=file.height, width=file.width
    )


def part_of(own: Grid, grid: Grid, path: Path) -> tuple[slice, slice, Grid]:
    """Rows and columns of `own` that hold everything of `grid`, and that part's grid.

    Raises ContractError where the two do not touch or cannot be related.
    """
    if own == grid:
        return slice(0, own.height), slice(0, own.width), own
    if "LOCAL" in (own.crs, grid.crs):
        raise ContractError(f"{path}: lies on {own.text}, the cube on {grid.text}; one of the two has no position")
    west, south, east, north = transform_bounds(grid.crs, own.crs, *grid.bounds)
    a, b, _, d, e, _ = own.transform
    if not a * e - b * d:
        raise ContractError(f"{path}: its pixels have no size (transform {own.transform}); mend where it lies")
    corners = [
        ~rasterio.Affine(*own.transform) @ xy for xy in ((west, south), (west, north), (east, south), (east, north))
    ]
    cols, rows = zip(*corners, strict=True)
    y = slice(max(0, math.floor(min(rows)) - 1), min(own.height, math.ceil(max(rows)) + 1))
    x = slice(max(0, math.floor(min(cols)) - 1), min(own.width, math.ceil(max(cols)) + 1))
    if y.start >= y.stop or x.start >= x.stop:
        raise ContractError(f"{path}: lies elsewhere ({own.text}) than the cube ({grid.text})")
    return y, x, own.part(y, x)


def warp(
    values: Shaped[np.ndarray, "h w k"], valid: Bool[np.ndarray, "h w"], own: Grid, grid: Grid
) -> tuple[Shaped[np.ndarray, "y x k"], Bool[np.ndarray, "y x"]]:
    """Vectors on another grid, by nearest neighbour; what lies outside is not valid."""
    if own == grid:
        return values, valid
    where = np.full((grid.height, grid.width), -1, np.int32)
    index = np.where(valid, np.arange(valid.size).reshape(valid.shape), -1).astype(np.int32)
    reproject(
        index,
        where,
        src_transform=rasterio.Affine(*own.transform),
        src_crs=own.crs,
        dst_transform=rasterio.Affine(*grid.transform),
        dst_crs=grid.crs,
        src_nodata=-1,
        dst_nodata=-1,
        resampling=Resampling.nearest,
    )
    found = where >= 0
    flat = values.reshape(-1, values.shape[-1])
    return np.where(found[..., None], flat[np.maximum(where, 0)], 0).astype(values.dtype), found


def _code(path: Path, crs: CRS | None) -> str:
    if crs is None:
        return "LOCAL"
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt())


def _check_bytes(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"{path}: {size / 2**30:.1f} GiB in memory; at most {MAX_BYTES >> 30} are read; cut it to the site"
        )
