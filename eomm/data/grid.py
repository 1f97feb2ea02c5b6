"""Where pixels lie and when: a north-up grid of square pixels, and days since 1970-01-01."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyproj

EPOCH = date(1970, 1, 1)


def to_date(day: int) -> date:
    """Days since 1970-01-01 to a date."""
    return EPOCH + timedelta(days=int(day))


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

    def attributes(self) -> dict[str, Any]:
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

    def spatial_ref(self) -> dict[str, Any]:
        """Attributes of a CF grid-mapping variable, as rioxarray and GDAL read them."""
        a, b, c, d, e, f = self.transform
        geo = {"GeoTransform": f"{c} {a} {b} {f} {d} {e}"}
        if self.crs == "LOCAL":
            return geo
        return pyproj.CRS.from_user_input(self.crs).to_cf() | geo
