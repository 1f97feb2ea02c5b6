"""Cubes made of scenes: what is kept of them, and what is masked."""

import dataclasses
import json
import shutil
import sys
import types
from datetime import date, timedelta

import numpy as np
import pytest
import rasterio

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import Mask, load_mapping
from eomm.data.cube import open_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2
from tests.data_prep.tiny_scenes import (
    NAMES,
    NORTH,
    SIZE,
    START,
    WEST,
    optical,
    reflectance,
    sources,
    write_s1,
    write_s2,
)


@pytest.fixture(scope="module")
def cube(site, tmp_path_factory):
    steps = []
    out = tmp_path_factory.mktemp("cube") / "a" / "site.zarr"
    build_cube(out, site="tiny", sources=sources(site), progress=lambda *step: steps.append(step))
    assert ("s2: write", 10, 10) in steps and ("s1: write", 10, 10) in steps
    return open_cube(out, expect={"s2": SENTINEL2, "s1": SENTINEL1})


def test_values_dates_and_metadata_are_those_of_the_scenes(cube):
    s2, s1 = cube["s2"], cube["s1"]
    assert s2.grid.transform == (10.0, 0.0, WEST, 0.0, -10.0, NORTH) and s2.grid.crs == "EPSG:32631"
    assert s2.grid == s1.grid and len(s2) == len(s1) == 10
    values, valid = s2.read()
    assert valid.all()
    for k, band in enumerate(("B02", "B03", "B04", "B08")):
        expected = np.rint(reflectance(band, 300 + k) * 1e4)
        np.testing.assert_array_equal(values[3, :, :, NAMES.index(band)], expected)
    # A 20 m pixel's value is kept on average by its four 10 m pixels up to the neighbours' share.
    b8a = reflectance("B8A", 303, SIZE // 2)
    got = values[3, :, :, NAMES.index("B8A")].reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3)) * 1e-4
    assert np.corrcoef(got.ravel(), b8a.ravel())[0, 1] > 0.95 and abs((got - b8a).mean()) < 1e-3
    first = s1.acquisitions[0]
    assert (first.platform, first.orbit, first.direction, first.incidence_deg) == ("S1A", "A088", "ascending", 38.5)
    assert s2.acquisitions[0].datetime == START.isoformat() and len(s2.acquisitions[0].product_ids) == 3


def test_how_it_was_made_is_recorded_without_machine_paths(cube, site):
    p = cube.provenance
    assert p["simulated"] is True and p["accepted"] == []
    assert len(p["sources"][0]["files"]) == 30 and {"name", "bytes", "sha256"} == set(p["sources"][1]["files"][0])
    assert str(site) not in json.dumps(dict(p))
    assert cube["s2"].attributes["resampling"]["bands"] == dict.fromkeys(
        ("B05", "B06", "B07", "B8A", "B11", "B12"), 20.0
    )
    assert cube["s1"].attributes["resampling"]["domain"] == "linear power"
    assert cube["s2"].attributes["clouds"]["removed_fraction"]["haze"] == 0
    assert "agrees" in cube["s2"].attributes["checks"][2]


def test_masks_and_dilation_and_cloud_fraction(tmp_path):
    classes = np.full((SIZE // 2, SIZE // 2), 4, np.uint8)
    classes[:, :5], classes[:, 5], classes[0, -1] = 9, 7, 0  # cloud, unclassified, no data
    for k in range(3):
        write_s2(tmp_path, START + timedelta(days=5 * k), seed=k, classes=classes if k == 1 else None)
    group = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path)))["s2"]
    values, valid = group.read()
    # 40 m round cloud are lost, of what is unclassified or missing the pixels themselves
    assert valid[0].all() and not valid[1, :, :14].any() and valid[1, 20, 14:].all()
    assert not valid[1, 0, -2:].any() and valid[1, 0, -3]
    assert (values[1][~valid[1]] == 0).all()
    assert [a.cloud_fraction for a in group.acquisitions] == [0.0, round(120 / 399, 4), 0.0]


def test_sun_and_view_angles_are_kept_where_given(tmp_path):
    for k, (azimuth, west) in enumerate(((359.0, WEST), (2.0, WEST + 200))):  # two tiles: the mean is 0.5, not 180
        angles = {"SUN_ZENITH": f"{40 + k}", "SUN_AZIMUTH": f"{azimuth}", "VIEW_ZENITH": "7"}
        write_s2(tmp_path / str(k), START + timedelta(seconds=20 * k), seed=k, west=west, tags=angles)
    first = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path)))["s2"].acquisitions[0]
    assert (first.incidence_deg, first.sun_zenith_deg, first.sun_azimuth_deg) == (7.0, 40.5, 0.5)
    assert first.view_azimuth_deg is None


def test_two_tiles_of_one_pass_are_one_acquisition_and_the_later_name_wins(tmp_path):
    write_s2(tmp_path / "west", START, seed=1)
    write_s2(tmp_path / "east", START + timedelta(seconds=20), seed=2, west=WEST + 200)
    group = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path)))["s2"]
    values, valid = group.read()
    assert len(group) == 1 and group.grid.width == 60 and valid.all()
    one, two = (np.rint(reflectance("B02", seed) * 1e4) for seed in (1, 2))
    np.testing.assert_array_equal(values[0, :, :20, 0], one[:, :20])
    np.testing.assert_array_equal(values[0, :, 20:, 0], two)
    assert len(group.acquisitions[0].product_ids) == 6


