"""A STAC item beside a finished embedding cube, so that catalogues can list it. https://stacspec.org, version 1.1.

Beside and not inside: zarr warns of every file in a store that is not its own.
"""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from eomm.data import longitude
from eomm.data.attributes import attributes_of
from eomm.data.grid import EPOCH, Grid
from eomm.store.fields import Json
from eomm.store.folders import write_json

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


def item_path(store: Path) -> Path:
    """Where the item of a store lies."""
    return store.with_name(f"{store.name}.stac.json")


def write_item(store: Path) -> None:
    """Write the item of a finished embedding cube beside it; its link is relative, so that both move together."""
    root = zarr.open_group(store, mode="r")
    day = np.asarray(root["time"][:])  # type: ignore[index]
    write_json(item_path(store), make_item(attributes_of(root), day, f"./{store.name}"))


def make_item(attributes: Json, day: np.ndarray, href: str) -> Json:
    """The item of a store's root attributes and days; without a geometry where the site has no position."""
    grid = Grid.from_attributes(attributes)
    first, last = (f"{EPOCH + timedelta(days=int(d))}T00:00:00Z" for d in (day.min(), day.max()))
    provenance = attributes["provenance"]
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROJECTION] if grid.crs != "LOCAL" else [],
        "id": f"{attributes['site']}-{attributes['eomm:model']}",
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": first,
            "end_datetime": last,
            "gsd": attributes["geoemb:gsd"],
            **{k: v for k, v in attributes.items() if k.startswith("geoemb:")},
            "eomm:model": attributes["eomm:model"],
            "eomm:cube": attributes["eomm:cube"],
            "eomm:simulated": provenance["simulated"],
            "eomm:dates": len(day),
        },
        "links": [],
        "assets": {
            "embedding": {
                "href": href,
                "type": "application/vnd.zarr; version=3",
                "title": "Embedding cube: a vector for every pixel and date",
                "roles": ["data"],
            }
        },
    }
    if grid.crs != "LOCAL":
        item["properties"] |= grid.attributes()
        ring = grid.outline()
        lon, lat = zip(*ring, strict=True)
        west, wide = longitude.extent(lon)
        item["bbox"] = [west, min(lat), longitude.wrapped(west + wide), max(lat)]  # west > east across 180 degrees
        item["geometry"] = outline(ring)
    return item


def outline(ring: Sequence[tuple[float, float]]) -> Json:
    """A closed ring as a GeoJSON geometry, divided at 180 degrees where it crosses them (RFC 7946, section 3.1.9)."""
    if max(lon for lon, _ in ring) - min(lon for lon, _ in ring) <= 180:
        return {"type": "Polygon", "coordinates": [[list(p) for p in ring]]}
    around = [(lon % 360, lat) for lon, lat in ring]
    east = [(lon - 360, lat) for lon, lat in _beyond(around, 1)]
    return {"type": "MultiPolygon", "coordinates": [[[list(p) for p in part]] for part in (_beyond(around, -1), east)]}


def _beyond(ring: Sequence[tuple[float, float]], side: int) -> list[tuple[float, float]]:
    """The part of a convex closed ring, longitudes 0 to 360, on one side of 180 degrees: -1 west, 1 east; closed."""
    part: list[tuple[float, float]] = []
    for (a, north), (b, south) in itertools.pairwise(ring):
        if (a - 180) * side >= 0:
            part.append((a, north))
        if (a - 180) * (b - 180) < 0:
            part.append((180.0, round(north + (south - north) * (180 - a) / (b - a), 7)))
    return [*part, part[0]]
