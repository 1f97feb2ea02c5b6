"""What a container states of a layer's numbers, in one form for all containers. Not what a mapping says of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eomm.errors import ContractError, DataError


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What a file says of the numbers of one layer; None or () where it says nothing.

    Attributes:
        scale: quantity = number * scale + offset, in `unit`.
        offset: see `scale`.
        unit: of the quantity, as the file spells it.
        fill: numbers that mean no data.
        valid: the least and the most that is data, as numbers of the file.
    """

    scale: float | None = None
    offset: float | None = None
    unit: str | None = None
    fill: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None


def of_attributes(attributes: Mapping[str, Any], dtype: np.dtype, *, where: str, part: int | None = None) -> Numbers:
    """What attributes of the CF conventions state (NetCDF, Zarr, HDF5): scale_factor, add_offset, units, fills.

    Args:
        attributes: of a variable or data set, undecoded.
        dtype: of its numbers, after `_Unsigned`.
        where: the file and variable, for messages.
        part: which of several bands or channels; a list of values has one for each.

    Raises:
        DataError: a scale or an offset is no number, or several where one is expected.
    """
    one = {name: _one(attributes[name], part) for name in ("scale_factor", "add_offset", "units") if name in attributes}
    units = one.get("units")
    fill: list[float] = []
    for name in ("_FillValue", "missing_value", "nodata"):
        # NaN says nothing of integers: SCL of WorldCereal has it.
        found = np.ravel(np.asarray(attributes.get(name, ())))
        numbers = found.astype(np.float64) if found.dtype.kind in "iuf" else np.array(_numeric(found.tolist()))
        fill += [_as(v, dtype) for v in numbers if np.isfinite(v)]
    return Numbers(
        scale=number(one.get("scale_factor"), f"{where}: scale_factor"),
        offset=number(one.get("add_offset"), f"{where}: add_offset"),
        unit=None if units is None else _plain_text(units),
        fill=tuple(dict.fromkeys(fill)),
        valid=_valid(attributes, dtype, where),
    )


def _valid(attributes: Mapping[str, Any], dtype: np.dtype, where: str) -> tuple[float, float] | None:
    """`valid_range`, or `valid_min` and `valid_max`; of the packed numbers where they are of their kind (CF 8.1)."""
    pair = [attributes.get(name) for name in ("valid_min", "valid_max")]
    given = list(np.ravel(np.asarray(attributes["valid_range"]))) if "valid_range" in attributes else pair
    kinds = {np.asarray(v).dtype.kind in "iu" for v in given if v is not None}
    if len(given) != 2 or kinds != {dtype.kind in "iu"}:
        return None
    ends = []
    for value, open_end in zip(given, (-np.inf, np.inf), strict=True):
        found = number(value, f"{where}: valid range")
        ends.append(open_end if found is None else _as(found, dtype))
    return ends[0], ends[1]


def _as(value: float, dtype: np.dtype) -> float:
    """A number as the layer's type holds it: of unsigned numbers that are stored as signed, such as -1 for 65535."""
    return float(np.float64(value).astype(np.int64).astype(dtype)) if dtype.kind in "iu" else float(value)


def check_utc(attributes: Mapping[str, Any], *, where: str) -> None:
    """Raise ContractError where attributes or tags state that times are in another zone than UTC."""
    for key, value in attributes.items():
        if str(key).lower() in ZONES and str(value).strip().lower() not in UTC_NAMES:
            raise ContractError(
                f"{where}: the file states the {key} {str(value)[:60]!r}, expected UTC; write the times in UTC, or "
                "with their offset (2018-07-01T10:54:21+02:00; NetCDF: hours since 2018-01-01 00:00:00 +01:00)"
            )


def is_true(text: Any) -> bool:
    """Whether an attribute or tag says yes."""
    return str(text).lower() in ("true", "1", "yes")


def number(value: Any, what: str) -> float | None:
    """A stated number; None where nothing is stated. Raises DataError where it is none, or not finite."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        found = float(_plain_text(value) if isinstance(value, bytes | str) else value)
    except (TypeError, ValueError) as e:
        raise DataError(f"{what} is {str(value)[:60]!r}, expected a number; correct the file") from e
    if not np.isfinite(found):
        raise DataError(f"{what} is {found}, expected a finite number; correct the file")
    return found


def agreed(statements: Iterable[tuple[str, float | None]], *, where: str, what: str) -> float | None:
    """The one number that several places of a file state. Raises ContractError where they differ, naming both."""
    found = [(place, value) for place, value in statements if value is not None]
    for place, value in found[1:]:
        if not np.isclose(value, found[0][1], rtol=1e-6, atol=1e-12):
            raise ContractError(
                f"{where}: contradicts itself: its {what} is {found[0][1]:g} by {found[0][0]}, {value:g} by {place}; "
                "remove the wrong one from the file"
            )
    return found[0][1] if found else None


def plain_unit(text: str) -> str:
    """A unit without the differences of spelling; "" of what has no dimension, or is not told."""
    words = text.strip().lower().replace("µ", "u").replace("μ", "u")
    for spelling, name in SPELLINGS.items():
        if words in name:
            return spelling
    words = words.replace("**", "").replace("^", "").replace("_", " ")
    over, *under = words.split("/")
    parts = over.split() + [re.sub(r"^([a-z]+)(\d*)$", r"\1-\2", w) for u in under for w in u.split()]
    return " ".join(sorted(re.sub(r"-$", "-1", p) for p in parts))


ZONES = ("time_zone", "timezone", "tz")
UTC_NAMES = ("", "utc", "gmt", "z", "zulu", "+00:00", "utc+0", "etc/utc", "utc+00:00")
SPELLINGS = {
    "": ("", "1", "-", "none", "unitless", "dimensionless", "dn", "digital number", "digital numbers", "counts"),
    "reflectance": ("reflectance", "surface reflectance", "surface_reflectance", "boa reflectance"),
    "%": ("%", "percent", "pct", "reflectance (%)", "reflectance [%]", "percent reflectance"),
    "dB": ("db", "decibel", "decibels", "[db]", "10*log10", "10log10"),
    "linear power": (
        "linear power", "linear_power", "linear", "power", "intensity", "natural", "natural numbers", "m2/m2", "m2 m-2",
    ),
    "amplitude": ("amplitude", "voltage"),
    "m": ("m", "metre", "metres", "meter", "meters"),
    "k": ("k", "kelvin", "degk", "deg k"),
    "degc": ("degc", "deg c", "deg_c", "celsius", "degree celsius", "degrees celsius", "degree_celsius", "°c", "c"),
    "radiance": ("radiance", "w m-2 sr-1 um-1", "w/m2/sr/um", "w m-2 sr-1 nm-1"),
}  # fmt: skip
"""A unit -> how files spell it, lower case. Digital numbers tell no unit of what they stand for."""


def _one(value: Any, part: int | None) -> Any:
    several = np.ravel(np.asarray(value)) if not isinstance(value, str | bytes) else np.array([])
    if len(several) == 1:
        return several[0]
    if part is not None and len(several) > part:
        return several[part]
    return value


def _numeric(values: list[Any]) -> list[float]:
    """Those of some texts that are numbers; a fill may be text, such as "0"."""
    found = []
    for value in values:
        try:
            found.append(float(_plain_text(value)))
        except ValueError:
            continue
    return found


def _plain_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
