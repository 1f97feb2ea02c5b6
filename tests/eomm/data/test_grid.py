"""Geometry of grids against rasterio's and pyproj's own, and against what is computed by hand."""

import math

import numpy as np
import pytest
import rasterio
from rasterio.transform import array_bounds, rowcol
from rasterio.warp import transform_bounds

from eomm.data.grid import Grid

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 500_010.0, 0.0, -10.0, 5_600_040.0), height=30, width=50)
AFFINE = rasterio.Affine(*GRID.transform)


def test_bounds_and_box_are_rasterios() -> None:
    """Edges in the grid's CRS, and in degrees."""
    assert GRID.bounds == array_bounds(30, 50, AFFINE)
    assert GRID.box() == pytest.approx(transform_bounds(GRID.crs, "EPSG:4326", *GRID.bounds), abs=1e-9)


def test_pixel_of_a_position_is_rasterios() -> None:
    """Fractional row and column, of numbers and of arrays; centres are halves."""
    x, y = GRID.x[7], GRID.y[3]
    assert GRID.pixel(x, y) == (3.5, 7.5)
    assert tuple(map(math.floor, GRID.pixel(500_133.0, 5_599_871.0))) == rowcol(AFFINE, 500_133.0, 5_599_871.0)
    rows, cols = GRID.pixel(GRID.x, np.full(50, y))
    np.testing.assert_array_equal(cols, np.arange(50) + 0.5)
    np.testing.assert_array_equal(rows, 3.5)


def test_a_part_lies_where_its_pixels_do() -> None:
    """Centres of a part are those of the whole; its offset is where it was cut."""
    part = GRID.part(slice(4, 20), slice(10, 45))
    np.testing.assert_array_equal(part.x, GRID.x[10:45])
    np.testing.assert_array_equal(part.y, GRID.y[4:20])
    assert part.offset(GRID) == (4, 10) and GRID.offset(part) == (-4, -10)
    assert part.overlaps(GRID) and not part.overlaps(GRID.part(slice(20, 30), slice(0, 50)))


def test_grids_of_other_pixels_have_no_offset() -> None:
    """Half a pixel apart, or of another size."""
    half = Grid(crs=GRID.crs, transform=(10.0, 0.0, 500_015.0, 0.0, -10.0, 5_600_040.0), height=30, width=50)
    double = Grid(crs=GRID.crs, transform=(20.0, 0.0, 500_010.0, 0.0, -20.0, 5_600_040.0), height=15, width=25)
    assert GRID.offset(half) is None and GRID.offset(double) is None


def test_degrees_there_and_back() -> None:
    """A round trip to a millimetre; the outline is a closed ring of the corners."""
    lon, lat = GRID.to_degrees(*np.meshgrid(GRID.x, GRID.y))
    x, y = GRID.from_degrees(lon, lat)
    np.testing.assert_allclose(x, np.broadcast_to(GRID.x, (30, 50)), rtol=0, atol=1e-3)
    np.testing.assert_allclose(y[:, 0], GRID.y, rtol=0, atol=1e-3)
    ring = GRID.outline()
    west, south, _, _ = GRID.bounds
    assert len(ring) == 5 and ring[0] == ring[-1] == pytest.approx(GRID.to_degrees(west, south), abs=1e-7)
