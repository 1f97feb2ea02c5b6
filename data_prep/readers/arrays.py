"""NetCDF files and Zarr stores (versions 2 and 3) of others as open data sets. Not what their arrays mean (stack).

Raw: decoding is ours, since declared fills mislead. What is in them is numbers and strings: what leads to other files,
or would make Python unpickle objects, is refused before it is opened.
"""

import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import xarray as xr

from data_prep.readers.files import files_below
from eomm.data.raster import check_self_contained
from eomm.errors import ContractError, DataError
from eomm.store.fields import Json, check

LABELLED = re.compile(r"(\w+)\[(\w+)\]")
"""How a mapping names a band of an array with a dimension of bands: s2l2a[B02]."""
BAND = "band"
"""That dimension, and the coordinate that has the bands' names."""
PART = "eomm:part"
"""The attribute that keeps the band's place among them, in what is open; never in a file."""


def open_arrays(file: Path) -> xr.Dataset:
    """A NetCDF file, or a folder that is a Zarr store; nothing of it is decoded. Close it after use.

    Raises:
        DataError: it is none, damaged, or not to be trusted.
    """
    if file.is_dir():
        _check_plain(file)
    else:
        check_self_contained(file)
    engine, kind = ("zarr", "Zarr store") if file.is_dir() else ("h5netcdf", "NetCDF4 file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of stores without consolidated metadata, and of version 3's strings
            return xr.open_dataset(file, engine=engine, mask_and_scale=False, decode_times=False)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{file}: not a readable {kind} ({e}); it is empty, truncated, unfinished or of another kind"
        ) from e


def bands_apart(data: xr.Dataset, file: Path, names: Iterable[str]) -> xr.Dataset:
    """Each band that is named by a label as a variable of its own, still unread. Raises ContractError."""
    for name in names:
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
            part = labels.index(label)
            data[name] = array.isel({BAND: part}).drop_vars(BAND).assign_attrs({PART: part})
    return data


def _check_plain(file: Path) -> None:
    """Refuse object arrays, of which only strings by their own codec are plain, and pickle in any place."""
    found = [p for p in files_below(file) if p.name in (".zarray", ".zmetadata", "zarr.json")]  # links are followed too
    if not found:
        raise DataError(f"{file}: holds neither .zarray nor zarr.json; expected a Zarr store, version 2 or 3")
    for path in found:
        try:
            text = path.read_text(encoding="utf-8")
            metadata = check(json.loads(text), dict, str(path), remedy="the store is damaged")
        except (OSError, ValueError) as e:
            raise DataError(f"{path}: not readable ({e}); the store is damaged") from e
        arrays = metadata.get("metadata") if path.name == ".zmetadata" else {"": metadata}
        if "pickle" in text.lower() or any(map(_of_objects, (arrays or {}).values())):
            raise DataError(
                f"{path}: holds Python objects (object dtype or pickle), which may run code when read: refused. "
                "Expected numbers and strings; write the store again without them"
            )


def _of_objects(array: Json) -> bool:
    codecs = {c.get("id") for c in array.get("filters") or [] if isinstance(c, dict)}
    return str(array.get("dtype", "")) == "|O" and not codecs & {"vlen-utf8", "vlen-bytes"}
