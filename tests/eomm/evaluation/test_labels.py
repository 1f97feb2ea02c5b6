"""Labels from rasters, points and polygons, and what of them is left out."""

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.warp import transform

from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.labels import read_labels
from tests.eomm.evaluation.fields import GRID, SIZE, write_labels


def test_raster_labels_have_fields_classes_and_what_is_ignored(tmp_path):
    raw = np.zeros((SIZE, SIZE), np.uint16)
    raw[2:8, 2:8], raw[2:8, 12:18], raw[14:20, 2:8], raw[14:16, 14:16] = 1200, 9120, 1200, 77
    path = write_labels(tmp_path / "l.tif", raw, nodata=0)
    found = read_labels(path, GRID)
    assert found.classes == ("77", "1200", "9120") and len(np.unique(found.group[found.known])) == 4
    assert (found.known == (raw > 0)).all() and not found.group[raw == 0].any()
    named = read_labels(path, GRID, classes={"1200": "maize", "9120": "grass"})
    assert named.classes == ("maize", "grass") and named.left_out == ("label 77",)
    assert read_labels(path, GRID, ignore=("77",)).classes == ("1200", "9120")
    large = read_labels(path, GRID, min_pixels=5)
    assert not large.known[14, 14] and "1 groups of fewer than 5" in large.left_out[0]
    with pytest.raises(UsageError, match="has no label 5"):
        read_labels(path, GRID, classes={"5": "five"})


def test_labels_on_another_grid_are_those_of_the_nearest_pixel(tmp_path):
    raw = (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 5).astype(np.uint8)
    path = write_labels(tmp_path / "l.tif", raw)
    shifted = Grid(crs=GRID.crs, transform=(20, 0, 501380, 0, -20, 5629640), height=8, width=8)
    found = read_labels(path, shifted, regression=True)
    # the centre of a 20 m pixel is a corner of four 10 m pixels
    assert all(
        found.values[i, j] in raw[4 + 2 * i : 6 + 2 * i, 2 + 2 * j : 4 + 2 * j] for i in range(8) for j in range(8)
    )
    away = Grid(crs=GRID.crs, transform=(20, 0, 601380, 0, -20, 5629640), height=8, width=8)
    with pytest.raises(ContractError, match="lies elsewhere"):
        read_labels(path, away)


def test_netcdf_labels_need_the_variable_and_know_their_crs(tmp_path):
    raw = np.where(np.arange(SIZE)[:, None] < 10, 11, 13).astype(np.uint16) * np.ones((1, SIZE), np.uint16)
    raw[0, 0] = 0
    data = xr.Dataset(
        {"LC": (("y", "x"), raw, {"_FillValue": np.uint16(0)})}, {"y": GRID.y, "x": GRID.x}, {"epsg": 32631}
    )
    data.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    found = read_labels(tmp_path / "l.nc", GRID, column="LC")
    assert found.classes == ("11", "13") and not found.known[0, 0] and found.known.sum() == SIZE**2 - 1
    with pytest.raises(DataError, match="it has LC"):
        read_labels(tmp_path / "l.nc", GRID)


def lonlat(row, col):
    x, y = 501360 + 10 * (col + 0.5), 5629680 - 10 * (row + 0.5)
    (lon,), (lat,) = transform("EPSG:32631", "EPSG:4326", [x], [y])
    return lon, lat


def test_points_and_polygons_are_labels_too(tmp_path):
    rows = [(3, 4, "oak"), (10, 11, "pine"), (20, 2, "oak")]
    text = "lon,lat,species\n" + "\n".join("{},{},{}".format(*lonlat(r, c), s) for r, c, s in rows)
    (tmp_path / "p.csv").write_text(text)
    found = read_labels(tmp_path / "p.csv", GRID, column="species")
    assert found.known.sum() == 3 and found.classes == ("oak", "pine")
    assert found.values[10, 11] == 1 and found.group[3, 4] != found.group[20, 2]
    ring = [lonlat(-0.5, -0.5), lonlat(-0.5, 4.5), lonlat(4.5, 4.5), lonlat(4.5, -0.5), lonlat(-0.5, -0.5)]
    shape = {"type": "Polygon", "coordinates": [ring]}
    content = {"type": "Feature", "geometry": shape, "properties": {"label": "oak", "height": 12.5}}
    (tmp_path / "p.geojson").write_text(json.dumps(content))
    assert read_labels(tmp_path / "p.geojson", GRID).known.sum() == 25
    tall = read_labels(tmp_path / "p.geojson", GRID, column="height", regression=True)
    assert tall.regression and tall.values[2, 2] == 12.5
    with pytest.raises(DataError, match="properties label, height"):
        read_labels(tmp_path / "p.geojson", GRID, column="crop")


def test_features_without_effect_are_said_and_exchanged_coordinates_are_known(tmp_path):
    names = [("a", lonlat(3, 4)), ("b", lonlat(20, 2)[::-1]), ("c", (10.0, 50.0))]
    text = "\ufeffID, Longitude , Latitude, Class\n" + "\n".join(f" {n} , {x}, {y}, oak" for n, (x, y) in names)
    (tmp_path / "p.csv").write_text(text)
    found = read_labels(tmp_path / "p.csv", GRID)
    assert found.known.sum() == 1 and found.classes == ("oak",)
    assert found.left_out == (
        "2 of 3 features without a pixel of the cube (b, c)",
        "1 of them would lie on it with longitude and latitude exchanged (b): mend the file",
    )
    (tmp_path / "q.csv").write_text("\n".join(text.split("\n")[:1] + text.split("\n")[2:3]))
    with pytest.raises(UsageError, match=r"no labelled pixel .*would lie on it with longitude and latitude exchanged"):
        read_labels(tmp_path / "q.csv", GRID)
    both = [
        f"{k}, {x}, {y}, {label}" for k, (label, (x, y)) in enumerate([("oak", lonlat(3, 4)), ("ash", lonlat(3, 4))])
    ]
    (tmp_path / "r.csv").write_text(
        "\n".join(["id,lon,lat,label", *both, f"9, {lonlat(5, 5)[0]}, {lonlat(5, 5)[1]}, ash"])
    )
    assert read_labels(tmp_path / "r.csv", GRID).left_out == ("1 pixels that lie in features of different labels",)


@pytest.mark.parametrize("kind", ["tif", "nc"])
def test_values_to_predict_are_what_the_file_says_that_its_numbers_stand_for(tmp_path, kind):
    raw = np.full((SIZE, SIZE), 50, np.int16)
    raw[0, 0], raw[0, 1] = -1, 40
    if kind == "tif":
        path = write_labels(tmp_path / "l.tif", raw)
        with rasterio.open(path, "r+") as file:
            file.nodata, file.scales, file.offsets = -1, [0.1], [2.0]
    else:
        path = tmp_path / "l.nc"
        attributes = {"_FillValue": np.int16(-1), "scale_factor": 0.1, "add_offset": 2.0}
        data = xr.Dataset({"yield": (("y", "x"), raw, attributes)}, {"y": GRID.y, "x": GRID.x}, {"epsg": 32631})
        data.to_netcdf(path, engine="h5netcdf")
    found = read_labels(path, GRID, column="yield", regression=True)
    assert (
        not found.known[0, 0] and found.values[0, 1] == pytest.approx(6.0) and found.values[1, 1] == pytest.approx(7.0)
    )
    assert read_labels(path, GRID, column="yield").classes == ("40", "50")
