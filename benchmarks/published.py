"""The published release's way to training samples (arXiv 2511.11706), as described: windows of a cube in HDF5. No JAX.

From the description alone; no code of the authors is used.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

# 11 of 20 consecutive usable acquisitions, 15 x 15 px.
PLACES, CONSECUTIVE, SIDE = 11, 20, 15
STRIDE_ACQUISITIONS, STRIDE_PX, SPAN_DAYS = 17, 9, 200


def places(rng: np.random.Generator, count: int, height: int, width: int) -> Iterator[tuple[np.ndarray, slice, slice]]:
    """Acquisitions, rows and columns of every window of the published sampling."""
    for start in range(0, count - CONSECUTIVE + 1, STRIDE_ACQUISITIONS):
        for row in range(0, height - SIDE + 1, STRIDE_PX):
            for col in range(0, width - SIDE + 1, STRIDE_PX):
                index = start + np.sort(rng.choice(CONSECUTIVE, PLACES, replace=False))
                yield index, slice(row, row + SIDE), slice(col, col + SIDE)


def cut_samples(path: Path, cube: Path, *, seed: int = 0) -> int:
    """Sentinel-2 samples of a cube by a plain loop over xarray, each appended to HDF5; returns their number.

    The cube is in memory as reflectance before the loop begins, which favours it.
    """
    with xr.open_zarr(cube, group="s2", consolidated=False, chunks=None, decode_cf=False) as stored:
        ds = stored[["values", "valid", "day"]].isel(time=np.flatnonzero(stored["usable"].values)).load()
    ds["values"] = (ds["values"].astype(np.float32) * np.float32(1e-4)).clip(0, 1)
    sizes, kept = ds["valid"].sizes, 0
    with h5py.File(path, "w") as file:
        shape = (PLACES, ds["values"].sizes["band"], SIDE, SIDE)
        values, valid, day = (
            file.create_dataset(name, (0, *dims), dtype, maxshape=(None, *dims), chunks=(1, *dims))
            for name, dims, dtype in (
                ("values", shape, np.float32),
                ("valid", (PLACES, SIDE, SIDE), bool),
                ("day", (PLACES,), np.int32),
            )
        )
        rng = np.random.default_rng(seed)
        for index, rows, cols in places(rng, sizes["time"], sizes["y"], sizes["x"]):
            window = ds.isel(time=index, y=rows, x=cols)
            mask, days = window["valid"].values, window["day"].values
            if not mask[PLACES // 2, SIDE // 2, SIDE // 2] or days[-1] - days[0] >= SPAN_DAYS:
                continue
            seen = window["values"].where(window["valid"])
            filled = seen.fillna(seen.mean(("time", "y", "x"))).transpose("time", "band", "y", "x").values
            for dataset, array in ((values, filled), (valid, mask), (day, days)):
                dataset.resize(kept + 1, axis=0)
                dataset[kept] = array
            kept += 1
    return kept
