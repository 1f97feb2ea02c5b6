"""Zarr stores of others (versions 2 and 3, local): arrays [time, y, x], or with a dimension of bands. Not our cubes.

What is in them is numbers and strings: stores that would make Python unpickle objects are refused before they are
opened.
"""

import json
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_prep.mappings.mapping import Mapping
from data_prep.readers.crop import MARGIN_M
from data_prep.readers.files import files_below
from data_prep.readers.scene import Scene
from data_prep.readers.stack import bands_apart, block_steps, scenes_of
from eomm.data.grid import Grid
from eomm.errors import DataError
from eomm.store.fields import Json, check


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack, window: Grid | None = None) -> list[Scene]:
    """The scenes of one store, one per time step that has data.

    Raises DataError or ContractError as `open_scenes` says.
    """
    _check_plain(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of stores without consolidated metadata, and of version 3's strings
            data = keep_open.enter_context(xr.open_zarr(file, chunks=None, mask_and_scale=False, decode_times=False))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(f"{file}: not a readable Zarr store ({e}); it is unfinished or of another kind") from e
    data = bands_apart(data, file, mapping)
    data = _centred(data, mapping)
    data = _cut(data, window)
    scenes = scenes_of(data, file, mapping)
    kept = _with_data(data, mapping)
    return [scene for scene, keep in zip(scenes, kept, strict=True) if keep]


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


def _centred(data: xr.Dataset, mapping: Mapping) -> xr.Dataset:
    """Coordinates of pixel centres, float64, where the store has those of upper-left corners."""
    if not mapping.corners or not {"x", "y"} <= set(data.coords) or data["x"].attrs.get("coord_save_mode") == "center":
        return data
    shifted: dict[str, Any] = {}
    for axis in ("x", "y"):
        values = data[axis].values.astype(np.float64)
        if len(values) > 1:
            shifted[axis] = values + (values[1] - values[0]) / 2
    return data.assign_coords(shifted)


def _cut(data: xr.Dataset, window: Grid | None) -> xr.Dataset:
    """What lies near the window, unread; all of it without one."""
    if window is None or not {"x", "y"} <= set(data.coords):
        return data
    kept = {}
    for axis, centres in (("x", window.x), ("y", window.y)):
        near = (data[axis].values >= centres.min() - MARGIN_M) & (data[axis].values <= centres.max() + MARGIN_M)
        if near.any():
            kept[axis] = slice(int(near.argmax()), len(near) - int(near[::-1].argmax()))
    return data.isel(kept) if len(kept) == 2 else data


def _with_data(data: xr.Dataset, mapping: Mapping) -> list[bool]:
    """Time steps in which the first band has a number: sentle's have those of one sensor, and none of the others."""
    name = next(v for v in mapping.bands.values() if v in data)
    array, steps = data[name], block_steps(data, name, mapping)
    starts = range(0, array.sizes[mapping.time], steps)
    blocks = (array.isel({mapping.time: slice(i, i + steps)}).load().transpose(mapping.time, ...) for i in starts)
    seen = [(np.isfinite(b.values) & ~np.isin(b.values, mapping.fill)).any(axis=(1, 2)) for b in blocks]
    return [bool(s) for s in np.concatenate(seen)]
