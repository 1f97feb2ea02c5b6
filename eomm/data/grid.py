"""Where pixels lie and when: a north-up grid of square pixels, and days since 1970-01-01. All geometry of grids."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, TypeVar

import numpy as np
import pyproj

from eomm.store.fields import Json

EPOCH = date(1970, 1, 1)
DEGREES = "EPSG:4326"
Number = TypeVar("Number", float, np.ndarray)


def within(day: np.ndarray, dates: tuple[date, date] | None) -> np.ndarray:
    """Positions of the days from the first date to the last, both included; of all when None."""
    if dates is None:
        return np.arange(len(day))
    low, high = ((d - EPOCH).days for d in dates)
    return np.flatnonzero((day >= low) & (day <= high))


def to_date(day: int) -> date:
    """Days since 1970-01-01 to a date."""
    return EPOCH + timedelta(days=int(day))


def transform(x: Any, y: Any, source: str, target: str) -> tuple[Any, Any]:
    """X and y in another CRS, numbers or arrays; infinite where that has no place for them."""
    x, y = pyproj.Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    return x, y


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A north-up raster grid.

    Attributes:
        crs: authority code such as "EPSG:32631", or "LOCAL" where the position is unknown.
        transform: (a, b, c, d, e, f) of x = a col + b row + c, y = d col + e row + f; metres; pixel corners.
        height: rows.
        width: columns.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    height: int
    width: int

    @property
    def x(self) -> np.ndarray:
        """Pixel-centre x, float64 [width]."""
        return self.transform[2] + self.transform[0] * (np.arange(self.width) + 0.5)

    @property
    def y(self) -> np.ndarray:
        """Pixel-centre y, float64 [height]."""
        return self.transform[5] + self.transform[4] * (np.arange(self.height) + 0.5)

    @property
    def text(self) -> str:
        """For messages."""
        return f"{self.crs}, {self.height} x {self.width} px, transform {self.transform}"

    @property
    def gsd_m(self) -> float:
        """Side of a pixel, metres."""
        return abs(self.transform[0])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north, in its CRS."""
        a, _, west, _, e, north = self.transform
        return west, north + e * self.height, west + a * self.width, north

    def overlaps(self, other: "Grid") -> bool:
        """Whether two grids of one CRS share ground."""
        (west, south, east, north), (left, bottom, right, top) = self.bounds, other.bounds
        return west < right and left < east and south < top and bottom < north

    def pixel(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Row and column of positions in its CRS: whole numbers are pixel corners, half ones centres."""
        a, _, west, _, e, north = self.transform
        return (y - north) / e, (x - west) / a

    def offset(self, other: "Grid") -> tuple[int, int] | None:
        """Rows and columns from the other's corner to its own; None unless both have the same pixels, to 1/1000."""
        row, col = other.pixel(self.transform[2], self.transform[5])
        same = self.transform[::4] == other.transform[::4] and max(abs(row - round(row)), abs(col - round(col))) <= 1e-3
        return (round(row), round(col)) if same else None

    def part(self, y: slice, x: slice) -> "Grid":
        """The grid of some of its rows and columns."""
        a, b, west, d, e, north = self.transform
        corner = (a * x.start + b * y.start + west, d * x.start + e * y.start + north)
        transform = (a, b, corner[0], d, e, corner[1])
        return replace(self, transform=transform, height=y.stop - y.start, width=x.stop - x.start)

    def to_degrees(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Longitude and latitude of positions in its CRS, numbers or arrays."""
        return transform(x, y, self.crs, DEGREES)

    def from_degrees(self, lon: Any, lat: Any) -> tuple[Any, Any]:
        """X and y in its CRS; infinite where the CRS has no place for them."""
        return transform(lon, lat, DEGREES, self.crs)

    def box(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, of all its edges; west > east across 180 degrees."""
        box = pyproj.Transformer.from_crs(self.crs, DEGREES, always_xy=True).transform_bounds(*self.bounds)
        return box[0], box[1], box[2], box[3]

    def outline(self) -> list[tuple[float, float]]:
        """Its corners in degrees, to 7 decimals: a closed ring, counter-clockwise from the lower left."""
        west, south, east, north = self.bounds
        ring = self.to_degrees([west, east, east, west, west], [south, south, north, north, south])
        return [(round(lon, 7), round(lat, 7)) for lon, lat in zip(*ring, strict=True)]

    def attributes(self) -> Json:
        """The `proj:` convention's attributes."""
        return {
            "proj:code": self.crs,
            "proj:transform": list(self.transform),
            "proj:shape": [self.height, self.width],
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Grid":
        """Inverse of `attributes`."""
        height, width = attributes["proj:shape"]
        a, b, c, d, e, f = attributes["proj:transform"]
        return cls(crs=attributes["proj:code"], transform=(a, b, c, d, e, f), height=height, width=width)

    def spatial_ref(self) -> Json:
        """Attributes of a CF grid-mapping variable, as rioxarray and GDAL read them."""
        a, b, c, d, e, f = self.transform
        geo = {"GeoTransform": f"{c} {a} {b} {f} {d} {e}"}
        if self.crs == "LOCAL":
            return geo
        return pyproj.CRS.from_user_input(self.crs).to_cf() | geo
