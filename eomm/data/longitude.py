"""Longitude is a circle: extents, centres and whether boxes touch, also across 180 degrees."""

from collections.abc import Iterable

import numpy as np


def wrapped(lon: float) -> float:
    """The same longitude from -180 up to and with 180; what lies there already is not changed."""
    return lon if -180 <= lon <= 180 else (lon + 180) % 360 - 180


def extent(lons: Iterable[float]) -> tuple[float, float]:
    """West end, and width to the east, of the shortest arc that holds all of `lons`; degrees.

    Positions on either side of 180 degrees, as of a polygon that is divided there (RFC 7946), are near each other.
    """
    given = np.array(list(lons), float)
    low, high = float(given.min()), float(given.max())
    if high - low <= 180:  # exact: no arc is shorter, and no digit is lost by turning
        return low, high - low
    around = np.unique(given % 360)
    gaps = np.diff(around, append=around[0] + 360)
    widest = int(gaps.argmax())
    west = float(around[(widest + 1) % len(around)])
    return wrapped(west), 360 - float(gaps[widest])


def width(west: float, east: float) -> float:
    """Degrees from west to east; with west > east (RFC 7946, section 5.2) across 180 degrees."""
    return east - west if west <= east else (east - west) % 360


def share(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two arcs, each (west, east), share more than an end; an arc with west > east crosses 180 degrees."""
    (a_west, a_wide), (b_west, b_wide) = ((w, width(w, e)) for w, e in (a, b))
    return (b_west - a_west) % 360 < a_wide or (a_west - b_west) % 360 < b_wide
