import dataclasses
import zipfile
from contextlib import ExitStack
from datetime import timedelta

import numpy as np
import pytest
import zarr

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import find_source, open_scenes
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_safe import START, numbers, write_safe
from tests.data_prep.tiny_scenes import NORTH, SIZE, WEST

MAPPING = load_mapping("safe_s2")
INNER = Grid(crs="EPSG:32631", transform=(10.0, 0.0, WEST + 100, 0.0, -10.0, NORTH - 60), height=12, width=16)


def scenes(path, window=None):
    with ExitStack() as stack:
        return open_scenes(find_source(path, MAPPING).files, MAPPING, stack, window)


def cube(out, folder, **options):
    path = build_cube(out, site="a", sources=[Source(path=folder, mapping="safe_s2")], **options)
    return zarr.open_group(path, mode="r")["s2"]


def test_a_product_is_what_its_metadata_say_folder_or_zip(tmp_path):
    write_safe(tmp_path / "folder", START)
    write_safe(tmp_path / "zip", START, zipped=True)
    (a,), (b,) = scenes(tmp_path / "folder"), scenes(tmp_path / "zip")
    assert b.file.suffix == ".zip" and a.file.suffix == ".SAFE"
    for s in (a, b):
        assert (s.platform, s.orbit, s.direction, s.time) == (
            "S2A",
            "R051",
            "descending",
            START.replace(microsecond=310000),
        )
        assert s.product == "S2A_MSIL2A_20200401T105421_N0213_R051_T31UDS_20200401T135421"
        assert s.incidence_deg == 7.6 and s.angles == {"sun_zenith": 46.25, "sun_azimuth": 161.5, "view_azimuth": 0.0}
        assert s.stated == {"level": "L2A", "baseline": "02.13"}
        assert {n.scale for n in s.numbers.values()} == {1e-4}
        assert s.grids["B02"].transform == (10.0, 0.0, WEST, 0.0, -10.0, NORTH) and s.grids["B11"].height == SIZE // 2
        np.testing.assert_allclose(s.read("B08"), numbers("B08", 6, SIZE, 0) * 1e-4, atol=1e-6)
        assert (s.read("mask") == 4).all()


def test_only_the_site_is_read(tmp_path):
    write_safe(tmp_path, START)
    (whole,), (part,) = scenes(tmp_path), scenes(tmp_path, INNER)
    grid = part.grids["B11"]
    assert (grid.height, grid.width, grid.transform[2]) == (13, 16, WEST + 20)
    np.testing.assert_array_equal(part.read("B11"), whole.read("B11")[0:13, 1:17])
    inner, outer = cube(tmp_path / "a.zarr", tmp_path, window=INNER), cube(tmp_path / "b.zarr", tmp_path)
    for name in ("values", "valid"):
        np.testing.assert_array_equal(inner[name][:], outer[name][:][:, 6:18, 10:26])


def test_the_offset_is_the_products_own_and_special_numbers_are_missing(tmp_path):
    def odd(band, values):
        if band == "B02":
            values[0, :4] = (0, 65535, 1, 900)
        return values

    write_safe(tmp_path / "old", START, edit=odd)
    write_safe(tmp_path / "new", START, baseline="05.10", edit=odd)
    (old,), (new,) = scenes(tmp_path / "old"), scenes(tmp_path / "new")
    np.testing.assert_allclose(old.read("B02")[0, :4], [np.nan, np.nan, np.nan, 0.09], atol=1e-6)  # 1: 0 or less
    np.testing.assert_allclose(new.read("B02")[0, :4], [np.nan, np.nan, -0.0999, -0.01], atol=1e-6)  # measured
    np.testing.assert_allclose(new.read("B8A"), old.read("B8A"), atol=1e-6)


