import dataclasses
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio.control
import rasterio.shutil
import xarray as xr

from data_prep.cubes.passes import find_overpasses, label_orbits
from data_prep.mappings.mapping import Mapping, load_mapping
from data_prep.readers import Scene, find_source, open_scenes
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError, UsageError
from tests.data_prep.tiny_scenes import (
    NAMES,
    NORTH,
    SIZE,
    START,
    TEN,
    WEST,
    reflectance,
    write_netcdf,
    write_s1,
    write_s2,
    write_tiff,
)

WATERY = Mapping(
    name="stack", reader="netcdf", modality="s1", files="*.nc", level="GRD", calibration="rtc_gamma0", unit="dB",
    bands={"VV": "vv", "VH": "vh"}, scale=0.01, fill=(65534,), time="t", platform="S1A", direction="ascending",
    orbit_cycle_days=6,
)  # fmt: skip
TIMES = ["2019-04-01T17:32:05", "2019-04-06T17:40:02", "2019-04-07T17:32:58", "2019-04-13T17:33:01"]


def scenes(path, mapping, stack):
    mapping = load_mapping(mapping) if isinstance(mapping, str) else mapping
    return open_scenes(find_source(path, mapping).files, mapping, stack)


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


def test_a_geotiff_scene_is_what_its_tags_and_descriptions_say(tmp_path, stack):
    stem = write_s2(tmp_path / "s2", START, tags={"VIEW_ZENITH": "7.9"})
    found = scenes(tmp_path, "simulated_s2", stack)
    assert [s.product for s in found] == [f"{stem}_{x}" for x in ("10m", "20m", "SCL")]
    ten, twenty, scl = found
    assert (ten.platform, ten.orbit, ten.direction, ten.time) == ("S2A", "R051", "descending", START)
    assert ten.simulated and ten.incidence_deg == 7.9 and ten.stated == {"level": "L2A"}
    assert list(ten.grids) == ["B02", "B03", "B04", "B08"] and "B8A" in twenty.grids
    assert ten.grids["B02"].transform == (10.0, 0.0, WEST, 0.0, -10.0, NORTH)
    assert twenty.grids["B05"].transform[0] == 20.0
    assert ten.read("B08").dtype == np.float32 and 0.3 < ten.read("B08")[:, :20].mean() < 0.38
    assert (scl.read("mask") == 4).all()


def test_geotiff_bands_are_found_by_description_in_any_order(tmp_path, stack):
    arrays = {n: np.full((4, 4), k + 1, np.float32) for k, n in enumerate(("VH", "angle", "VV"))}
    tags = {"DATETIME": "2019-04-01T17:32:00+00:00"}
    write_tiff(tmp_path / "S1.tif", list(arrays.values()), names=list(arrays), gsd=10, tags=tags, nodata=np.nan)
    (scene,) = scenes(tmp_path, "simulated_s1", stack)
    assert scene.read("VV")[0, 0] == 3 and scene.read("VH")[0, 0] == 1


def test_no_data_is_missing_and_a_stated_offset_is_applied(tmp_path, stack):
    write_s2(tmp_path, START, offset_dn=1000, tags={"BOA_OFFSET": "-1000"})
    write_s2(tmp_path, START + timedelta(days=5))
    found = [s for s in scenes(tmp_path, "simulated_s2", stack) if "B02" in s.grids]
    np.testing.assert_allclose(found[0].read("B02"), found[1].read("B02"), atol=1e-6)
    hole = np.array([[0, 500], [700, 0]], np.uint16)
    tags = {"DATETIME": "2019-04-01T10:54:21"}
    write_tiff(tmp_path / "x" / "S2_hole.tif", [hole], names=["B02"], gsd=10, tags=tags)
    (scene,) = scenes(tmp_path / "x", "simulated_s2", stack)
    np.testing.assert_allclose(scene.read("B02"), [[np.nan, 0.05], [0.07, np.nan]], atol=1e-6)


