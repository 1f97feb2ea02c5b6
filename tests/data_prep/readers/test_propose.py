"""A mapping from what files say of themselves: what they do not say is marked, and never guessed in silence."""

import re

import numpy as np
import pytest
import rasterio
import xarray as xr

from data_prep.mappings.mapping import load_mapping
from data_prep.readers import open_scenes
from data_prep.readers.propose import band_of, propose
from eomm.cli import main
from eomm.errors import ContractError, DataError


def written(text, path):
    path.write_text(text)
    return load_mapping(path)


def write_tiff(path, values, descriptions=(), **tags):
    shape = {"count": len(values), "height": 4, "width": 4, "dtype": values.dtype, "nodata": 0}
    transform = rasterio.Affine(10, 0, 5e5, 0, -10, 56e5)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=transform, **shape) as file:
        file.write(values)
        file.update_tags(**tags)
        for i, text in enumerate(descriptions, 1):
            file.set_band_description(i, text)


@pytest.mark.parametrize(
    ("name", "band"),
    [("B02", "B02"), ("b4", "B04"), ("B8A", "B8A"), ("T31UDS_20200105T105421_B11_20m", "B11"), ("red", "B04"),
     ("swir22", "B12"), ("nir08", "B8A"), ("SCL_20m", "SCL"), ("VV", "VV"), ("sigma0_vh", "VH"), ("NDVI", "NDVI"),
     ("blob2", "blob2")],
)  # fmt: skip
def test_layers_are_known_by_their_usual_names(name, band):
    assert band_of(name) == band


def test_flanders_is_proposed_as_it_is_shipped(flanders, tmp_path):
    shipped, text = load_mapping("worldcereal_s2"), propose(flanders)
    found = written(text, tmp_path / "mine.toml")
    for name in ("reader", "modality", "bands", "scale", "fill", "time", "level", "calibration", "unit", "mask"):
        assert getattr(found, name) == getattr(shipped, name), name
    assert "scale = 0.0001  # as the files say" in text and "# offset = -0.1  # CHECK" in text
    (radar,) = flanders.glob("S1_GRD*.nc")
    text = propose(radar)
    assert 'VV = "VV"' in text
    with pytest.raises(ContractError, match="CHOOSE"):  # no file tells its calibration, and nothing is assumed
        written(text, tmp_path / "s1.toml")
    chosen = {"modality": "s1_sigma0", "level": "GRD", "calibration": "sigma0"}
    for key, value in chosen.items():
        text = text.replace(f'{key} = "CHOOSE"', f'{key} = "{value}"')
    assert written(text, tmp_path / "s1.toml").bands == load_mapping("worldcereal_s1").bands


def test_geotiffs_by_descriptions_and_by_names(tmp_path):
    one, each = tmp_path / "one", tmp_path / "each"
    one.mkdir()
    each.mkdir()
    values = np.full((3, 4, 4), 1200, np.uint16)
    write_tiff(one / "S2A_1.tif", values, ("B02", "B04", "SCL"), DATETIME="2020-01-05T10:54:21Z")
    text = propose(one / "S2A_1.tif")
    found = written(text, tmp_path / "one.toml")
    assert found.reader == "geotiff" and dict(found.bands) == {"B02": "B02", "B04": "B04"} and found.in_name is None
    assert "whole numbers, no scale stated" in text and "# not found: B03, B05" in text and found.mask.variable == "SCL"
    for band in ("B02", "B04"):
        write_tiff(each / f"T31UDS_20200105T105421_{band}_10m.tif", values[:1])
    found = written(propose(each), tmp_path / "each.toml")
    (scene, other) = open_scenes(sorted(each.glob("*.tif")), found, None)
    assert {*scene.grids, *other.grids} == {"B02", "B04"} and str(scene.time)[:10] == "2020-01-05"


def test_an_unknown_sensor_gets_a_contract_to_be_written(tmp_path):
    lst = ("time", "y", "x"), np.zeros((2, 3, 3), np.float32), {"units": "K", "_FillValue": -1.0}
    xr.Dataset({"LST": lst, "QA": (("time", "y", "x"), np.zeros((2, 3, 3), np.uint8))}).to_netcdf(
        tmp_path / "lst.nc", engine="h5netcdf"
    )
    text = propose(tmp_path / "lst.nc")
    assert '{ name = "LST", unit = "K", gsd_m = "CHOOSE"' in text and 'unit = "per band"' in text
    with pytest.raises(ContractError):
        written(text, tmp_path / "lst.toml")


def test_what_is_no_source_is_refused(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.tif").write_text("x")
    for path, error in (("a.txt", "ends in none of"), ("b.tif", "cannot be read"), ("c", "does not exist")):
        with pytest.raises(DataError, match=error):
            propose(tmp_path / path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file named"):
        propose(tmp_path / "empty")
    write_tiff(tmp_path / "b.tif", np.ones((1, 4, 4), np.uint16), ("B02",))
    out = tmp_path / "mine.toml"
    assert main(["prepare", "mapping", str(tmp_path / "b.tif"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^# written to .*mine.toml$", printed, re.M) and load_mapping(out).bands == {"B02": "B02"}
    assert main(["prepare", "mapping", str(tmp_path / "b.tif"), "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err