def test_an_offset_may_differ_between_bands(tmp_path):
    def xml(text):
        return text.replace('<BOA_ADD_OFFSET band_id="11">-1000', '<BOA_ADD_OFFSET band_id="11">-900')

    write_safe(tmp_path, START, baseline="04.00", xml=xml)
    (scene,) = scenes(tmp_path)
    np.testing.assert_allclose(scene.read("B11"), numbers("B11", 8, SIZE // 2, 1000) * 1e-4 - 0.09, atol=1e-6)
    np.testing.assert_allclose(scene.read("B12"), numbers("B12", 9, SIZE // 2, 1000) * 1e-4 - 0.1, atol=1e-6)


def test_a_baseline_with_an_offset_that_names_none_is_refused(tmp_path):
    write_safe(tmp_path, START, baseline="04.00", xml=lambda text: text.replace("BOA_ADD_OFFSET", "OTHER"))
    with pytest.raises(ContractError, match=r"Products of baseline 04.00 and later carry \+1000"):
        cube(tmp_path / "a.zarr", tmp_path)


def test_tiles_of_a_datatake_are_merged_and_the_later_baseline_wins(tmp_path):
    """Two tiles that overlap, each in two baselines; read in any order they make one acquisition."""
    for k in range(2):
        when = START + timedelta(days=5 * k)
        write_safe(tmp_path, when, tile="31UDS", baseline="02.13", seed=1)
        write_safe(tmp_path, when, tile="31UES", baseline="02.13", seed=2, west=WEST + 200, plus_s=9)
        write_safe(tmp_path, when, tile="31UDS", baseline="05.00", seed=3)
    group = cube(tmp_path / "a.zarr", tmp_path)
    assert group["values"].shape[:3] == (2, SIZE, SIZE + 20)
    names = attributes_of(group)["acquisitions"][0]["product_ids"]
    assert len(names) == 3 and attributes_of(group)["acquisitions"][0]["datetime"].startswith("2020-04-01T10:54:21")
    blue = group["values"][0, :, :, 0]
    np.testing.assert_array_equal(blue[:, :SIZE], numbers("B02", 3, SIZE, 0))  # 05.00, also over the other tile's 02.13
    np.testing.assert_array_equal(blue[:, SIZE:], numbers("B02", 2, SIZE, 0)[:, SIZE - 20 :])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "S2MSI1C"}, ContractError, r"is of type S2MSI1C.*expected S2MSI2A \(L2A\)"),
        ({"xml": lambda t: t[:900]}, DataError, "MTD_MSIL2A.xml is not well-formed XML"),
        ({"xml": lambda t: t.replace("SPACECRAFT", "CRAFT")}, DataError, "its metadata lack SPACECRAFT_NAME"),
        (
            {"xml": lambda t: t.replace("ORBIT_NUMBER>51", "ORBIT_NUMBER>R051")},
            DataError,
            "SENSING_ORBIT_NUMBER is 'R051'",
        ),
        ({"quantification": "x"}, DataError, "BOA_QUANTIFICATION_VALUE is 'x', expected a number"),
        (
            {"xml": lambda t: t.replace("<n1:", '<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY c "&a;&a;">]><n1:', 1)},
            DataError,
            "declares a document type or entities",
        ),
    ],
)
def test_metadata_that_do_not_say_what_they_must_are_refused(tmp_path, change, error, message):
    write_safe(tmp_path, START, **change)
    with pytest.raises(error, match=rf"S2A_MSIL2A.*SAFE: .*{message}"):
        scenes(tmp_path)


def test_a_mapping_that_takes_something_else_for_a_band_is_refused(tmp_path):
    write_safe(tmp_path, START)
    mapping = dataclasses.replace(MAPPING, bands={**MAPPING.bands, "B02": "WVP_10m"})
    with ExitStack() as stack, pytest.raises(ContractError, match="'WVP_10m' is no band of a SAFE product"):
        open_scenes(find_source(tmp_path, MAPPING).files, mapping, stack)


def test_missing_and_truncated_images_are_named(tmp_path):
    root = write_safe(tmp_path, START)
    (band,) = root.rglob("*_B8A_20m.jp2")
    content = band.read_bytes()
    band.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"B8A_20m.jp2 (cannot be read|is not a readable image).*truncated"):
        scenes(tmp_path)[0].read("B8A")
    band.write_bytes(content[:40])
    with pytest.raises(DataError, match=r"B8A_20m.jp2 is not a readable image"):
        scenes(tmp_path)
    band.unlink()
    with pytest.raises(DataError, match=r"IMG_DATA/R20m has 0 images …_B8A_20m.jp2, expected one"):
        scenes(tmp_path)
    next(root.rglob("MTD_TL.xml")).unlink()
    with pytest.raises(DataError, match=r"no GRANULE/…/MTD_TL.xml"):
        scenes(tmp_path)
    (root / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(DataError, match=r"MTD_MSIL2A.xml is missing"):
        scenes(tmp_path)


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("../../evil.xml", 0, "leads out of it"),
        ("/etc/evil.xml", 0, "leads out of it"),
        ("S2A.SAFE\\evil.xml", 0, "leads out of it"),
        ("S2A.SAFE/link.jp2", 0o120777 << 16, "is a link"),
        ("S2A.SAFE/bomb.xml", None, "no product has"),
    ],
)
def test_zips_that_are_not_to_be_trusted_are_refused(tmp_path, name, attributes, message):
    path = write_safe(tmp_path, START, zipped=True)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = attributes or 0
        if "\\" in name:
            member.filename = name
        archive.writestr(member, b"x" if attributes is not None else bytes(5_000_000))
    with pytest.raises(DataError, match=rf"\.zip: .*{message}"):
        scenes(tmp_path)


def test_a_truncated_zip_and_radar_are_refused(tmp_path):
    path = write_safe(tmp_path, START, zipped=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"not a readable zip"):
        scenes(tmp_path)
    radar = tmp_path / "S1A_IW_GRDH_1SDV_20200401T172400_20200401T172425_031937_03AFD9_1234.SAFE"
    radar.mkdir()
    with pytest.raises(ContractError, match=r"neither calibrated nor .*sentinel-1-rtc.*HyP3.*sar_back"):
        scenes(radar)