def test_saturated_missing_and_clipped_pixels_are_masked_and_counted(tmp_path):
    stem = write_s2(tmp_path / "in", START, seed=1)
    with rasterio.open(tmp_path / "in" / f"{stem}_10m.tif", "r+") as file:
        dn = file.read()
        dn[0, 0, :3] = 65535  # saturated
        dn[3, 1, :5] = 0  # no data
        dn[2, 2, :7] = 1  # clipped by processors before baseline 04.00
        file.write(dn)
    group = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in", clipped=(1,))))["s2"]
    _, valid = group.read()
    assert not valid[0, 0, :3].any() and not valid[0, 1, :5].any() and not valid[0, 2, :7].any()
    counts = {"no_data": 12, "above_range": 3, "below_range": 0, "clouds": 0, "valid": SIZE * SIZE - 15}
    assert group.attributes["pixels"] == counts and valid.sum() == counts["valid"]


def test_a_product_that_is_there_twice_and_files_in_another_order_change_nothing(tmp_path):
    write_s2(tmp_path / "one" / "a", START, seed=1)
    write_s2(tmp_path / "one" / "b", START + timedelta(seconds=20), seed=2, west=WEST + 200)
    shutil.copytree(tmp_path / "one" / "a", tmp_path / "two" / "z")  # now listed last
    shutil.copytree(tmp_path / "one" / "b", tmp_path / "two" / "b")
    shutil.copytree(tmp_path / "one" / "a", tmp_path / "two" / "copy")
    groups = [
        open_cube(build_cube(tmp_path / f"{n}.zarr", site="x", sources=optical(tmp_path / n)))["s2"]
        for n in ("one", "two")
    ]
    assert groups[0].digests == groups[1].digests and groups[0].acquisitions == groups[1].acquisitions


def test_a_pixel_has_its_values_and_its_class_from_one_product(tmp_path):
    """Two granules of one pass overlap fully; the later lacks a band here, and a class there."""
    clouds = np.full((SIZE // 2, SIZE // 2), 9, np.uint8)
    clouds[:, 10:] = 0  # the right half of the later product has no class
    write_s2(tmp_path / "in" / "1", START, seed=1)
    stem = write_s2(tmp_path / "in" / "2", START + timedelta(seconds=20), seed=2, classes=clouds)
    with rasterio.open(tmp_path / "in" / "2" / f"{stem}_10m.tif", "r+") as file:
        dn = file.read()
        dn[1, :20] = 0  # and its upper half no B03
        file.write(dn)
    mask = dataclasses.replace(load_mapping("simulated_s2").mask, dilation_m=0)
    group = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in", mask=mask)))["s2"]
    values, valid = group.read()
    first = np.rint(reflectance("B02", 1) * 1e4)
    # Below left the later product is complete, so its cloud counts. Elsewhere the earlier one gives both.
    expected = np.ones((SIZE, SIZE), bool)
    expected[20:, :20] = False
    np.testing.assert_array_equal(valid[0], expected)
    np.testing.assert_array_equal(values[0, :, :, 0][expected], first[expected])


def test_no_power_in_decibel_is_missing_and_darkens_no_neighbour(tmp_path):
    db = np.random.default_rng(0).choice([-12.0, -12.001], (2, SIZE, SIZE)).astype(np.float32)
    db[:, 10, 10] = -np.inf
    write_s1(tmp_path, START, values=db, tags={"UNIT": "dB"})
    between = Grid(crs="EPSG:32631", transform=(10.0, 0, WEST + 55, 0, -10.0, NORTH - 55), height=20, width=20)
    mapping = dataclasses.replace(load_mapping("simulated_s1"), unit="dB")
    out = build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping=mapping)], window=between)
    values, valid = open_cube(out)["s1"].read()
    assert (~valid).sum() == 1 and (values[valid] == -1200).all()


def test_a_simulated_site_becomes_a_cube(tmp_path):
    from data_prep.simulate import SiteOptions, simulate_site

    folder = simulate_site(
        tmp_path / "sim", SiteOptions(site="sim", seed=1, start=date(2021, 5, 1), end=date(2021, 7, 15), size_px=48)
    )
    cube = open_cube(build_cube(tmp_path / "c.zarr", site="sim", sources=sources(folder)), expect={"s2": SENTINEL2})
    assert cube.provenance["simulated"] is True
    assert cube["s2"].grid.height == 48 and cube["s2"].usable.sum() >= 4 and cube["s1"].usable.all()
    assert {a.direction for a in cube["s1"].acquisitions} == {"ascending", "descending"}


def test_a_mask_may_be_computed_from_bands_that_the_cube_has_too(tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "a.pth").touch()
    predict = lambda array, **options: (array[:1] > 0.1).astype(np.uint8)  # noqa: E731
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setitem(sys.modules, "omnicloudmask", types.SimpleNamespace(predict_from_array=predict))
    bands = {b: b for b in Mask.METHODS["omnicloudmask"]}
    mask = Mask(method="omnicloudmask", bands=bands, scale=1e-4, weights=str(weights), dilation_m=0, haze=False)
    write_s2(tmp_path / "in", START, seed=1, skip=("SCL",))
    group = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in", mask=mask)))["s2"]
    _, valid = group.read()
    np.testing.assert_array_equal(valid[0], np.rint(reflectance("B04", 1 + 2) * 1e4) <= 1000)
    assert group.attributes["clouds"]["method"] == "omnicloudmask"
