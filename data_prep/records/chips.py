"""Chips to series: pixels of small fields by date, all in one NetCDF or Zarr. Tables are eomm/data/points.py.

The mapping is that of a table; what it calls columns are variables here. Dimensions have any names and any order:

id, group, split, stratum, label, lon, lat   [chip]
date                                         [time], or [chip, time] with gaps (NaT, "") where a chip has fewer
bands                                        [chip, time, y, x]; NAME[LABEL] of [chip, time, band, y, x]
valid                                        any of chip, time, y, x: a field's outline, a mask of clouds
orbit                                        [time] or [chip, time]
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from data_prep.cubes.statements import check_stated
from data_prep.readers.arrays import bands_apart, open_arrays
from data_prep.readers.coordinates import decoded
from data_prep.readers.stated import of_attributes
from eomm.data.days import parse_days
from eomm.data.points import PointMapping, PointSeries
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.fields import Json

ENDINGS = (".nc", ".nc4", ".zarr")
MOST_PX = 64  # larger pictures are cubes
CHIP, TIME, *_ = DIMS = tuple(f"eomm:{name}" for name in ("chip", "time", "y", "x"))  # a file has none so called
NO_DAY = np.int32(-(2**31))


def read_chips(path: Path | str, mapping: PointMapping, accept: Collection[str] = ()) -> list[PointSeries]:
    """The series of a set of chips, values [t, y, x, band].

    Of several dates of a chip on one day the one with most valid pixels counts. A value that is missing or `fill` in
    any band makes its pixel invalid at that date.

    Args:
        path: a NetCDF file or a Zarr store.
        mapping: what its variables mean.
        accept: checks to overrule: scale, offset, where the file states others than the mapping.

    Raises:
        UsageError: another ending, or nothing there.
        DataError: the file cannot be read, holds no chip, lacks a variable, all dates or a chip's name, has a name
            twice, a date that is none, or text for numbers.
        ContractError: a variable has other dimensions, chips are larger than 64 px, or the file states another scale.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS or not path.exists():
        raise UsageError(f"{path}: no such file, or its name ends in none of {', '.join(ENDINGS)}")
    with open_arrays(path) as opened:
        data = _named(bands_apart(opened, path, mapping.bands.values()), mapping, path)
        found = list(_series(_plain(data, mapping, path), mapping, path, accept))
    if not found:
        raise DataError(f"{path}: {mapping.id} names no chip; expected at least one")
    names = [s.name for s in found]
    if twice := {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else set():
        raise DataError(f"{path}: chips {', '.join(sorted(twice)[:3])} are there twice; give each its own {mapping.id}")
    return sorted(found, key=lambda s: (s.group, s.id))


def _named(data: xr.Dataset, mapping: PointMapping, path: Path) -> xr.Dataset:
    """The data set with its dimensions called DIMS. Raises where a variable is missing or has others."""
    if lost := [name for name in mapping.columns if name not in data.variables]:
        raise DataError(
            f"{path}: lacks {', '.join(lost)}, which the mapping names; it has {', '.join(map(str, data.variables))}"
        )
    bands = [data[name] for name in mapping.bands.values()]
    if data[mapping.id].ndim != 1 or bands[0].ndim != 4:
        raise ContractError(
            f"{path}: {mapping.id} has dimensions {data[mapping.id].dims}, {bands[0].name} {bands[0].dims}; expected "
            "one of chips, and those of chips, times, rows and columns. Give a single chip a dimension, or make a cube"
        )
    (chip,), dated = data[mapping.id].dims, data[mapping.date].dims
    others = [d for d in dated if d != chip]
    if len(others) != 1 or (mapping.orbit and others[0] not in data[mapping.orbit].dims):
        found = f"{mapping.date} has dimensions {dated}" + (
            f", {mapping.orbit} {data[mapping.orbit].dims}" if mapping.orbit else ""
        )
        raise ContractError(f"{path}: {found}; expected one of times, and beside it none but {chip!r} of chips")
    (time,) = others
    dims = (chip, time, *(d for d in bands[0].dims if d not in (chip, time)))
    allowed = {name: {chip} for name in (*mapping.names, mapping.label, mapping.lon, mapping.lat)}
    allowed |= {name: {chip, time} for name in (mapping.date, mapping.orbit)}
    for name in mapping.columns:
        own, most = set(data[name].dims), allowed.get(name, set(dims))
        if not own <= most or (name in mapping.bands.values() and own != most):
            raise ContractError(
                f"{path}: {name} has dimensions {data[name].dims}, expected of {', '.join(map(str, dims))}"
            )
    if max(data.sizes[d] for d in dims[2:]) > MOST_PX:
        raise ContractError(
            f"{path}: chips have {data.sizes[dims[2]]} x {data.sizes[dims[3]]} px, expected at most {MOST_PX} a side; "
            "larger pictures are cubes: eomm prepare cube"
        )
    kept = data.reset_coords()[mapping.columns]
    return kept.rename_dims(dict(zip(dims, DIMS, strict=True)))


def _series(data: xr.Dataset, mapping: PointMapping, path: Path, accept: Collection[str]) -> Iterator[PointSeries]:
    days = _days(data[mapping.date], f"{path}: {mapping.date}")
    fills = {band: _fill(data[name], f"{path}: {name}", mapping, accept) for band, name in mapping.bands.items()}
    for i in range(data.sizes[CHIP]):
        one = data.isel({CHIP: i})
        pixels = {b: one[mapping.bands[b]].transpose(*DIMS[1:]).values for b in mapping.contract.band_names}
        raw = {b: p.astype(np.float64) for b, p in pixels.items()}  # scaled as int8, 100 would be -56
        missing = [mapping.missing(r) | np.isin(r, fills[b]) for b, r in raw.items()]
        known = ~np.any(missing, axis=0)
        if mapping.valid:
            known &= _spread(one[mapping.valid].isin(mapping.valid_values), known.shape)
        day = days[i % len(days)]
        at = _once_a_day(day, known)
        physical = np.stack([r[at] * mapping.scale + mapping.offset for r in raw.values()], axis=-1)
        yield PointSeries(
            **_about(one, mapping, f"{path}: chip {i}"),
            day=day[at],
            values=np.where(known[at, ..., None], physical, 0).astype(np.float32),
            valid=known[at],
            orbit=np.nan_to_num(one[mapping.orbit].values[at]).astype(np.int32) if mapping.orbit else None,
        )


def _spread(values: xr.DataArray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of some of time, y and x, for all of them."""
    missing = [d for d in DIMS[1:] if d not in values.dims]
    return np.broadcast_to(values.expand_dims(missing).transpose(*DIMS[1:]).values, shape)


def _about(one: xr.Dataset, mapping: PointMapping, where: str) -> Json:
    """Name, group, split, stratum, label and place of a chip. Raises DataError where it has no name."""
    names = {k: c for k in ("id", "group", "split", "stratum", "label") if (c := getattr(mapping, k))}
    about: Json = {k: one[name].item() for k, name in names.items()}
    if not about["id"]:
        raise DataError(f"{where}, counted from 0, has no {mapping.id}; name it, or leave it out")
    place = tuple(float(one[c].values) for c in (mapping.lon, mapping.lat) if c)
    return {"group": about["id"], **about, "place": place if len(place) == 2 and np.isfinite(place).all() else None}


def _plain(data: xr.Dataset, mapping: PointMapping, path: Path) -> xr.Dataset:
    """The same with names and labels as text, "" where missing; lon, lat and orbit as numbers, NaN where missing."""
    texts = {c: _texts(data[c], f"{path}: {c}") for c in (*mapping.names, mapping.label) if c}
    numbers = {c: _numbers(data[c], f"{path}: {c}") for c in (mapping.lon, mapping.lat, mapping.orbit) if c}
    return data.assign(texts | numbers)


def _texts(variable: xr.DataArray, where: str) -> xr.DataArray:
    values = _values(variable, where)
    texts = [
        "" if missing else _text(v, where)
        for v, missing in zip(values.ravel().tolist(), _declared(variable, values, where).ravel(), strict=True)
    ]
    return variable.copy(data=np.array(texts, object).reshape(values.shape))


def _numbers(variable: xr.DataArray, where: str) -> xr.DataArray:
    """Unpacked as the file states. Raises DataError where it holds no numbers."""
    _check_numbers(variable, where)
    values, stated = _values(variable, where), of_attributes(variable.attrs, variable.dtype, where=where)
    unpacked = values.astype(np.float64) * (1 if stated.scale is None else stated.scale) + (stated.offset or 0)
    return variable.copy(data=np.where(_declared(variable, values, where), np.nan, unpacked))


def _check_numbers(variable: xr.DataArray, where: str) -> None:
    if variable.dtype.kind not in "biuf":
        raise DataError(f"{where}: holds {variable.dtype}, expected numbers; correct the file or the mapping")


def _values(variable: xr.DataArray, where: str) -> np.ndarray:
    try:
        return variable.values
    except UnicodeDecodeError as e:
        raise _not_utf8(where, e) from e


def _declared(variable: xr.DataArray, values: np.ndarray, where: str) -> np.ndarray:
    """Where values are what the file declares to be no data; of texts nothing is."""
    if values.dtype.kind not in "iuf":
        return np.zeros(values.shape, bool)
    return np.isin(values, of_attributes(variable.attrs, variable.dtype, where=where).fill)


def _text(value: object, where: str) -> str:
    """As a table has it; of bytes what they spell, "" of what is missing. Raises DataError."""
    if value is None:
        return ""
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()  # h5py hands on what it could not decode
    except UnicodeError as e:
        raise _not_utf8(where, e) from e
    return "" if text in ("nan", "NaT") else text


def _not_utf8(where: str, error: UnicodeError) -> DataError:
    return DataError(f"{where}: holds text that is not UTF-8 ({error}); write the file again in UTF-8")


def _days(dates: xr.DataArray, where: str) -> np.ndarray:
    """Days since 1970-01-01, [chip, time] or [1, time], NO_DAY where there is none. Raises DataError without any."""
    found = np.atleast_2d(_values(decoded(dates, where).transpose(..., TIME), where))
    cells = [_text(v, where) if isinstance(v, str | bytes) else v for v in found.ravel()]
    there = np.array([not pd.isna(v) and v != "" for v in cells], bool).reshape(found.shape)
    known = there & ~_declared(dates, found, where)
    if not known.any():
        raise DataError(f"{where}: none of {known.size} dates is known; expected some, correct the file or the mapping")
    days = np.full(found.shape, NO_DAY)
    days[known] = parse_days([v for v, k in zip(cells, known.ravel(), strict=True) if k], where=where)
    return days


def _once_a_day(day: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Positions of the dates that count, in the order of their days: of each day that with most valid pixels."""
    order = np.lexsort((-known.sum((1, 2)), day))
    order = order[day[order] != NO_DAY]
    _, first = np.unique(day[order], return_index=True)
    return order[first]


def _fill(variable: xr.DataArray, where: str, mapping: PointMapping, accept: Collection[str]) -> tuple[float, ...]:
    """Numbers that the file declares to be no data.

    Raises:
        ContractError: it states another scale or offset.
        DataError: it holds no numbers.
    """
    _check_numbers(variable, where)
    stated = of_attributes(variable.attrs, variable.dtype, where=where)
    for key in ("scale", "offset"):
        check_stated(key, getattr(stated, key), getattr(mapping, key), where, "the mapping", accept)
    return stated.fill
