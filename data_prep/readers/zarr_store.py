"""Zarr stores of others (local): arrays [time, y, x], or with a dimension of bands. Not our cubes."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_prep.mappings.mapping import Mapping
from data_prep.readers.arrays import bands_apart, open_arrays
from data_prep.readers.crop import MARGIN_M
from data_prep.readers.scene import Scene
from data_prep.readers.stack import block_steps, scenes_of
from eomm.data.grid import Grid


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack, window: Grid | None = None) -> list[Scene]:
    """The scenes of one store, one per time step that has data.

    Raises DataError or ContractError as `open_scenes` says.
    """
    data = bands_apart(keep_open.enter_context(open_arrays(file)), file, mapping.layers.values())
    data = _centred(data, mapping)
    data = _cut(data, window)
    scenes = scenes_of(data, file, mapping)
    kept = _with_data(data, mapping)
    return [scene for scene, keep in zip(scenes, kept, strict=True) if keep]


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
