"""The real site: every expected number was measured on the files themselves, not on our output."""

import time
from datetime import date

import numpy as np
import pytest
import xarray as xr

from data_prep.check.cube import check_cube
from data_prep.cubes.build import Source, build_cube
from eomm.data.cube import open_cube
from eomm.data.grid import EPOCH
from eomm.data.modality import SENTINEL1_SIGMA0, SENTINEL2

pytestmark = pytest.mark.whole  # real sites


@pytest.fixture(scope="module")
def cube(flanders, tmp_path_factory):
    sources = [Source(path=flanders, mapping=m) for m in ("worldcereal_s2", "worldcereal_s1", "worldcereal_agera5")]
    begin = time.monotonic()
    out = build_cube(tmp_path_factory.mktemp("flanders") / "site.zarr", site="flanders", sources=sources)
    assert time.monotonic() - begin < 120  # 7 s on two quiet cores
    return open_cube(out, expect={"s2": SENTINEL2, "s1": SENTINEL1_SIGMA0})


@pytest.fixture(scope="module")
def raw(flanders):
    names = {"ten": "S2_L2A_10m*", "twenty": "S2_L2A_20m*", "radar": "S1_GRD*", "weather": "AgERA5*"}
    data = {k: xr.open_dataset(next(flanders.glob(v)), mask_and_scale=False).load() for k, v in names.items()}
    yield data
    for d in data.values():
        d.close()


def index(group, year, month, day):
    return int(np.flatnonzero(group.day == (date(year, month, day) - EPOCH).days)[0])


def test_every_acquisition_is_there_with_its_date(cube, raw):
    for name, source in (("s2", raw["ten"]), ("s1", raw["radar"])):
        days = source.timestamp.values.astype("M8[D]").astype(int)
        np.testing.assert_array_equal(cube[name].day, days)
        stamps = [a.datetime for a in cube[name].acquisitions]
        assert stamps == [str(t)[:19] for t in source.timestamp.values]
    assert (len(cube["s2"]), len(cube["s1"])) == (118, 159)
    assert not cube.provenance["simulated"]


def test_the_grid_is_that_of_the_ten_metre_bands(cube):
    for name in ("s2", "s1"):
        grid = cube[name].grid
        assert (grid.crs, grid.height, grid.width) == ("EPSG:32631", 64, 64)
        assert grid.transform == (10.0, 0.0, 501360.0, 0.0, -10.0, 5629680.0)


def test_ten_metre_values_are_the_digital_numbers(cube, raw):
    values, valid = cube["s2"].read()
    for band, k in (("B02", 0), ("B03", 1), ("B04", 2), ("B08", 6)):
        np.testing.assert_array_equal(values[..., k][valid], raw["ten"][band].values[valid])


def test_twenty_metre_values_are_interpolated_in_place(cube, raw):
    values, valid = cube["s2"].read()
    for band, k in (("B05", 3), ("B06", 4), ("B07", 5), ("B8A", 7), ("B11", 8), ("B12", 9)):
        dn = raw["twenty"][band].values.astype(float)
        # Pixel (3, 4) lies a quarter of a coarse pixel south and west of the centre of coarse pixel (1, 2).
        expected = 0.75 * (0.75 * dn[:, 1, 2] + 0.25 * dn[:, 1, 1]) + 0.25 * (0.75 * dn[:, 2, 2] + 0.25 * dn[:, 2, 1])
        ok = valid[:, 3, 4]
        assert ok.sum() > 20
        np.testing.assert_allclose(values[ok, 3, 4, k], expected[ok], atol=0.6)


def test_radar_is_interpolated_in_linear_power(cube, raw):
    values, valid = cube["s1"].read()
    assert valid.mean() > 0.999
    for band, k in (("VV", 0), ("VH", 1)):
        p = 10 ** (raw["radar"][band].values * 1e-5)
        linear = 0.75 * (0.75 * p[:, 1, 2] + 0.25 * p[:, 1, 1]) + 0.25 * (0.75 * p[:, 2, 2] + 0.25 * p[:, 2, 1])
        ok = valid[:, 3, 4]
        np.testing.assert_allclose(values[ok, 3, 4, k] / 100, 10 * np.log10(linear[ok]), atol=0.006)


