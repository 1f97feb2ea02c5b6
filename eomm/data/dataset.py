"""A cube's modality as an xarray Dataset in physical values, read when asked for. Training reads cube_group.py."""

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from eomm.data.cube_group import CubeGroup


class Physical(BackendArray):
    """Physical values [time, y, x, band], NaN where not valid, or that mask [time, y, x]."""

    def __init__(self, group: CubeGroup, *, mask: bool):
        self._group, self._mask = group, mask
        size = (len(group), group.grid.height, group.grid.width)
        self.shape = size if mask else (*size, len(group.modality.bands))
        self.dtype = np.dtype(bool if mask else np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        wanted = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        if not all(len(w) for w in wanted):
            return np.zeros(self.shape, self.dtype)[np.ix_(*wanted)]
        time, y, x, *bands = wanted
        values, valid = self._group.read(time, slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1))
        found = valid if self._mask else np.where(valid[..., None], self._group.modality.decode(values), np.nan)
        within = (np.arange(len(time)), y - y.min(), x - x.min(), *bands)
        whole = found[np.ix_(*within)]
        return whole[tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key)]


def dataset_of(group: CubeGroup) -> xr.Dataset:
    """`values` float32 [time, y, x, band] (NaN where not valid) and `valid` [time, y, x], lazily; `usable` [time].

    A static layer has no axis of time.

    Reading raises DataError where the cube is damaged, or was replaced meanwhile.
    """
    grid, modality = group.grid, group.modality
    dims = ("time", "y", "x", "band")
    name = f"{modality.name} {modality.level}".strip()
    about = {"units": modality.unit, "long_name": name, "grid_mapping": "spatial_ref"}
    lazy = {n: indexing.LazilyIndexedArray(Physical(group, mask=n == "valid")) for n in ("values", "valid")}
    found = xr.Dataset(
        {"values": (dims, lazy["values"], about), "valid": (dims[:3], lazy["valid"], {"grid_mapping": "spatial_ref"})},
        coords={
            "time": group.day.astype("datetime64[D]").astype("datetime64[ns]"),
            "y": grid.y,
            "x": grid.x,
            "band": list(modality.band_names),
            "usable": ("time", group.usable),
            "spatial_ref": ((), np.int32(0), grid.spatial_ref()),
        },
    )
    return found.isel(time=0, drop=True) if modality.static else found
