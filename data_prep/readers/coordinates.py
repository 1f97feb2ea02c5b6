"""Where and when the values of an open data set lie, by its coordinates: grid, CRS and times. Not its values."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import xarray as xr
from pyproj.exceptions import CRSError

from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.readers.stated import check_utc, of_attributes
from eomm.data.days import parse_time
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError

CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
METRES = ("m", "metre", "metres", "meter", "meters", "1", "")
PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def times_of(data: xr.Dataset, file: Path, mapping: SourceMapping) -> list[datetime]:
    """The time steps in UTC, without zone; texts are read as `parse_time` does.

    Raises:
        ContractError: there is no such coordinate, it is in another calendar, or states another zone than UTC.
        DataError: a step has no time.
    """
    name = mapping.time
    if name not in data.coords:
        raise ContractError(
            f"{file}: no time coordinate {name!r} (it has {' '.join(map(str, data.coords))}); "
            f"correct `time` of mapping {mapping.name!r}"
        )
    time, where = data[name], f"{file}: time coordinate {name!r}"
    if time.ndim != 1:
        raise ContractError(f"{where} has the dimensions {time.dims}, expected one of time steps")
    for attributes in (time.attrs, time.encoding, data.attrs):
        check_utc(attributes, where=where)
    time = decoded(time, where)
    if time.dtype.kind == "M":
        if (missing := np.flatnonzero(np.isnat(time.values))).size:
            raise DataError(f"{where}: has no time at step {missing[0]} ({missing.size} of {time.size}); leave it out")
        return [pd.Timestamp(t).floor("s").to_pydatetime() for t in time.values]
    if all(isinstance(t, str | bytes) for t in time.values.tolist()):
        return [parse_time(t, where=where).replace(microsecond=0) for t in time.values.tolist()]
    raise ContractError(
        f"{where}: holds no times but {time.dtype}; expected times (units such as `days since 1970-01-01`), or another "
        f"`time` of mapping {mapping.name!r}"
    )


def decoded(time: xr.DataArray, where: str) -> xr.DataArray:
    """Times where they are numbers since a date, which may have an offset from UTC. Raises as `times_of`."""
    units, calendar = (str(time.attrs.get(key, "")) for key in ("units", "calendar"))
    if time.dtype.kind not in "iuf" or " since " not in units:
        return time
    if calendar.lower() not in CALENDARS:
        raise ContractError(
            f"{where}: holds dates of the calendar {calendar!r}, in which some days are none of this world's; expected "
            f"one of {', '.join(CALENDARS[1:])}"
        )
    try:
        packed = any(key in time.attrs for key in PACKING)  # decoding them makes floating-point numbers of integers
        decoded = xr.conventions.decode_cf_variable("time", time.variable, mask_and_scale=packed)
    except (ValueError, OverflowError) as e:
        raise DataError(f"{where}: {units!r} cannot be read as times ({str(e)[:200]})") from e
    return xr.DataArray(decoded)


def grid_of_coordinates(
    data: xr.Dataset, file: Path, mapping: SourceMapping, layers: dict[str, str]
) -> tuple[Grid, bool]:
    """The grid from pixel-centre coordinates x and y, and whether rows run from south to north.

    Raises:
        ContractError: they are missing or uneven, or no CRS is stated.
    """
    for axis in ("x", "y"):
        if axis not in data.coords:
            raise ContractError(f"{file}: no coordinate {axis} of pixel centres; expected metres in a UTM zone")
    crs = crs_of(data, file, layers)
    x, y = (_centres(data[axis], crs, f"{file}: coordinate {axis}") for axis in ("x", "y"))
    if len(x) == len(y) == 1 and mapping.gsd_m:
        half = mapping.gsd_m / 2
        corners = (mapping.gsd_m, 0.0, float(x[0]) - half, 0.0, -mapping.gsd_m, float(y[0]) + half)
        return Grid(crs=crs, transform=corners, height=1, width=1), False
    if min(len(x), len(y)) < 2:
        raise ContractError(
            f"{file}: {len(y)} x {len(x)} pixel centres do not tell the pixel's size; expected at least two along x "
            f"and y, or a single pixel and its size as `gsd_m` of mapping {mapping.name!r}"
        )
    flip = bool(y[1] > y[0])
    y = y[::-1] if flip else y
    dx, dy = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
    if not dx > 0 or not (np.allclose(np.diff(x), dx, atol=1e-3) and np.allclose(np.diff(y), dy, atol=1e-3)):
        raise ContractError(f"{file}: x and y are not evenly spaced; expected a regular, north-up grid")
    return Grid(crs=crs, transform=(dx, 0.0, x[0] - dx / 2, 0.0, dy, y[0] - dy / 2), height=len(y), width=len(x)), flip


def _centres(coordinate: xr.DataArray, crs: str, where: str) -> np.ndarray:
    """Metres, unpacked as the file states. Raises ContractError where it states another unit than a projected CRS's."""
    stated = of_attributes(coordinate.attrs, coordinate.dtype, where=where)
    if pyproj.CRS.from_user_input(crs).is_projected and (stated.unit or "").strip().lower() not in METRES:
        raise ContractError(f"{where}: is in {stated.unit!r} by its units, expected metres in {crs}; convert it")
    if not np.issubdtype(coordinate.dtype, np.number):
        raise ContractError(f"{where}: holds {coordinate.dtype}, expected numbers: metres of pixel centres")
    values = coordinate.values.astype(float).reshape(-1)
    return values * (1 if stated.scale is None else stated.scale) + (stated.offset or 0)


