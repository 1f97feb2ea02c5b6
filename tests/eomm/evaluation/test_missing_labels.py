"""Labels that are missing in any spelling are none, and are counted."""

import numpy as np
import pytest
import rasterio
import xarray as xr

from eomm.errors import DataError, UsageError
from eomm.evaluation.labels import read_labels
from tests.eomm.evaluation.fields import GRID
from tests.eomm.evaluation.test_labels import lonlat

MISSING = ["", "nan", "NaN", "NA", "n/a", "null", "None", "-9999", "-9999.0", "1e20", "inf"]


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("missing", MISSING)
def test_a_feature_whose_label_is_missing_is_left_out_and_said(missing, regression, tmp_path):
    rows = [("3", lonlat(3, 4)), (missing, lonlat(8, 9)), ("5", lonlat(12, 2))]
    lines = [f"{i},{x},{y},{label}" for i, (label, (x, y)) in enumerate(rows)]
    (tmp_path / "p.csv").write_text("\n".join(["id,lon,lat,label", *lines]))
    found = read_labels(tmp_path / "p.csv", GRID, regression=regression)
    assert found.known.sum() == 2 and found.left_out == ("1 of 3 features without a label",)
    assert found.regression or found.classes == ("3", "5")


def test_no_label_at_all_says_why_and_a_missing_column_is_named(tmp_path):
    x, y = lonlat(3, 4)
    (tmp_path / "p.csv").write_text(f"lon,lat,label\n{x},{y},nan\n")
    with pytest.raises(UsageError, match=r"no labelled pixel .*; left out: 1 of 1 features without a label"):
        read_labels(tmp_path / "p.csv", GRID)
    with pytest.raises(DataError, match="feature '0' has crop 'None'; expected a label"):
        read_labels(tmp_path / "p.csv", GRID, column="crop")
    text = '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [%s, %s]}, "properties": {"label": NaN}}'
    (tmp_path / "p.geojson").write_text(text % (x, y))
    with pytest.raises(DataError, match="not valid JSON"):
        read_labels(tmp_path / "p.geojson", GRID)
    (tmp_path / "q.geojson").write_text((text % (x, y)).replace("NaN", "null"))
    with pytest.raises(UsageError, match="1 of 1 features without a label"):
        read_labels(tmp_path / "q.geojson", GRID)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -9999.0, 1e20, -3.4028234663852886e38])
@pytest.mark.parametrize("regression", [False, True])
def test_holes_of_a_raster_of_floats_are_no_label_though_nothing_declares_them(hole, regression, tmp_path):
    values = np.full((GRID.height, GRID.width), 2.0, np.float32)
    values[:5], values[5:7] = 7.0, hole
    profile = dict(driver="GTiff", height=GRID.height, width=GRID.width, count=1, dtype="float32", crs=GRID.crs)
    with rasterio.open(tmp_path / "l.tif", "w", **profile, transform=rasterio.Affine(*GRID.transform)) as file:
        file.write(values, 1)
    found = read_labels(tmp_path / "l.tif", GRID, regression=regression)
    assert not found.known[5:7].any() and found.known.sum() == values.size - 2 * GRID.width
    assert found.regression or found.classes == ("2", "7")


def test_several_fills_of_a_netcdf_are_no_label(tmp_path):
    values = np.full((GRID.height, GRID.width), 2, np.int16)
    values[0], values[1], values[2] = -1, -2, 7
    data = xr.Dataset(
        {"crop": (("y", "x"), values, {"missing_value": np.array([-1, -2], np.int16)})},
        coords={"y": GRID.y, "x": GRID.x},
        attrs={"epsg": int(GRID.crs.removeprefix("EPSG:"))},
    )
    data.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    found = read_labels(tmp_path / "l.nc", GRID, column="crop")
    assert found.classes == ("2", "7") and not found.known[:2].any() and found.known[2:].all()
