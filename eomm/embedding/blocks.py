"""How an embedding store is gone through: block by block of pixels, few dates at a time, so that no more is held."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from eomm.data.grid import Grid

TOGETHER = 8  # frames; the inner chunks of a store hold so many dates, each decoded whole
TILE = 256  # px on a side of the blocks that exports go through


def days_of(ds: xr.Dataset) -> np.ndarray:
    """Days since 1970-01-01 of every date."""
    return ds["time"].values.astype("datetime64[D]").astype(np.int64)


def blocks(grid: Grid) -> list[tuple[slice, slice]]:
    """(rows, columns) of the blocks that cover a grid."""
    rows, cols = ([slice(i, min(i + TILE, size)) for i in range(0, size, TILE)] for size in (grid.height, grid.width))
    return [(y, x) for y in rows for x in cols]


def touched(grid: Grid, rows: tuple[int, int], cols: tuple[int, int]) -> Iterator[int]:
    """Places in `blocks` of those with a pixel of some rows and columns, first and last, both included."""
    across = -(-grid.width // TILE)
    for i in range(max(rows[0], 0) // TILE, min(rows[1], grid.height - 1) // TILE + 1):
        for j in range(max(cols[0], 0) // TILE, min(cols[1], grid.width - 1) // TILE + 1):
            yield i * across + j