def crs_of(data: xr.Dataset, file: Path, layers: dict[str, str]) -> str:
    """The one CRS that a data set states: by `epsg`, a grid mapping of its own variables, or crs_wkt.

    Raises:
        ContractError: it states none, two that differ, or one that is not understood.
    """
    stated: dict[str, str] = {}  # place -> code
    for place in dict.fromkeys([*_grid_mappings(data, layers), "spatial_ref", "crs"]):
        if place in data.variables:
            stated |= _codes(data[place].attrs, f"variable {place}", file)
    stated |= _codes(data.attrs, "attribute", file)
    for name in set(layers.values()):  # rarely: of each variable
        stated |= _codes({k: v for k, v in data[name].attrs.items() if k == "epsg"}, f"variable {name}", file)
    if not stated:
        raise ContractError(
            f"{file}: states no CRS; expected an attribute `epsg` or a variable spatial_ref with crs_wkt"
        )
    (place, code), *others = stated.items()
    for other, found in others:
        if found != code:
            raise ContractError(
                f"{file}: contradicts itself: it lies in {code} by its {place}, in {found} by its {other}; remove the "
                "wrong one from the file"
            )
    return code


def _grid_mappings(data: xr.Dataset, layers: Mapping[str, str]) -> list[str]:
    """The variables that layers name for their CRS; also "crs: x y"."""
    spoken = [data[v].attrs.get("grid_mapping") or data[v].encoding.get("grid_mapping") for v in layers.values()]
    return [word for text in spoken if text for word in str(text).replace(":", " ").split()]


def _codes(attributes: Any, what: str, file: Path) -> dict[str, str]:
    found = {}
    for key in ("epsg", "crs_wkt", "spatial_ref"):
        value = attributes.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        text = str(value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value)
        number = text.upper().removeprefix("EPSG:").removesuffix(".0")
        try:
            crs = pyproj.CRS.from_epsg(int(number)) if number.isdigit() else pyproj.CRS.from_user_input(text)
        except CRSError as e:
            raise ContractError(f"{file}: {what} {key} is {text[:60]!r}, which is no CRS ({str(e)[:120]})") from e
        if code := crs.to_epsg():
            found[f"{what} {key}"] = f"EPSG:{code}"
    return found
