"""Which part of a large scene a site needs. Pixels are not read here."""

import math
from dataclasses import dataclass

from rasterio.windows import Window

from eomm.data.grid import Grid

MARGIN_M = 80
"""Kept around the site: four pixels of 20 m, more than any resampling reaches."""


@dataclass(frozen=True)
class Crop:
    """A part of a raster.

    Attributes:
        row: first row.
        col: first column.
        grid: where the part lies.
    """

    row: int
    col: int
    grid: Grid

    @property
    def window(self) -> Window:
        """The same for rasterio."""
        return Window(self.col, self.row, self.grid.width, self.grid.height)


def crop_to(grid: Grid, window: Grid | None) -> Crop:
    """The pixels of `grid` that touch `window`, and a margin; all of them without a window or where none does."""
    whole = Crop(0, 0, grid)
    if window is None or window.crs != grid.crs:
        return whole
    a, b, c, d, e, f = grid.transform
    px, _, west, _, py, north = window.transform
    east, south = west + px * window.width, north + py * window.height
    left, right = math.floor((west - MARGIN_M - c) / a), math.ceil((east + MARGIN_M - c) / a)
    top, bottom = math.floor((north + MARGIN_M - f) / e), math.ceil((south - MARGIN_M - f) / e)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, grid.width), min(bottom, grid.height)
    if left >= right or top >= bottom:
        return whole
    part = Grid(
        crs=grid.crs, transform=(a, b, c + a * left, d, e, f + e * top), height=bottom - top, width=right - left
    )
    return Crop(top, left, part)
