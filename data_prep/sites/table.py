"""Lists of sites: read from CSV or GeoJSON and checked, and samples of them. Not what is made of a site."""

import csv
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyproj

from data_prep.records.split import SPLITS
from eomm.data import longitude
from eomm.data.tables import find_column, plain_name
from eomm.errors import DataError, UsageError

WGS84 = pyproj.Geod(ellps="WGS84")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OWN = ("name", "lon", "lat", "size_m", "split")
"""Columns with a meaning of ours; each may have a synonym (`eomm.data.tables`)."""
GEOMETRIES = ("Point", "Polygon", "MultiPolygon")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that becomes a cube.

    Attributes:
        name: of letters, digits, ".", "_" and "-", since it names files.
        lon: of the centre, degrees east, WGS 84.
        lat: degrees north.
        size_m: side of the square to fetch, or None.
        split: of its records, one of `data_prep.records.split.SPLITS`, or None.
        columns: everything else that the list says, as text.
    """

    name: str
    lon: float
    lat: float
    size_m: float | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def value(self, column: str) -> str:
        """What a column of the list says. Raises UsageError where it says nothing."""
        found = str(self.split or "") if column == "split" else self.columns.get(column, "")
        if not found:
            there = ", ".join(self.columns) or "none"
            raise UsageError(f"site {self.name}: has no {column!r}; its further columns are {there}")
        return found


def read_sites(path: Path | str) -> list[Site]:
    """Sites from a CSV file (columns name, lon, lat or synonyms; perhaps size_m, split) or a GeoJSON FeatureCollection.

    The properties of a GeoJSON feature are its columns. A polygon is the square around it: its centre and longer side.

    Raises:
        DataError: not such a file, or a site that cannot be: the line or feature is named.
    """
    path = Path(path)
    rows = _features(path) if path.suffix.lower() in (".geojson", ".json") else _lines(path)
    sites: dict[str, Site] = {}  # by what a file system may take for the same name
    for where, row in rows:
        site = _site(row, where)
        same = sites.setdefault(site.name.casefold(), site)
        if same is not site:
            raise DataError(f"{where}: name {site.name!r} is there already, as {same.name!r}; give each site its own")
    if not sites:
        raise DataError(f"{path}: holds no site; expected a line or feature for each")
    return list(sites.values())


def sample_sites(sites: Sequence[Site], count: int, *, by: str | None = None, seed: int = 0) -> list[Site]:
    """`count` sites, as many of each value of the column `by` as there are; all of those with fewer, more of others.

    A site's place in the draw depends on the seed and its name alone: a larger sample holds the smaller one, whatever
    the order of the list, and a longer list displaces few.

    Raises:
        UsageError: more than there are, or a site has no value.
    """
    if not 0 < count <= len(sites):
        raise UsageError(f"sample: {count} of {len(sites)} sites; choose a number from 1 to {len(sites)}")

    def drawn(text: str) -> bytes:
        return hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).digest()

    strata: dict[str, list[Site]] = {}
    for site in sorted(sites, key=lambda s: drawn(s.name)):
        strata.setdefault(site.value(by) if by else "", []).append(site)
    rounds = itertools.zip_longest(*(strata[name] for name in sorted(strata, key=drawn)))
    chosen = [site for together in rounds for site in together if site is not None][:count]
    return sorted(chosen, key=lambda s: s.name)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, skipinitialspace=True)
            reader.fieldnames = _named(path, reader.fieldnames or ())
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{where}: expected {len(reader.fieldnames or ())} values, as in line 1")
                yield where, {k: v.strip() for k, v in row.items()}
    except FileNotFoundError as e:
        raise DataError(f"{path}: does not exist; expected a list of sites (CSV or GeoJSON)") from e
    except (csv.Error, UnicodeDecodeError) as e:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({e})") from e


def _named(path: Path, head: Sequence[str]) -> list[str]:
    """The names in a list's first line, those that we read by our own name. Raises DataError where one is missing."""
    names = [name.strip() for name in head]
    ours = {own: find_column(names, own) for own in OWN}
    if missing := [own for own in ("name", "lon", "lat") if ours[own] is None]:
        raise DataError(
            f"{path}: line 1: no column {', '.join(missing)}; found {', '.join(names)}, expected name, lon, lat (or "
            "such as site, longitude, latitude) and what else you like, separated by commas"
        )
    if twice := {plain_name(n) for n in names if names.count(n) > 1}:
        raise DataError(f"{path}: line 1: column {', '.join(sorted(twice))} is there twice; give each its own name")
    given = {theirs: own for own, theirs in ours.items() if theirs is not None}
    return [given.get(name, name) for name in names]


