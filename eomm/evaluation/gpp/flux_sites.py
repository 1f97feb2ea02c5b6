"""Where towers stand and what grows there: BADM and SITEINFO files, site lists, a simulated site's description."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eomm.data.grid import DEGREES, Grid, transform
from eomm.data.tables import find_column, plain_name, read_frame
from eomm.errors import DataError, UsageError
from eomm.evaluation.gpp.flux_files import read_groups

COLUMNS = ("site", "lat", "lon", "kind")
"""Of a site list; each may have a synonym (`eomm.data.tables`)."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One tower.

    Attributes:
        site: its name.
        x: of its position in `crs`: metres east, or degrees of longitude.
        y: metres north, or degrees of latitude.
        crs: "EPSG:4326" for degrees.
        kind: plant functional type or IGBP class; "" where unknown.
        simulated: whether it stands in the simulator.
    """

    site: str
    x: float
    y: float
    crs: str = DEGREES
    kind: str = ""
    simulated: bool = False

    @property
    def degrees(self) -> tuple[float, float]:
        """Latitude and longitude; NaN where the CRS is local."""
        if self.crs == "LOCAL":
            return math.nan, math.nan
        lon, lat = transform(self.x, self.y, self.crs, DEGREES)
        return lat, lon

    def pixel(self, grid: Grid) -> tuple[int, int]:
        """Row and column of the tower's pixel. Raises DataError where it stands outside the grid."""
        x, y = self.x, self.y
        if self.crs != grid.crs:
            x, y = (math.nan,) * 2 if "LOCAL" in (self.crs, grid.crs) else transform(x, y, self.crs, grid.crs)
        row, col = (math.floor(v) if math.isfinite(v) else -1 for v in grid.pixel(x, y))
        if not (0 <= row < grid.height and 0 <= col < grid.width):
            raise DataError(
                f"tower {self.site} at {self.x:g}, {self.y:g} ({self.crs}) lies outside the grid {grid.text}; "
                "is this the site's cube, are latitude and longitude exchanged?"
            )
        return row, col


def read_towers(paths: Sequence[Path]) -> dict[str, Tower]:
    """Towers by name from files of any mixture of kinds.

    A file is a list (CSV with site, lat, lon and, if known, IGBP), a BADM or SITEINFO file of one tower
    (VARIABLE, DATAVALUE), or a simulated site's site.json.

    Raises:
        DataError: a file that is none of these, or without a position.
        UsageError: a tower described twice, differently.
    """
    found: dict[str, Tower] = {}
    for path in paths:
        for tower in _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path):
            if found.setdefault(tower.site, tower) != tower:
                raise UsageError(f"{path}: tower {tower.site} is described differently by another file; give one")
    return found


def _read_json(path: Path) -> list[Tower]:
    try:
        site = json.loads(path.read_text(encoding="utf-8"))
        kind = site["classes"][str(site["parameters"]["tower_cover"])]
        x, y, crs = site["tower"]["x"], site["tower"]["y"], site["crs"]
        return [Tower(site=site["site"], x=x, y=y, crs=crs, kind=kind, simulated=bool(site["simulated"]))]
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not a simulated site's description ({e!r} is missing or damaged)") from e


def _read_csv(path: Path) -> list[Tower]:
    table = read_frame(path, text=True)
    if {"variable", "datavalue", "site_id"} <= {plain_name(c) for c in table}:
        return [_from_groups(path, str(site)) for site in table[find_column(table, "site_id")].unique()]
    by = {key: find_column(table, key) for key in COLUMNS}
    if lost := [k for k in ("site", "lat", "lon") if by[k] is None]:
        raise DataError(
            f"{path}: no column for {', '.join(lost)} among {', '.join(table)}; expected a list with site, lat and "
            "lon, or a BADM file with SITE_ID, VARIABLE and DATAVALUE"
        )
    return [
        _tower(path, row[by["site"]], row[by["lat"]], row[by["lon"]], row[by["kind"]] if by["kind"] else "")
        for _, row in table.iterrows()
    ]


def _from_groups(path: Path, site: str) -> Tower:
    facts: dict[str, str] = {}
    for group in read_groups(path):
        for name, value in group.items():
            facts.setdefault(name, value)
    return _tower(path, site, facts.get("LOCATION_LAT", ""), facts.get("LOCATION_LONG", ""), facts.get("IGBP", ""))


def _tower(path: Path, site: str, lat: str, lon: str, kind: str) -> Tower:
    try:
        y, x = float(lat), float(lon)
    except ValueError:
        y = x = math.nan
    if not (-90 <= y <= 90 and -180 <= x <= 180):
        raise DataError(f"{path}: {site} has latitude {lat!r}, longitude {lon!r}; expected degrees")
    return Tower(site=site, x=x, y=y, kind=kind.strip())
