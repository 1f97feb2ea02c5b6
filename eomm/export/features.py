"""Points and polygons from a user's file, checked before anything is done with them: the file is not to be trusted.

GeoJSON (RFC 7946: longitude, latitude) or, for points, CSV with the columns lon, lat and perhaps id, or their
obvious synonyms. Not where they lie on a grid.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eomm.data.tables import find_column
from eomm.errors import DataError, UsageError
from eomm.store.fields import Json

MAX_BYTES = 256 * 2**20
MAX_FEATURES = 100_000  # their sums over eight dates take 0.4 GB at 64 numbers each
MAX_VERTICES = 10_000_000
KINDS = {"points": ("Point",), "polygons": ("Polygon", "MultiPolygon")}
KINDS["features"] = KINDS["points"] + KINDS["polygons"]
LONLAT_NAMES = ("CRS84", "EPSG::4326", "EPSG:4326")  # endings of the `crs` that older files have


@dataclass(frozen=True)
class Feature:
    """A point or polygon.

    Attributes:
        id: distinct in its file.
        geometry: shapely's, in degrees: longitude, latitude.
        properties: what else the file says of it, unchecked; of CSV the columns, as text.
    """

    id: str
    geometry: Any
    properties: Mapping[str, Any] = field(default_factory=dict)


def read_features(path: Path | str, kind: str) -> list[Feature]:
    """Features of a GeoJSON or CSV file.

    A feature's id is its `id`, else its property (or column) `id`, else its number in the file from 0.

    Args:
        path: ends in .csv, or is GeoJSON: a FeatureCollection, a Feature or a bare geometry.
        kind: "points", "polygons", or "features" for both.

    Raises:
        DataError: missing, too large, damaged, or a feature is not what `kind` says; names the file and the feature.
        UsageError: eomm[geo] is not installed.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size / 2**20:,.0f} MiB; at most {MAX_BYTES >> 20} are read; split the file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read ({e}); expected GeoJSON{' or CSV' * (kind != 'polygons')}") from e
    if path.suffix.lower() == ".csv":
        if kind == "polygons":
            raise DataError(f"{path}: polygons are read from GeoJSON, not from CSV")
        found = list(from_csv(path, text))
    else:
        found = list(from_geojson(path, text, kind))
    if not found:
        raise DataError(f"{path}: no feature; expected {kind}")
    seen: set[str] = set()
    for feature in found:
        if feature.id in seen:
            raise DataError(f"{path}: two features have the id {feature.id!r}; ids must be distinct")
        seen.add(feature.id)
    return found


def from_csv(path: Path, text: str) -> Iterator[Feature]:
    """Points of a CSV with lon, lat and perhaps id."""
    point = shapely().Point
    rows = csv.reader(text.splitlines(), strict=True, skipinitialspace=True)
    try:
        head = [name.strip() for name in next(rows, [])]
        columns = {own: find_column(head, own) for own in ("lon", "lat", "id")}
        if columns["lon"] is None or columns["lat"] is None:
            raise DataError(
                f"{path}: its first line names {', '.join(head) or 'nothing'}; expected lon, lat (or longitude, "
                "latitude) and perhaps id, separated by commas"
            )
        for number, row in enumerate(rows):
            what = f"{path}: line {rows.line_num}"
            check_count(path, number)
            if not row:
                continue
            if len(row) != len(head):
                raise DataError(f"{what}: {len(row)} values; the first line names {len(head)} columns")
            own = dict(zip(head, (v.strip() for v in row), strict=True))
            lon, lat = own[columns["lon"]], own[columns["lat"]]
            try:
                position = [float(lon), float(lat)]
            except ValueError as e:
                raise DataError(f"{what}: lon {lon[:30]!r}, lat {lat[:30]!r}; expected degrees as numbers") from e
            check_position(position, what)
            name = own[columns["id"]] if columns["id"] is not None else str(number)
            yield Feature(name, point(position), own)
    except csv.Error as e:
        raise DataError(f"{path}: line {rows.line_num}: not CSV ({e})") from e


def from_geojson(path: Path, text: str, kind: str) -> Iterator[Feature]:
    """Features of a GeoJSON text."""
    try:
        content = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: not valid JSON ({str(e)[:200]}); expected GeoJSON") from e
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; expected a GeoJSON object")
    check_crs(path, content)
    if content.get("type") == "FeatureCollection":
        features = content.get("features")
    else:
        features = [content if content.get("type") == "Feature" else {"geometry": content}]
    if not isinstance(features, list):
        raise DataError(f"{path}: its features are a {type(features).__name__}; expected a list")
    vertices = 0
    for number, feature in enumerate(features):
        check_count(path, number)
        name = id_of(feature, number)
        what = f"{path}: feature {number} (id {name[:40]!r})"
        made = geometry_of(feature, kind, what)
        vertices += shapely().get_num_coordinates(made)
        if vertices > MAX_VERTICES:
            raise DataError(f"{what}: more than {MAX_VERTICES:,} vertices up to here; simplify or split the file")
        properties = feature.get("properties")
        yield Feature(name, made, properties if isinstance(properties, dict) else {})


