"""Longitude is a circle: sites and items on both sides of 180 degrees."""

import json
from datetime import date, timedelta

import numpy as np
import pytest
import rasterio

from data_prep.fetch.items import _divided, _touches
from data_prep.fetch.place import site_grid
from data_prep.fetch.run import FetchOptions, fetch_scenes
from eomm.errors import UsageError
from tests.data_prep.stac_server import publish
from tests.data_prep.tiny_scenes import START, write_s2

FIJI = dict(epsg=32760, west=819260, north=8118200)  # 400 m around 180 E, 17 S


class Item:
    def __init__(self, bbox=None, coordinates=None):
        self.bbox, self.geometry = bbox, None if coordinates is None else {"coordinates": coordinates}


@pytest.mark.parametrize(
    ("item", "touches"),
    [
        (Item([179.5, -18, -179.5, -16]), True),
        (Item([-180, -18, 180, -16]), True),
        (Item([179.5, -18, 180.5, -16]), True),
        (Item([179.5, -18, 0, -179.5, -16, 100]), True),
        (Item([-179.5, -18, -178.5, -16]), False),
        (Item([178.5, -18, 179.5, -16]), False),
        (Item([179.5, -10, -179.5, -9]), False),
        (Item(None, [[[[179.9, -18], [180, -18], [180, -16]]], [[[-180, -18], [-179.9, -18], [-180, -16]]]]), True),
        (Item(None, [[[10, -18], [11, -18], [11, -16]]]), False),
        (Item(), True),  # says nothing: it is read, not passed over
    ],
)
def test_an_item_touches_a_box_on_the_circle(item, touches):
    box = (179.98, -17.1, -179.98, -16.9)
    assert _touches(item, box) is touches
    assert _touches(Item([3, 50, 4, 51]), (3.2, 50.1, 3.3, 50.2)) and not _touches(Item([3, 50, 4, 51]), (4, 50, 5, 51))
    assert _divided(box) == [(179.98, -17.1, 180, -16.9), (-180, -17.1, -179.98, -16.9)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # odc's, at 180 degrees
def test_every_date_of_a_site_at_180_degrees_is_fetched(tmp_path):
    tags = {"VIEW_ZENITH": "5", "SUN_ZENITH": "30", "SUN_AZIMUTH": "90"}
    for k in range(3):
        write_s2(tmp_path / "site" / "s2", START + timedelta(days=5 * k), seed=k, tags=tags, **FIJI)
    catalogue = publish(tmp_path / "site", tmp_path / "stac", offset_every=1)
    files = sorted((tmp_path / "stac").glob("*/item.json"))
    west, south, east, north = json.loads(files[0].read_text())["bbox"]
    assert west > east
    for file, box in zip(files, ([west, south, east, north], [-180, south, 180, north], None), strict=True):
        item = json.loads(file.read_text())
        sides = [(west, 180), (-180, east)]
        rings = [[[[w, south], [e, south], [e, north], [w, north], [w, south]]] for w, e in sides]
        item |= {"bbox": box, "geometry": {"type": "MultiPolygon", "coordinates": rings}}
        file.write_text(json.dumps({k: v for k, v in item.items() if v is not None}))
    grid = site_grid(at=(180, -17), size_m=200, crs="EPSG:32760")
    days = (date(2019, 4, 1), date(2019, 4, 30))
    options = FetchOptions(site="fiji", source=str(catalogue), collection="s2", dates=days)
    result = fetch_scenes(tmp_path / "out", grid, options)
    assert (result["found"], result["complete"], result["empty"], result["missing"]) == (3, 3, 0, [])
    for file in (tmp_path / "out").glob("*_10m.tif"):
        with rasterio.open(file) as scene:
            assert (scene.read() > 0).all() and np.ptp(scene.read(1)) > 0


def test_a_box_with_west_above_east_lies_across_180_degrees():
    grid, whole = site_grid(bbox=(179.99, -17.01, -179.99, -17)), site_grid(bbox=(179.99, -17.01, 180, -17))
    assert grid.crs == "EPSG:32760" and 1.9 < grid.width / whole.width < 2.1
    with pytest.raises(UsageError, match="west > east only across 180 degrees"):
        site_grid(bbox=(3.02, 50, 3.0, 51))  # exchanged, not around the world
