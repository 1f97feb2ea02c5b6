"""NetCDF stacks: variables [time, y, x] in one file. Read raw: decoding is ours, since declared fills mislead."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from data_prep.mapping import MASK, Mapping
from data_prep.readers.scene import Scene, decode
from eomm.cube import Grid
from eomm.errors import ContractError, DataError

BLOCK_PIXELS = 1_000_000
"""Time steps of a variable are read in blocks of this size: one HDF5 request each, 3 ms, dominates small sites."""


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack) -> list[Scene]:
    """The scenes of one stack, one per time step. Raises DataError or ContractError as `open_scenes` says."""
    try:
        # SCL's declared NaN fill breaks xarray's decoding of integers, and float64 would cost four times the memory.
        data = keep_open.enter_context(xr.open_dataset(file, engine="h5netcdf", mask_and_scale=False))
    except (OSError, ValueError, KeyError) as e:
        raise DataError(f"{file}: not a readable NetCDF4 file ({e}); it is empty, truncated or of another kind") from e
    return scenes_of(data, file, mapping)


def scenes_of(data: xr.Dataset, file: Path, mapping: Mapping) -> list[Scene]:
    """The scenes of an open stack, one per time step; its variables are read as they are asked for."""
    layers = {layer: variable for layer, variable in mapping.layers.items() if variable in data.data_vars}
    if not set(layers) - set(mapping.mask_layers):
        raise ContractError(
            f"{file}: holds {' '.join(map(str, data.data_vars))}, expected some of "
            f"{' '.join(mapping.bands.values())}; correct [bands] of mapping {mapping.name!r}"
        )
    if mapping.time not in data.coords or data[mapping.time].dtype.kind != "M":
        raise ContractError(
            f"{file}: no time coordinate {mapping.time!r} (it has {' '.join(map(str, data.coords))}); "
            f"correct `time` of mapping {mapping.name!r}"
        )
    grid, flip = _grid(data, file, mapping)
    for layer, variable in layers.items():
        shape = (data.sizes[mapping.time], grid.height, grid.width)
        if set(data[variable].dims) != {mapping.time, "y", "x"} or data[variable].size != np.prod(shape):
            raise ContractError(
                f"{file}: {variable} ({layer}) has dimensions {data[variable].dims}, expected {mapping.time}, y, x"
            )
    incidence = _degrees(data, mapping.incidence, mapping)
    angles = {angle: _degrees(data, variable, mapping) for angle, variable in mapping.angles.items()}
    read = _reader(data, file, mapping, layers, flip)
    return [
        Scene(
            product=file.stem,
            file=file,
            time=_to_datetime(time),
            mapping=mapping,
            grids=dict.fromkeys(layers, grid),
            read=lambda layer, i=i: read(layer, i),  # type: ignore[misc]
            platform=mapping.platform,
            direction=mapping.direction,
            incidence_deg=incidence[i],
            angles={angle: found for angle, degrees in angles.items() if (found := degrees[i]) is not None},
            simulated=str(data.attrs.get("simulated", "")).lower() in ("true", "1", "yes"),
            stated=_stated(data, layers),
        )
        for i, time in enumerate(data[mapping.time].values)
    ]


def _reader(
    data: xr.Dataset, file: Path, mapping: Mapping, layers: dict[str, str], flip: bool
) -> Callable[[str, int], np.ndarray]:
    blocks: dict[str, tuple[int, np.ndarray]] = {}
    steps = max(1, BLOCK_PIXELS // (data.sizes["y"] * data.sizes["x"]))

    def read(layer: str, i: int) -> np.ndarray:
        variable = data[layers[layer]]
        start = i - i % steps
        try:
            if blocks.get(layer, (-1,))[0] != start:
                block = variable.isel({mapping.time: slice(start, start + steps)})
                blocks[layer] = (start, block.transpose(mapping.time, "y", "x").values)
            raw = blocks[layer][1][i - start]
        except (OSError, RuntimeError) as e:
            raise DataError(f"{file}: {layer} at time step {i} cannot be read ({e}); the file is damaged") from e
        if str(variable.attrs.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
            raw = raw.view(raw.dtype.str.replace("i", "u"))  # openEO writes uint16 as int16 with this attribute
        raw = raw[::-1] if flip else raw
        if layer in mapping.mask_layers:
            return raw + mapping.mask_shift if mapping.mask_shift else raw
        return decode(raw, mapping, missing=_declared_fill(variable, raw.dtype))

    return read


def _declared_fill(variable: xr.DataArray, dtype: np.dtype) -> list[Any]:
    fill = [variable.attrs[k] for k in ("_FillValue", "missing_value") if k in variable.attrs]
    return [np.asarray(f).astype(dtype) for f in fill if dtype.kind == "f" or np.isfinite(f)]


def _stated(data: xr.Dataset, layers: dict[str, str]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    bands = [(b, v) for b, v in layers.items() if not b.startswith(MASK)]
    for attribute, key in [("processing_level", "level"), ("calibration", "calibration")]:
        if attribute in data.attrs:
            stated[key] = str(data.attrs[attribute])
    for attribute, key in [("scale_factor", "scale"), ("add_offset", "offset")]:
        found = {float(data[v].attrs[attribute]) for _, v in bands if attribute in data[v].attrs}
        if found:
            stated[key] = sorted(found)[0] if len(found) == 1 else sorted(found)
    stated["units"] = {b: str(data[v].attrs["units"]) for b, v in bands if "units" in data[v].attrs}
    return stated


def _degrees(data: xr.Dataset, variable: str | None, mapping: Mapping) -> list[float | None]:
    if variable is None or variable not in data:
        return [None] * data.sizes[mapping.time]
    angles = data[variable].values
    return [round(float(a), 3) if np.isfinite(a) and a > 0 else None for a in angles]


def _to_datetime(time: np.datetime64) -> datetime:
    stamp: datetime = pd.Timestamp(time).floor("s").to_pydatetime()
    return stamp


def _grid(data: xr.Dataset, file: Path, mapping: Mapping) -> tuple[Grid, bool]:
    """The grid from pixel-centre coordinates x and y, and whether rows run from south to north."""
    for axis in ("x", "y"):
        if axis not in data.coords:
            raise ContractError(f"{file}: no coordinate {axis} of pixel centres; expected metres in a UTM zone")
    x, y = (data[axis].values.astype(float).reshape(-1) for axis in ("x", "y"))
    if len(x) == len(y) == 1 and mapping.gsd_m:
        half = mapping.gsd_m / 2
        corners = (mapping.gsd_m, 0.0, float(x[0]) - half, 0.0, -mapping.gsd_m, float(y[0]) + half)
        return Grid(crs=_crs(data, file), transform=corners, height=1, width=1), False
    if min(len(x), len(y)) < 2:
        raise ContractError(
            f"{file}: {len(y)} x {len(x)} pixel centres do not tell the pixel's size; expected at least two along x "
            f"and y, or a single pixel and its size as `gsd_m` of mapping {mapping.name!r}"
        )
    flip = bool(y[1] > y[0])
    y = y[::-1] if flip else y
    dx, dy = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
    if dx <= 0 or not (np.allclose(np.diff(x), dx, atol=1e-3) and np.allclose(np.diff(y), dy, atol=1e-3)):
        raise ContractError(f"{file}: x and y are not evenly spaced; expected a regular, north-up grid")
    crs = _crs(data, file)
    return Grid(crs=crs, transform=(dx, 0.0, x[0] - dx / 2, 0.0, dy, y[0] - dy / 2), height=len(y), width=len(x)), flip


def _crs(data: xr.Dataset, file: Path) -> str:
    if "epsg" in data.attrs:
        return f"EPSG:{int(data.attrs['epsg'])}"
    for attributes in (*(data[n].attrs for n in ("spatial_ref", "crs") if n in data), data.attrs):
        text = attributes.get("crs_wkt") or attributes.get("spatial_ref")
        code = pyproj.CRS.from_wkt(text).to_epsg() if text else None
        if code:
            return f"EPSG:{code}"
    raise ContractError(f"{file}: states no CRS; expected an attribute `epsg` or a variable spatial_ref with crs_wkt")
