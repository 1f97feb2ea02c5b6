"""Where a site lies: the grid around a position or in a box. Not how values come onto it (grid)."""

import math
import re

import pyproj

from eomm.data import longitude
from eomm.data.grid import Grid
from eomm.errors import UsageError

ALIGN_M = 20
"""Corners are multiples of this: every Sentinel-2 tile begins on one, so that 10 m and 20 m bands are copied."""

MOVED_ZONES = (
    (56, 64, 3, 12, 32),
    (72, 84, 0, 9, 31),
    (72, 84, 9, 21, 33),
    (72, 84, 21, 33, 35),
    (72, 84, 33, 42, 37),
)
"""South, north, west, east of Norway's coast and Svalbard, and the UTM zone that Sentinel-2's tiles have there."""

Bbox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def site_grid(
    *,
    at: tuple[float, float] | None = None,
    size_m: float = 1280,
    bbox: Bbox | None = None,
    crs: str | None = None,
) -> Grid:
    """A site's 10 m grid, aligned to Sentinel-2's.

    Args:
        at: longitude and latitude of the centre; or else `bbox`.
        size_m: side of the square around `at`, rounded up to whole 20 m pixels.
        bbox: west, south, east, north in degrees; the grid covers it. With west > east it lies across 180 degrees.
        crs: such as "EPSG:32631"; the UTM zone of the centre where None.

    Raises:
        UsageError: neither or both of `at` and `bbox`, degrees out of range, or a CRS that is not UTM.
    """
    if (at is None) == (bbox is None):
        raise UsageError("a site needs either its centre (--at LON,LAT) or a box (--bbox W S E N)")
    west, south, east, north = bbox or (*at, *at)  # type: ignore[misc]
    wide = longitude.width(west, east)
    if not (-180 <= min(west, east) <= max(west, east) <= 180 and wide <= 180 and -80 <= south <= north <= 84):
        raise UsageError(
            f"longitudes {west} to {east} and latitudes {south} to {north}: expected west to east within -180 and 180 "
            "(west > east only across 180 degrees), south <= north within -80 and 84, longitude first"
        )
    lon, lat = longitude.wrapped(west + wide / 2), (south + north) / 2
    crs = crs or utm_crs(lon, lat)
    if not re.fullmatch("EPSG:32[67][0-6][0-9]", crs):
        raise UsageError(f"CRS {crs}: expected a UTM zone, EPSG:326xx or EPSG:327xx")
    left, bottom, right, top = _square(at, size_m, crs) if at else _around((west, south, east, north), crs)
    height, width = (top - bottom) // 10, (right - left) // 10
    if not 2 <= min(height, width) <= max(height, width) <= 10_980:
        raise UsageError(f"the site has {height} x {width} pixels of 10 m; expected 2 to 10,980 (one tile) a side")
    return Grid(crs=crs, transform=(10.0, 0.0, float(left), 0.0, -10.0, float(top)), height=height, width=width)


def _square(at: tuple[float, float], size_m: float, crs: str) -> tuple[int, int, int, int]:
    """West, south, east, north of the square around a position."""
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*at)
    side = math.ceil(size_m / ALIGN_M) * ALIGN_M
    left, top = round((x - side / 2) / ALIGN_M) * ALIGN_M, round((y + side / 2) / ALIGN_M) * ALIGN_M
    return left, top - side, left + side, top


def _around(bbox: Bbox, crs: str) -> tuple[int, ...]:
    """The same of the least grid that covers a box in degrees."""
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    west, south, east, north = (v / ALIGN_M for v in to_metres.transform_bounds(*bbox))
    edges = math.floor(west), math.floor(south), math.ceil(east), math.ceil(north)
    return tuple(edge * ALIGN_M for edge in edges)


def utm_crs(lon: float, lat: float) -> str:
    """The UTM zone in which Sentinel-2's tiles lie at a position, with the military grid's exceptions."""
    zone = min(int((lon + 180) // 6) + 1, 60)
    for south, north, west, east, moved in MOVED_ZONES:
        if south <= lat < north and west <= lon < east:
            zone = moved
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