def test_weather_is_that_of_the_file_in_its_units(cube, raw):
    group, weather = cube["weather"], raw["weather"]
    assert (len(group), group.grid.height, group.grid.width, group.usable.all()) == (487, 1, 1, True)
    np.testing.assert_array_equal(group.day, weather.timestamp.values.astype("M8[D]").astype(int))
    values, valid = group.read()
    physical = group.modality.decode(values)[:, 0, 0]
    assert valid.all()
    for k, band in enumerate(group.modality.bands):
        assert weather[band.name].attrs["units"] == band.unit
        np.testing.assert_allclose(
            physical[:, k], weather[band.name].values[:, 0, 0], rtol=1e-6, atol=0.51 * band.scale
        )


def test_only_vegetation_soil_and_water_away_from_cloud_are_kept(cube, raw):
    _, valid = cube["s2"].read()
    clear = np.isin(raw["twenty"]["SCL"].values, (4, 5, 6)).repeat(2, 1).repeat(2, 2)
    assert not (valid & ~clear).any()
    assert (clear.mean((1, 2)) >= 0.9).sum() == 30
    fractions = 1 - np.array([a.cloud_fraction for a in cube["s2"].acquisitions])
    np.testing.assert_allclose(fractions, clear.mean((1, 2)), atol=1e-3)
    removed = cube["s2"].attributes["clouds"]["removed_fraction"]
    assert removed["classes"] == pytest.approx(0.603, abs=0.001)
    assert removed["dilation"] == pytest.approx(0.015, abs=0.003)  # of cloud and shadow; 0.12 round all not kept
    assert 0.01 < removed["haze"] < 0.05


def test_haze_that_scl_calls_clear_goes_and_clear_dates_and_bare_soil_stay(cube, raw):
    group = cube["s2"]
    _, valid = group.read()
    clear = np.isin(raw["twenty"]["SCL"].values, (4, 5, 6)).repeat(2, 1).repeat(2, 2)
    for day in ((2018, 7, 13), (2018, 7, 18), (2018, 6, 13)):  # B02 + 0.066 on the 13th of July
        assert not group.usable[index(group, *day)]
    for day in ((2018, 6, 28), (2018, 7, 5), (2018, 7, 15), (2018, 7, 23), (2018, 8, 2)):
        assert valid[index(group, *day)].mean() > 0.85
    for day in ((2018, 5, 6), (2018, 5, 11), (2018, 10, 8)):  # freshly tilled: brighter in red than in blue
        i = index(group, *day)
        assert valid[i].mean() > 0.8 and valid[i, 25:35, 25:35].mean() > 0.95
        assert clear[i].mean() - valid[i].mean() < 0.2


def test_orbits_and_angles(cube, raw):
    s1, s2 = cube["s1"], cube["s2"]
    assert sorted({a.orbit for a in s1.acquisitions}) == ["ascending 17:32", "ascending 17:40"]
    assert all(a.orbit.endswith(a.datetime[11:16]) and a.direction == "ascending" for a in s1.acquisitions)
    # Sentinel-2's two orbits look from the east and from the west.
    west = raw["twenty"].viewAzimuthMean.values > 180
    assert len({(a.orbit, bool(w)) for a, w in zip(s2.acquisitions, west, strict=True)}) == 2
    np.testing.assert_allclose(s2.meta()["incidence"], raw["twenty"].viewZenithMean.values, atol=1e-3)
    for name, variable in (("sun_zenith_deg", "sunZenithAngles"), ("view_azimuth_deg", "viewAzimuthMean")):
        found = [getattr(a, name) for a in s2.acquisitions]
        np.testing.assert_allclose(found, raw["twenty"][variable].values, atol=1e-3)


def test_the_check_finds_bands_of_land_and_claims_no_alignment(cube):
    summary = check_cube(cube.path).summary
    assert summary["findings"] == []
    (aligned,) = summary["alignment"]
    assert not aligned["determined"] and aligned["spread_metres"] >= 10  # not proven better than about 40 m
    assert 1 <= len(summary["modalities"]["s2"]["suspicious"]) <= 10
