"""Stacks: variables [time, y, x] of an open data set, or bands of arrays [time, band, y, x]. Not how it is opened.

Read raw: decoding is ours, since declared fills mislead.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import xarray as xr
from pyproj.exceptions import CRSError

from data_prep.mappings.mapping import MASK, Mapping
from data_prep.readers.scene import Scene, decode
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError

LABELLED = re.compile(r"(\w+)\[(\w+)\]")
"""How a mapping names a band of an array with a dimension of bands: s2l2a[B02]."""
BAND = "band"
"""That dimension, and the coordinate that has the bands' names."""
BLOCK_PIXELS = 1_000_000
"""Time steps of a variable are read in blocks of this size: one HDF5 request each, 3 ms, dominates small sites."""
BLOCK_BYTES = 2**29
"""So much may be read of a store at once to open none of its chunks twice."""


def bands_apart(data: xr.Dataset, file: Path, mapping: Mapping) -> xr.Dataset:
    """Each band that the mapping names by a label as a variable of its own, still unread. Raises ContractError."""
    for name in mapping.layers.values():
        match = LABELLED.fullmatch(name)
        if not match or match[1] not in data:
            continue
        array, label = data[match[1]], match[2]
        if BAND not in array.dims or BAND not in data.coords:
            raise ContractError(f"{file}: {match[1]} has dimensions {array.dims}, expected one of bands, {BAND!r}")
        labels = [str(v) for v in data[BAND].values]
        if labels.count(label) > 1:
            raise ContractError(f"{file}: {match[1]} has {labels.count(label)} bands named {label}, expected one")
        if label in labels:
            data[name] = array.isel({BAND: labels.index(label)}).drop_vars(BAND)
    return data


def scenes_of(data: xr.Dataset, file: Path, mapping: Mapping) -> list[Scene]:
    """The scenes of an open stack, one per time step; its variables are read as they are asked for."""
    layers = {layer: variable for layer, variable in mapping.layers.items() if variable in data.data_vars}
    if not set(layers) - set(mapping.mask_layers):
        raise ContractError(
            f"{file}: holds {' '.join(map(str, data.data_vars))}, expected some of "
            f"{' '.join(mapping.bands.values())}; correct [bands] of mapping {mapping.name!r}"
        )
    if mapping.time in data.coords and data[mapping.time].dtype.kind == "O":
        calendar = data[mapping.time].encoding.get("calendar", "unknown")
        raise ContractError(
            f"{file}: {mapping.time!r} is of the calendar {calendar!r}, whose days are no dates of ours; expected the "
            "standard calendar"
        )
    if mapping.time not in data.coords or data[mapping.time].dtype.kind != "M":
        raise ContractError(
            f"{file}: no time coordinate {mapping.time!r} (it has {' '.join(map(str, data.coords))}); "
            f"correct `time` of mapping {mapping.name!r}"
        )
    if lost := np.flatnonzero(np.isnat(data[mapping.time].values)).tolist():
        raise DataError(f"{file}: time steps {str(lost[:5])[1:-1]} have no time; expected one for each, in UTC")
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


def block_steps(data: xr.Dataset, variable: str, mapping: Mapping) -> int:
    """How many time steps of a variable are read at once: those of a chunk, where they fit."""
    pixels = data.sizes["y"] * data.sizes["x"]
    chunk = int(data[variable].encoding.get("preferred_chunks", {}).get(mapping.time, 1))
    together = len(mapping.layers) if LABELLED.fullmatch(variable) else 1
    fits = BLOCK_BYTES // (pixels * together * data[variable].dtype.itemsize)
    return max(1, BLOCK_PIXELS // pixels, chunk if chunk <= fits else 1)


def _reader(
    data: xr.Dataset, file: Path, mapping: Mapping, layers: dict[str, str], flip: bool
) -> Callable[[str, int], np.ndarray]:
    blocks: dict[str, tuple[int, np.ndarray]] = {}

    def load(layer: str, steps: slice) -> None:
        match = LABELLED.fullmatch(layers[layer])
        if match is None:
            block = data[layers[layer]].isel({mapping.time: steps})
            blocks[layer] = (steps.start, block.load().transpose(mapping.time, "y", "x").values)
            return
        # A chunk holds many bands: what is wanted of them is kept, or each would be decompressed once per band.
        wanted = {la: m[2] for la, name in layers.items() if (m := LABELLED.fullmatch(name)) and m[1] == match[1]}
        labels = [str(v) for v in data[BAND].values]
        index = {la: labels.index(label) for la, label in wanted.items()}
        first, last = min(index.values()), max(index.values())
        block = data[match[1]].isel({mapping.time: steps, BAND: slice(first, last + 1)})
        # Loaded before it is transposed and by a slice of bands: else zarr is asked pixel by pixel.
        values = block.load().transpose(BAND, mapping.time, "y", "x").values
        blocks.update({la: (steps.start, values[k - first]) for la, k in index.items()})

    def read(layer: str, i: int) -> np.ndarray:
        variable = data[layers[layer]]
        steps = block_steps(data, layers[layer], mapping)
        start = i - i % steps
        try:
            if blocks.get(layer, (-1,))[0] != start:
                load(layer, slice(start, start + steps))
            raw = blocks[layer][1][i - start]
        except (OSError, RuntimeError, ValueError) as e:
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
    """The EPSG code, from `epsg`, from whatever variable a band calls its grid mapping, or from the usual names."""
    named = [v.attrs.get("grid_mapping", v.encoding.get("grid_mapping")) for v in data.data_vars.values()]
    variables = [str(n).split(":")[0].strip() for n in named if n] + ["spatial_ref", "crs"]
    if epsg := re.fullmatch(r"(?i:EPSG:)?\s*(\d+)(\.0+)?", str(data.attrs.get("epsg", "")).strip()):
        stated: list[Any] = [int(epsg[1])]
    else:
        stated = [data.attrs["epsg"]] if "epsg" in data.attrs else []
    for attributes in (*(data[n].attrs for n in dict.fromkeys(variables) if n in data.variables), data.attrs):
        text = attributes.get("crs_wkt") or attributes.get("spatial_ref")
        stated += [text] if text else [dict(attributes)] if "grid_mapping_name" in attributes else []
    for one in stated:
        try:
            crs = pyproj.CRS.from_cf(one) if isinstance(one, dict) else pyproj.CRS.from_user_input(one)
        except (CRSError, KeyError, TypeError, ValueError) as e:
            raise ContractError(f"{file}: its CRS {str(one)[:60]!r} is not understood ({str(e)[:100]})") from e
        if code := crs.to_epsg():
            return f"EPSG:{code}"
    raise ContractError(
        f"{file}: states no CRS with an EPSG code; expected an attribute `epsg`, or a grid mapping with crs_wkt"
    )
