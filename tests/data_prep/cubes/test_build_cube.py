import dataclasses
import json
import os
import shutil
import subprocess
import sys
import types
from datetime import date, timedelta

import numpy as np
import pytest
import rasterio
import zarr

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import Mask, load_mapping
from eomm.data.cube import open_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import ContractError, DataError, UsageError
from tests.data_prep.tiny_scenes import (
    NAMES,
    NORTH,
    SIZE,
    START,
    WEST,
    reflectance,
    write_netcdf,
    write_s1,
    write_s2,
    write_site,
)


def sources(folder):
    return [Source(path=folder / "s2", mapping="simulated_s2"), Source(path=folder / "s1", mapping="simulated_s1")]


def optical(folder, **mapping):
    return [Source(path=folder, mapping=dataclasses.replace(load_mapping("simulated_s2"), **mapping))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


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


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({"scale": 1.0}, "scale", r"_10m.tif \(2019-04-01.*band B0.: values .*expected reflectance.*digital numbers"),
        ({"offset": 0.1}, "offset", r"_10m.tif.*metadata say: no baseline.*never below 0.1.*BOA_OFFSET=-1000"),
        (
            {"bands": load_mapping("simulated_s2").bands | {"B02": "B04", "B04": "B02"}},
            "band_order",
            r"_10m.tif.*bare pixels the medians are B03 .* and B02.*bands look exchanged",
        ),
    ],
)
def test_a_broken_contract_fails_early_and_leaves_nothing_unless_overruled(tmp_path, site, change, name, message):
    with pytest.raises(ContractError, match=message):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(site / "s2", **change))
    assert list(tmp_path.iterdir()) == []
    if name != "scale":  # digital numbers are out of range: nothing of them could be stored
        out = build_cube(tmp_path / "c.zarr", site="x", sources=optical(site / "s2", **change), accept=(name,))
        assert open_cube(out).provenance["accepted"] == [name]


def test_l1c_is_refused_by_its_metadata_unless_asked_for(tmp_path):
    write_s2(tmp_path / "in", START, tags={"PROCESSING_LEVEL": "L1C"})
    with pytest.raises(ContractError, match=r"_10m.tif .*: level is 'L1C', expected 'L2A'"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"))
    out = build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"), accept=["level"])
    assert open_cube(out).provenance["accepted"] == ["level"]


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


@pytest.mark.parametrize(("speckle", "near"), [("rolling3", (-1, 0, 1)), ("causal3", (-2, -1, 0))])
def test_a_speckle_filter_averages_power_and_makes_another_contract(tmp_path, speckle, near):
    rng = np.random.default_rng(0)
    power = (rng.gamma(5, 0.02, (5, 2, SIZE, SIZE))).astype(np.float32)
    power[2, 0, 0, 0] = 0  # no power: invalid there, and left out of its neighbours' means
    for k in range(5):
        write_s1(tmp_path / "in", START + timedelta(days=6 * k), values=power[k])
    sources = [Source(path=tmp_path / "in", mapping="simulated_s1")]
    cube = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=sources, speckle=speckle))
    values, valid = cube["s1"].read()
    usable = np.where(power > 0, power, np.nan)
    for i in range(5):
        mean = np.nanmean(usable[[i + k for k in near if 0 <= i + k < 5]], axis=0)
        expected = np.moveaxis(10 * np.log10(mean), 0, -1)
        np.testing.assert_allclose(values[i][valid[i]] / 100, expected[valid[i]], atol=0.0051)
    assert (~valid).sum() == 1 and not valid[2, 0, 0]
    with pytest.raises(ContractError, match=rf"speckle_filter: found '{speckle}', expected 'none'"):
        open_cube(cube.path, expect={"s1": SENTINEL1})
    with pytest.raises(UsageError, match=r"filter 'lee' is unknown; choose one of none, rolling3, causal3"):
        build_cube(tmp_path / "d.zarr", site="x", sources=sources, speckle="lee")


def test_no_power_in_decibel_is_missing_and_darkens_no_neighbour(tmp_path):
    db = np.random.default_rng(0).choice([-12.0, -12.001], (2, SIZE, SIZE)).astype(np.float32)
    db[:, 10, 10] = -np.inf
    write_s1(tmp_path, START, values=db, tags={"UNIT": "dB"})
    between = Grid(crs="EPSG:32631", transform=(10.0, 0, WEST + 55, 0, -10.0, NORTH - 55), height=20, width=20)
    mapping = dataclasses.replace(load_mapping("simulated_s1"), unit="dB")
    out = build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping=mapping)], window=between)
    values, valid = open_cube(out)["s1"].read()
    assert (~valid).sum() == 1 and (values[valid] == -1200).all()


def test_db_for_linear_power_is_refused(tmp_path):
    db = np.random.default_rng(0).normal(-12, 2, (2, SIZE, SIZE)).astype(np.float32)
    write_s1(tmp_path, START, values=db)
    with pytest.raises(ContractError, match=r"S1A_2019.*band VV.*look like dB"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping="simulated_s1")])


def test_a_band_that_is_empty_on_one_date_is_found_while_writing(tmp_path):
    for k in range(40):
        values = np.random.default_rng(k).gamma(5, 0.02, (2, SIZE, SIZE)).astype(np.float32)
        if k == 38:  # between the sampled dates
            values[1] = np.nan
        write_s1(tmp_path / "in", START + timedelta(days=6 * k), values=values)
    with pytest.raises(ContractError, match=r"S1A_2019111.*band VH is empty"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path / "in", mapping="simulated_s1")])
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("skip", ["20m", "SCL"])
def test_missing_bands_are_named(tmp_path, skip):
    write_s2(tmp_path, START)
    write_s2(tmp_path, START + timedelta(days=5), skip=(skip,))
    missing = "mask" if skip == "SCL" else "B05 B06 B07 B8A B11 B12"
    with pytest.raises(DataError, match=rf"S2A_20190406T.* bands {missing} are missing; found .*expected B02"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path))


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
        build_cube(tmp_path / "c.zarr", site="here", sources=own, accept=["unit"])