def _features(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as e:
        raise DataError(f"{path}: does not exist; expected a list of sites (CSV or GeoJSON)") from e
    except ValueError as e:
        raise DataError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(content, dict) or not isinstance(content.get("features"), list):
        raise DataError(f"{path}: not a GeoJSON FeatureCollection; expected a feature for each site")
    crs = str((content.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    if not crs.endswith(("CRS84", "4326")):
        raise DataError(f"{path}: its coordinates are in {crs}; expected longitude and latitude (WGS 84)")
    for number, feature in enumerate(content["features"], 1):
        where = f"{path}: feature {number}"
        feature = feature if isinstance(feature, dict) else {}
        row = _properties(feature.get("properties") or {})
        square = {k: str(v) for k, v in _square(feature.get("geometry") or {}, where).items()}
        yield where, square | row | {k: square[k] for k in ("lon", "lat")} | ({} if row.get("size_m") else square)


def _properties(found: Mapping[str, Any]) -> dict[str, str]:
    """A feature's properties as text, those that we read by our own name."""
    row = {str(k).strip(): "" if v is None else str(v).strip() for k, v in found.items()}
    ours = {theirs: own for own in OWN if own not in row and (theirs := find_column(row, own))}
    return {ours.get(k, k): v for k, v in row.items()}


def _square(geometry: Mapping[str, Any], where: str) -> dict[str, float]:
    """Lon and lat of a geometry's centre; of a polygon also size_m."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in GEOMETRIES:
        raise DataError(f"{where}: its geometry is {kind}, expected one of {', '.join(GEOMETRIES)}")
    try:
        lon, lat = ([float(p[i]) for p in _positions(kind, coordinates)] for i in (0, 1))
        (west, wide), (south, north) = longitude.extent(lon), (min(lat), max(lat))
    except (TypeError, ValueError, IndexError) as e:
        raise DataError(f"{where}: its coordinates are not those of a {kind} ({e})") from e
    for x, y in zip(lon, lat, strict=True):
        # A polygon across 180 degrees may go on to 190; a point has no reason to.
        _check_place(longitude.wrapped(x) if kind != "Point" and -360 <= x <= 360 else x, y, where=where)
    centre = {"lon": longitude.wrapped(west + wide / 2), "lat": (south + north) / 2}
    if kind == "Point":
        return centre
    width = WGS84.inv(west, centre["lat"], west + wide, centre["lat"])[2]
    height = WGS84.inv(centre["lon"], south, centre["lon"], north)[2]
    return {**centre, "size_m": round(max(width, height), 1)}


def _positions(kind: Any, coordinates: Any) -> list[Any]:
    """Those of a geometry's outer rings."""
    if kind == "Point":
        return [coordinates]
    return [p for polygon in (coordinates if kind == "MultiPolygon" else [coordinates]) for p in polygon[0]]


def _site(row: Mapping[str, str], where: str) -> Site:
    name = row.get("name", "")
    if not NAME.fullmatch(name):
        raise DataError(f"{where}: name is {name!r}; expected letters, digits, '.', '_' and '-', no sign first")
    lon, lat = (_number(row, column, where) for column in ("lon", "lat"))
    _check_place(lon, lat, where=where)
    size_m = _number(row, "size_m", where) if row.get("size_m") else None
    if size_m is not None and size_m <= 0:
        raise DataError(f"{where}: size_m is {size_m:g}, expected metres above 0")
    split = row.get("split") or None
    if split not in (None, *SPLITS):
        raise DataError(f"{where}: split is {split!r}, expected one of {', '.join(SPLITS)}, or nothing")
    columns = {k: v for k, v in row.items() if k not in ("name", "lon", "lat", "size_m", "split")}
    return Site(name=name, lon=lon, lat=lat, size_m=size_m, split=split, columns=columns)


def _number(row: Mapping[str, str], column: str, where: str) -> float:
    try:
        number = float(row[column])
    except (KeyError, ValueError) as e:
        raise DataError(f"{where}: {column} is {row.get(column, '')!r}, expected a number") from e
    if not math.isfinite(number):
        raise DataError(f"{where}: {column} is {number}, expected a number")
    return number


def _check_place(lon: float, lat: float, *, where: str) -> None:
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise DataError(
            f"{where}: lies at longitude {lon:g}, latitude {lat:g}; expected degrees (WGS 84), longitude first"
        )