def geometry_of(feature: Any, kind: str, what: str) -> Any:
    """The shapely geometry of a feature, which must be one of KINDS[kind]."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    found = geometry.get("type") if isinstance(geometry, dict) else geometry
    if not isinstance(geometry, dict) or found not in KINDS[kind]:
        raise DataError(f"{what}: its geometry is {str(found)[:40]!r}; expected {' or '.join(KINDS[kind])}")
    return point_of(geometry, what) if found == "Point" else polygon_of(geometry, what)


def point_of(geometry: Json, what: str) -> Any:
    """A shapely point."""
    position = geometry.get("coordinates")
    check_position(position, what)
    return shapely().Point(position[:2])  # type: ignore[index]


def polygon_of(geometry: Json, what: str) -> Any:
    """A shapely polygon or multipolygon, of rings that are closed and do not cross."""
    parts = geometry.get("coordinates")
    parts = [parts] if geometry["type"] == "Polygon" else parts
    if not isinstance(parts, list) or not parts:
        raise DataError(f"{what}: has no coordinates")
    polygons = []
    for rings in parts:
        if not isinstance(rings, list) or not rings:
            raise DataError(f"{what}: a polygon has no ring")
        for ring in rings:
            check_ring(ring, what)
        shell, *holes = ([p[:2] for p in ring] for ring in rings)
        polygons.append(shapely().Polygon(shell, holes))
    made = polygons[0] if geometry["type"] == "Polygon" else shapely().MultiPolygon(polygons)
    if not shapely().is_valid(made):
        raise DataError(f"{what}: {shapely().is_valid_reason(made)}; mend the polygon")
    return made


def check_ring(ring: Any, what: str) -> None:
    """Raise DataError unless this is a list of positions that is closed."""
    if not isinstance(ring, list) or len(ring) < 4:
        raise DataError(f"{what}: a ring is not a list of at least four positions")
    for position in ring:
        check_position(position, what)
    if ring[0] != ring[-1]:
        raise DataError(f"{what}: a ring ends at {ring[-1]} and begins at {ring[0]}; rings are closed")


def exchanged(geometry: Any) -> Any:
    """A geometry with longitude and latitude exchanged, as a file has them that was written latitude first."""
    return shapely().transform(geometry, lambda xy: xy[:, ::-1])


def check_position(position: Any, what: str) -> None:
    """Raise DataError unless this is [longitude, latitude] and perhaps a height, in degrees."""
    numbers = isinstance(position, list) and 2 <= len(position) <= 4
    if not numbers or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in position[:2]):
        raise DataError(f"{what}: {str(position)[:60]} is not a position; expected [longitude, latitude]")
    lon, lat = position[:2]
    if not (abs(lon) <= 180 and abs(lat) <= 90 and math.isfinite(lon + lat)):
        raise DataError(
            f"{what}: longitude {lon!r:.30}, latitude {lat!r:.30} is not on Earth; expected degrees (are these metres?)"
        )


def check_count(path: Path, number: int) -> None:
    """Raise DataError where there are too many features."""
    if number >= MAX_FEATURES:
        raise DataError(f"{path}: more than {MAX_FEATURES:,} features; split the file")


def check_crs(path: Path, content: Json) -> None:
    """Raise DataError for the `crs` of older GeoJSON where it is not longitude and latitude."""
    crs = content.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = str(properties.get("name")) if isinstance(properties, dict) else ""
    if not name.endswith(LONLAT_NAMES):
        raise DataError(f"{path}: its crs is {name[:60]!r}; save it as longitude and latitude (RFC 7946, EPSG:4326)")


def id_of(feature: Any, number: int) -> str:
    """A feature's id as text."""
    if isinstance(feature, dict):
        properties = feature.get("properties")
        for found in (feature.get("id"), properties.get("id") if isinstance(properties, dict) else None):
            if isinstance(found, str | int | float) and not isinstance(found, bool):
                return str(found)
    return str(number)


def refuse_constant(name: str) -> None:
    """NaN and infinities are no JSON."""
    raise ValueError(f"{name} is not a number of JSON")


def shapely() -> Any:
    """The module. Raises UsageError where it is not installed."""
    try:
        import shapely as module
    except ImportError as e:
        raise UsageError(f"{e}; GeoParquet needs two more packages: pip install 'eomm[geo]'") from e
    return module