def test_no_overlap_in_time_is_refused(tmp_path, site):
    write_s1(tmp_path, START - timedelta(days=400))
    pair = [sources(site)[0], Source(path=tmp_path, mapping="simulated_s1")]
    with pytest.raises(DataError, match=r"S1A.*ends on 2018-02-25, before .*S2A.* begins on 2019-04-01: no overlap"):
        build_cube(tmp_path / "c.zarr", site="x", sources=pair)


def test_no_overlap_in_space_is_refused(tmp_path, site):
    write_s1(tmp_path, START, west=WEST + 5000)
    pair = [sources(site)[0], Source(path=tmp_path, mapping="simulated_s1")]
    with pytest.raises(DataError, match=r"S1A.*: no overlap in space: its 1 scenes lie at .*506360.*is it the right"):
        build_cube(tmp_path / "c.zarr", site="x", sources=pair)


def test_a_scene_in_another_crs_is_refused(tmp_path, site):
    write_s1(tmp_path, START, epsg=32632)
    pair = [sources(site)[0], Source(path=tmp_path, mapping="simulated_s1")]
    with pytest.raises(ContractError, match=r"S1A.*: lies in EPSG:32632, expected EPSG:32631.*gdalwarp"):
        build_cube(tmp_path / "c.zarr", site="x", sources=pair)


def test_unresolved_duplicates_are_refused(tmp_path):
    write_s1(tmp_path, START)
    write_s1(tmp_path, START + timedelta(hours=5))
    with pytest.raises(DataError, match=r"two overpasses of platform S1A, orbit A088 on one day.*or remove one"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping="simulated_s1")])


def test_an_all_cloud_series_is_refused(tmp_path):
    write_s2(tmp_path / "in", START, classes=np.full((SIZE // 2, SIZE // 2), 9, np.uint8))
    with pytest.raises(DataError, match=r"'s2': none of 1 acquisitions .* all cloud"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_existing_cube_is_kept_unless_told(tmp_path, site):
    out = tmp_path / "c.zarr"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(UsageError, match=r"c.zarr: already exists; .*--overwrite"):
        build_cube(out, site="x", sources=sources(site))
    with pytest.raises(UsageError, match=r"c.zarr: already exists and was not made by eomm"):
        build_cube(out, site="x", sources=sources(site), overwrite=True)
    assert (out / "mine").exists()
    (out / "mine").unlink()
    for name in ("old", "x"):  # an empty folder and an earlier cube may be replaced
        build_cube(out, site=name, sources=sources(site)[1:], overwrite=True)
    assert open_cube(out).site == "x" and list(tmp_path.iterdir()) == [out]


def test_wrong_requests_are_refused(tmp_path, site):
    with pytest.raises(UsageError, match=r"no source given"):
        build_cube(tmp_path / "c", site="x", sources=[])
    with pytest.raises(UsageError, match=r"resampling 'best' is unknown; choose one of nearest"):
        build_cube(tmp_path / "c", site="x", sources=sources(site), resampling="best")
    with pytest.raises(UsageError, match=r"accept names everything, which is no check"):
        build_cube(tmp_path / "c", site="x", sources=sources(site), accept=("everything",))


def test_a_truncated_scene_is_named_and_nothing_is_left(tmp_path, site):
    shutil.copytree(site / "s1", tmp_path / "s1")
    last = sorted((tmp_path / "s1").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-4000])
    with pytest.raises(DataError, match=rf"{last.name}: not a readable GeoTIFF .*truncated"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path / "s1", mapping="simulated_s1")])
    assert [p.name for p in tmp_path.iterdir()] == ["s1"]


FULL = """
import sys
import types
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_build_cube import sources
from data_prep.cubes.build import build_cube
from eomm.errors import UsageError
try:
    build_cube({out!r}, site="x", sources=sources(Path({site!r})))
except UsageError as e:
    print(e)
print(sorted(p.name for p in Path({out!r}).parent.iterdir()))
"""


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, site):
    mount = ["unshare", "--mount", "--map-root-user"] if os.geteuid() else ["unshare", "--mount"]
    full = tmp_path / "full"
    full.mkdir()
    script = FULL.format(tests=os.path.dirname(__file__), out=str(full / "c.zarr"), site=str(site))
    command = (
        f"mount -t tmpfs -o size={{size}} tmpfs {full} && exec {sys.executable} -c '{script.replace(chr(39), chr(34))}'"
    )
    probe = subprocess.run([*mount, "sh", "-c", f"mount -t tmpfs -o size=64k tmpfs {full}"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no private tmpfs here: {probe.stderr.decode().strip()}")
    for size in ("64k", "400k"):  # full while masking, full while writing
        done = subprocess.run([*mount, "sh", "-c", command.format(size=size)], capture_output=True, text=True)
        assert "c.zarr: the disk is full; nothing unfinished was kept" in done.stdout, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"


def test_a_simulated_site_becomes_a_cube(tmp_path):
    from data_prep.simulate import simulate_site

    folder = simulate_site(
        tmp_path / "sim", site="sim", seed=1, start=date(2021, 5, 1), end=date(2021, 7, 15), size_px=48
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
