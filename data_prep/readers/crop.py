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
    west, south, east, north = window.bounds
    (top, left), (bottom, right) = (
        grid.pixel(west - MARGIN_M, north + MARGIN_M),
        grid.pixel(east + MARGIN_M, south - MARGIN_M),
    )
    y = slice(max(math.floor(top), 0), min(math.ceil(bottom), grid.height))
    x = slice(max(math.floor(left), 0), min(math.ceil(right), grid.width))
    return Crop(y.start, x.start, grid.part(y, x)) if y.start < y.stop and x.start < x.stop else whole
