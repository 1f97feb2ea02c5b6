"""A modality that eomm does not know, described by its mapping alone."""

from datetime import timedelta

import numpy as np
import pytest
import zarr

from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.options import CubeOptions
from eomm.data.cube import open_cube
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_scenes import (
    NORTH,
    SIZE,
    START,
    WEST,
    sources,
    write_netcdf,
)


def weather(folder, *, unit="K", celsius=False):
    """The site's mapping and files of a modality that eomm does not know, one pixel for the whole site."""
    folder.mkdir(parents=True)
    mapping = folder / "weather.toml"
    mapping.write_text(
        """
reader = "netcdf"
files = "w*.nc"
time = "timestamp"
gsd_m = 1000
[modality]
name = "weather"
unit = "per band"
level = "daily"
calibration = "none"
bands = [
    { name = "t", unit = "K", gsd_m = 9000, scale = 0.01, offset = 273.15, valid_min = 200, valid_max = 330 },
    { name = "rain", unit = "mm d-1", gsd_m = 9000, scale = 0.1, valid_min = 0, valid_max = 500 },
]
"""
    )
    days = [START + timedelta(days=d) for d in range(-5, 60)]
    kelvin = (280 + np.arange(65.0)).reshape(-1, 1, 1) - 273.15 * celsius
    rain = np.zeros((65, 1, 1))
    rain[7] = np.nan
    variables = {"t": (kelvin, {"units": unit}), "rain": (rain, {"units": "mm d-1"})}
    write_netcdf(folder / "w.nc", variables=variables, times=days, gsd=1000)
    return Source(path=folder, mapping=mapping)


def test_a_modality_of_one_pixel_keeps_its_grid(site, tmp_path):
    own = [weather(tmp_path / "w"), *sources(site)]
    cube = open_cube(build_cube(tmp_path / "c.zarr", site="here", sources=own))
    group = cube["weather"]
    assert group.grid == Grid(crs="EPSG:32631", transform=(1000, 0, WEST, 0, -1000, NORTH), height=1, width=1)
    assert cube["s2"].grid == cube["s1"].grid and cube["s2"].grid.height == SIZE
    assert zarr.open_group(cube.path, mode="r").attrs["proj:shape"] == [SIZE, SIZE]
    values, valid = group.read()
    np.testing.assert_allclose(group.modality.decode(values)[valid][:, 0], 280 + np.delete(np.arange(51.0), 7))
    assert not valid[7] and not valid[51:].any()  # no rain known; beyond the range


def test_a_unit_that_the_contract_does_not_have_is_refused(site, tmp_path):
    own = [weather(tmp_path / "w", unit="degC", celsius=True), *sources(site)]
    with pytest.raises(
        ContractError, match=r"w.nc .*band t: .* the unit 'degC', expected 'K' as mapping 'weather' says"
    ):
        build_cube(tmp_path / "c.zarr", site="here", sources=own)
    with pytest.raises(DataError, match=r"'weather': none of 65 acquisitions .* out of the modality's range"):
        build_cube(tmp_path / "c.zarr", site="here", sources=own, options=CubeOptions(accept=["unit"]))