def write_tile_files(folder, when, *, west=WEST, tile="31UDS"):
    for band in (*NAMES, "SCL"):
        gsd = 10 if band in TEN else 20
        values = np.full((SIZE * 10 // gsd,) * 2, 4, np.uint8)
        if band != "SCL":
            values = np.rint(reflectance(band, NAMES.index(band), SIZE * 10 // gsd) * 1e4).astype(np.uint16)
        stem = f"T{tile}_{when:%Y%m%dT%H%M%S}_{band}"
        write_tiff(folder / f"{stem}_{gsd}m.tif", [values], names=[None], gsd=gsd, west=west)
        if gsd == 10:  # as beside the 20 m bands of a product
            write_tiff(folder / f"{stem}_20m.tif", [values[::2, ::2]], names=[None], gsd=20, west=west)


def test_one_file_per_band_is_told_by_its_name(tmp_path, stack):
    for tile in ("31UDS", "31UES"):
        write_tile_files(tmp_path / tile, START, tile=tile)
    found = scenes(tmp_path, "tile_files_s2", stack)
    assert len(found) == 22 and {s.time for s in found} == {START}
    (overpass,) = find_overpasses(found)
    assert overpass.acquisition.product_ids == ("T31UDS_20190401T105421", "T31UES_20190401T105421")
    first, second = overpass.products
    assert len(first) == len(second) == 11 and first["B02"].grids["B02"].transform[0] == 10
    assert {s.file.parent.name for s in first.values()} == {"31UDS"}
    np.testing.assert_allclose(first["B8A"].read("B8A"), reflectance("B8A", 7, SIZE // 2), atol=1e-4)
    for text, message in (("(?P<bnd>B..)", "groups of band, time"), ("(", "no regular expression")):
        with pytest.raises(ContractError, match=message):
            dataclasses.replace(load_mapping("tile_files_s2"), in_name=text)


def test_radar_geometry_is_refused_with_a_place_where_gamma0_is_had(tmp_path, stack):
    path = tmp_path / "S1_measurement.tif"
    points = [rasterio.control.GroundControlPoint(r, c, 3 + c / 100, 50 - r / 100) for r in (0, 4) for c in (0, 4)]
    profile = dict(driver="GTiff", height=4, width=4, count=1, dtype="uint16")
    with rasterio.open(path, "w", **profile, gcps=points, crs="EPSG:4326") as file:
        file.write(np.ones((4, 4), np.uint16), 1)
    with pytest.raises(ContractError, match=r"control points instead of a grid.*sentinel-1-rtc.*HyP3.*sar_backscatter"):
        scenes(tmp_path, "simulated_s1", stack)


@pytest.mark.parametrize(
    ("names", "tags", "error", "message"),
    [
        (
            ["", ""],
            {"DATETIME": "2019-04-01T00:00:00"},
            ContractError,
            "described as None, None; expected some of VV VH",
        ),
        (["VV", "VH"], {}, DataError, "no tag DATETIME; expected the tags PLATFORM, DATETIME"),
        # when the file was written is no acquisition's date
        (["VV", "VH"], {"TIFFTAG_DATETIME": "2020:01:05 10:00:00"}, DataError, "no tag DATETIME"),
        (
            ["VV", "VH"],
            {"DATETIME": "2020-01-05", "INCIDENCE_DEG": "steep"},
            DataError,
            "tag INCIDENCE_DEG is 'steep', expected a number",
        ),
        (["VV", "VH"], {"DATETIME": "soon"}, DataError, "tag DATETIME: 'soon' is no day; expected YYYY-MM-DD"),
    ],
)
def test_a_geotiff_that_does_not_say_what_it_is_is_refused(tmp_path, stack, names, tags, error, message):
    write_tiff(tmp_path / "S1.tif", [np.ones((4, 4), np.float32)] * 2, names=names, gsd=10, tags=tags)
    with pytest.raises(error, match=rf"S1.tif: .*{message}"):
        scenes(tmp_path, "simulated_s1", stack)


def test_empty_and_truncated_geotiffs_are_named(tmp_path, stack):
    path = write_s1(tmp_path / "good", START)
    (tmp_path / "S1_empty.tif").touch()
    with pytest.raises(DataError, match=r"S1_empty.tif: not a readable GeoTIFF.*empty, truncated"):
        scenes(tmp_path / "S1_empty.tif", "simulated_s1", stack)
    cut = tmp_path / "S1_cut.tif"
    cut.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"S1_cut.tif: not a readable GeoTIFF"):
        scenes(cut, "simulated_s1", stack)
    rasterio.shutil.copy(path, tmp_path / "whole.tif", driver="COG")  # its directory comes first: opens, then fails
    cut.write_bytes((tmp_path / "whole.tif").read_bytes()[:-3000])
    (scene,) = scenes(cut, "simulated_s1", stack)
    with pytest.raises(DataError, match=r"S1_cut.tif: V. cannot be read .*truncated or damaged"):
        scene.read("VV"), scene.read("VH")


def netcdf(path, **kwargs):
    vv = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    variables = {
        "vv": ((vv - 2000).astype(np.int16), {}),
        "vh": (vv.astype(np.int16), {"_Unsigned": "true", "missing_value": np.int16(-1)}),
    }
    variables["vh"][0][0, 0, :2] = (-1, -2)  # 65535 and 65534 when read as it was meant
    return write_netcdf(path, variables=variables, times=TIMES, time="t", **kwargs), vv


@pytest.mark.parametrize("south_up", [False, True])
def test_a_netcdf_stack_is_read_raw_north_up_and_unsigned(tmp_path, stack, south_up):
    path, vv = netcdf(tmp_path / "a.nc", south_up=south_up)
    found = scenes(path, WATERY, stack)
    assert [s.time.isoformat() for s in found] == TIMES
    assert found[0].grids["VV"].transform == (10.0, 0.0, WEST, 0.0, -10.0, NORTH) and found[0].grids["VV"].height == 6
    for i, scene in enumerate(found):
        np.testing.assert_allclose(scene.read("VV"), (vv[i] - 2000) * 0.01, atol=1e-5)
    vh = found[0].read("VH")
    assert np.isnan(vh[0, :2]).all() and np.isfinite(vh).sum() == 46
    np.testing.assert_allclose(vh[1], vv[0, 1] * 0.01, atol=1e-6)


def test_a_long_stack_is_read_the_same_block_by_block(tmp_path, stack, monkeypatch):
    path, vv = netcdf(tmp_path / "a.nc")
    monkeypatch.setattr("data_prep.readers.stack.BLOCK_PIXELS", 6 * 8 * 3)
    found = scenes(path, WATERY, stack)
    for i in (3, 0, 2, 1):
        np.testing.assert_allclose(found[i].read("VV"), (vv[i] - 2000) * 0.01, atol=1e-5)


@pytest.mark.parametrize("size", [0, 300, 6000])
def test_empty_and_truncated_netcdf_files_are_named(tmp_path, stack, size):
    path, _ = netcdf(tmp_path / "a.nc")
    cut = tmp_path / "cut.nc"
    cut.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"cut.nc: not a readable NetCDF4 file .*empty, truncated"):
        scenes(cut, WATERY, stack)


def test_a_netcdf_file_that_does_not_fit_its_mapping_is_refused(tmp_path, stack):
    path, _ = netcdf(tmp_path / "a.nc")
    with pytest.raises(ContractError, match=r"a.nc: holds vv vh, expected some of B02 .*correct \[bands\]"):
        scenes(path, "worldcereal_s2", stack)
    write_netcdf(tmp_path / "b.nc", variables={"vv": (np.ones((4, 6, 8)), {})}, times=TIMES, time="when")
    with pytest.raises(ContractError, match=r"b.nc: no time coordinate 't' .*correct `time`"):
        scenes(tmp_path / "b.nc", WATERY, stack)
    with xr.open_dataset(path) as data:
        data.drop_attrs(deep=False).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(ContractError, match=r"c.nc: states no CRS"):
        scenes(tmp_path / "c.nc", WATERY, stack)


def test_a_single_pixel_needs_its_size_from_the_mapping(tmp_path, stack):
    path = tmp_path / "a.nc"
    write_netcdf(path, variables={"vv": (np.ones((4, 1, 1)), {})}, times=TIMES, time="t", gsd=1000)
    with pytest.raises(ContractError, match=r"a.nc: 1 x 1 pixel centres .*`gsd_m` of mapping 'stack'"):
        scenes(path, WATERY, stack)
    found = scenes(path, dataclasses.replace(WATERY, gsd_m=1000), stack)
    assert found[2].grids["VV"] == Grid(crs="EPSG:32631", transform=(1000, 0, WEST, 0, -1000, NORTH), height=1, width=1)
    np.testing.assert_allclose(found[2].read("VV"), [[0.01]])


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(DataError, match=r"none: does not exist"):
        find_source(tmp_path / "none", WATERY)
    with pytest.raises(DataError, match=r"no file named \*.nc, which mapping 'stack' expects"):
        find_source(tmp_path, WATERY)


def test_mappings_load_by_name_or_path_and_name_unknown_keys(tmp_path):
    assert load_mapping("worldcereal_s2").mask.clear == (4, 5, 6)
    own = tmp_path / "mine.toml"
    own.write_text('reader = "netcdf"\nmodalty = "s2"\n')
    with pytest.raises(ContractError, match=r"mine.toml: unknown key modalty; expected only name, reader"):
        load_mapping(own)
    own.write_text('reader = "netcdf"\n')
    with pytest.raises(ContractError, match=r"mine.toml: key modality, files, .* missing"):
        load_mapping(own)
    own.write_text("reader = \n")
    with pytest.raises(DataError, match=r"mine.toml: not valid TOML"):
        load_mapping(own)
    with pytest.raises(UsageError, match=r"neither a file nor a shipped mapping; shipped are .*, safe_s2, "):
        load_mapping("sentinel9")


OWN = """
reader = "netcdf"
files = "*.nc"
[modality]
name = "soil"
unit = "m3 m-3"
level = "daily"
calibration = "none"
bands = [{ name = "moisture", gsd_m = 9000, scale = 1e-4, valid_min = 0, valid_max = 1 }]
"""


def test_a_mapping_may_hold_a_modality_of_its_own(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    mapping = load_mapping(own)
    assert mapping.contract.name == "soil" and mapping.contract.bands[0].valid_max == 1
    assert (mapping.unit, mapping.level, dict(mapping.bands)) == ("m3 m-3", "daily", {"moisture": "moisture"})
    own.write_text(OWN.replace("[modality]", '[bands]\nmoisture = "swvl1"\n[modality]'))
    assert load_mapping(own).layers == {"moisture": "swvl1"}
    for old, new, message in [
        ("gsd_m", "gsd", r"own.toml, \[modality\], band 1: unknown key gsd"),
        ("level =", "levl =", r"own.toml, \[modality\]: unknown key levl"),
        ("1e-4", "1e-5", r"modality 'soil', band moisture: the range .* does not fit int16"),
        ('"soil"', '"site"', r"modality 'site': expected a name"),
        ("[modality]", 'unit = "percent"\n[modality]', r"unit is percent, expected one of m3 m-3"),
        ("[modality]", '[mask]\nvariable = "q"\nclear = [1]\n[modality]', "mask.haze is true, expected false"),
        (OWN[OWN.index("bands") :], "", r"own.toml, \[modality\]: bands is \(\), expected a list"),
        (
            "scale = 1e-4",
            'scale = "small"',
            r"own.toml, \[modality\], band 1: scale is 'small', expected a finite number",
        ),
        ("scale = 1e-4", "scale = 0", r"own.toml, \[modality\]: a value is of the wrong kind"),
    ]:
        own.write_text(OWN.replace(old, new))
        with pytest.raises(ContractError, match=message):
            load_mapping(own)


def fake(time, *, name="a.tif", layers=("VV", "VH"), grid=None, **fields):
    grid = grid or Grid(crs="EPSG:32631", transform=(10.0, 0.0, WEST, 0.0, -10.0, NORTH), height=SIZE, width=SIZE)
    mapping = fields.pop("mapping", load_mapping("simulated_s1"))
    return Scene(
        product=name, file=Path(name), time=datetime.fromisoformat(time),
        mapping=mapping, grids=dict.fromkeys(layers, grid), read=lambda layer: None, named=True, **fields,
    )  # fmt: skip


def test_orbits_without_a_name_are_told_by_their_repeat_cycle():
    found = label_orbits([fake(t, mapping=WATERY, direction="ascending") for t in TIMES])
    assert found == ["ascending 17:32", "ascending 17:40", "ascending 17:32", "ascending 17:32"]


def test_files_of_one_pass_are_one_acquisition():
    a, b = fake("2019-04-01T17:32:05", name="a", layers=("VV",)), fake("2019-04-01T17:32:05", name="b", layers=("VH",))
    (overpass,) = find_overpasses([b, a])
    assert overpass.acquisition.product_ids == ("a", "b") and len(overpass.products) == 1


def test_two_products_of_one_pass_are_kept_apart_and_the_later_comes_last():
    one, two = fake("2019-04-01T17:32:05", name="a"), fake("2019-04-01T17:32:30", name="b")
    (overpass,) = find_overpasses([two, one])
    assert [p["VV"].product for p in overpass.products] == ["a", "b"]
    assert overpass.acquisition.datetime == "2019-04-01T17:32:05"


def test_two_passes_with_one_key_are_refused_and_told_apart_by_platform():
    one, two = fake("2019-04-01T05:58:00", name="a"), fake("2019-04-01T17:32:30", name="b")
    with pytest.raises(DataError, match=r"a \(2019-04-01 05:58 UTC\) and b .*two overpasses.*State platform and orbit"):
        find_overpasses([one, two])
    found = find_overpasses([fake("2019-04-01T05:58:00", orbit="D010"), fake("2019-04-01T17:32:30", orbit="A088")])
    assert [o.acquisition.orbit for o in found] == ["A088", "D010"]


def test_missing_bands_are_named_with_date_and_file():
    with pytest.raises(
        DataError, match=r"a.tif \(2019-04-01 17:32 UTC\): bands VH are missing; found VV, expected VV VH"
    ):
        find_overpasses([fake("2019-04-01T17:32:05", layers=("VV",))])
