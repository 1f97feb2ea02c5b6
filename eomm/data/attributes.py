"""Attributes of Zarr groups that every reader of CF can hold: text, numbers and lists of them, no dicts.

NetCDF has no dicts, no nothing and no truth: xarray refuses to write a data set that has one. What is deeper is stored
as JSON text, and the attribute `eomm:json` names which attributes those are.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from eomm.errors import DataError
from eomm.store.descriptions import AGAIN, CUBE, EMBEDDING
from eomm.store.fields import Json, check
from eomm.store.folders import recover, what_lies
from eomm.store.zarr_errors import damaged_zarr

NAMES = "eomm:json"
MANY = 1000  # HDF5 holds 64 KiB of a list, and any length of a text


def to_flat(attributes: Mapping[str, Any]) -> Json:
    """Attributes with what NetCDF cannot hold as JSON text; `to_deep` gives them back."""
    deep = sorted(k for k, v in attributes.items() if not _is_flat(v))
    flat = {k: json.dumps(v, allow_nan=False) if k in deep else v for k, v in attributes.items()}
    return {**flat, NAMES: deep} if deep else flat


def to_deep(attributes: Mapping[Any, Any]) -> Json:
    """Inverse of `to_flat`; attributes of stores before this form, which have dicts, stay as they are.

    Raises:
        DataError: what is named as JSON is none.
    """
    found = {str(k): v for k, v in attributes.items()}
    names = found.pop(NAMES, [])
    names = [names] if isinstance(names, str) else names if isinstance(names, list | tuple) else []
    for name in filter(lambda n: isinstance(n, str), names):  # NetCDF gives a list of one text as a text
        if isinstance(found.get(name), str):
            try:
                found[name] = json.loads(found[name])
            except (ValueError, RecursionError) as e:
                raise DataError(
                    f"attribute {name!r}: not the JSON that it should be ({e}); the store is damaged"
                ) from e
    return found


def attributes_of(data: Any) -> Json:
    """Attributes of an opened store (an xarray Dataset, a Zarr group), provenance and the like as dicts."""
    return to_deep(data.attrs)


def _is_flat(value: Any) -> bool:
    if isinstance(value, list | tuple):
        kinds = {type(v) for v in value}
        return 0 < len(value) <= MANY and (kinds == {str} or kinds <= {int, float}) and all(map(_is_flat, value))
    return type(value) in (str, int) or (type(value) is float and math.isfinite(value))


def open_attributes(path: Path, *, kind: str, newest: int | None = None) -> Json:
    """Root attributes of a finished eomm Zarr store, provenance and the like as dicts.

    Args:
        path: the store.
        kind: what it must be.
        newest: the latest version that the caller understands.

    Raises:
        DataError: it is none, another kind, unfinished, or of a later version.
    """
    recover(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected an eomm {kind}")
    if not (path / "zarr.json").is_file():
        raise DataError(f"{path}: {what_lies(path)}; expected an eomm {kind}")
    with damaged_zarr(path):
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    if attributes.get("eomm:kind") != kind:
        raise DataError(f"{path}: holds {attributes.get('eomm:kind', 'no eomm store')}, expected an eomm {kind}")
    if not attributes.get("eomm:complete"):
        raise DataError(f"{path}: was never finished; make it again (its writer was interrupted)")
    version = attributes.get("eomm:version", 1)
    if newest is not None and (not isinstance(version, int) or version > newest):
        raise DataError(f"{path}: an eomm {kind} of version {version!r}; this eomm reads up to {newest}, update it")
    try:
        deep = to_deep(attributes)
    except DataError as e:
        raise DataError(f"{path}: {e}") from e
    check(deep, CUBE if kind == "cube" else EMBEDDING, f"{path / 'zarr.json'}", remedy=AGAIN)
    return deep
