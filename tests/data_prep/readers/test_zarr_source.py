"""Zarr cubes of others, written here as their makers' code does."""

import json
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from pyproj import CRS

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import find_source, open_scenes
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_scenes import NAMES, NORTH, SIZE, WEST, reflectance

S2_TIMES = pd.date_range("2020-04-01T10:54:21", periods=6, freq="5D")
S1_TIMES = pd.date_range("2020-04-02T17:32:05", periods=4, freq="6D")
WKT = CRS.from_epsg(32631).to_wkt()
INNER = Grid(crs="EPSG:32631", transform=(10.0, 0.0, WEST + 100, 0.0, -10.0, NORTH - 100), height=10, width=12)


def stack(seed, scale=1.0):
    """[time, band, y, x] of reflectance."""
    return np.stack(
        [[reflectance(b, seed + 10 * t + k) * scale for k, b in enumerate(NAMES)] for t in range(len(S2_TIMES))]
    )


def write_sentle(path, *, centre=False):
    """As sentle.setup_zarr_storage lays a store out: Zarr version 3, newest first, corners, strings."""
    labels = [*NAMES, "S2_cloud_classification", "vv_asc", "vh_asc"]
    times = sorted([*S2_TIMES, *S1_TIMES], reverse=True)
    values = np.full((len(times), len(labels), SIZE, SIZE), np.nan, np.float32)
    optical = np.rint(stack(0, 1e4))
    for t, when in enumerate(S2_TIMES):
        i = times.index(when)
        values[i, :10], values[i, 10] = optical[t], 0
    values[times.index(S2_TIMES[0]), 10, :8, :8] = 2
    rng = np.random.default_rng(1)
    for when in S1_TIMES:
        values[times.index(when), 11:] = rng.gamma(5, 0.02, (2, SIZE, SIZE))
    root = zarr.group(path, zarr_format=3)
    root.attrs["crs_wkt"] = WKT
    names = ["time", "band", "y", "x"]
    root.create_array("sentle", data=values, chunks=(3, 10, 20, 20), dimension_names=names)
    half = 5 if centre else 0
    for axis, data in (
        ("x", WEST + half + 10 * np.arange(SIZE)),
        ("y", NORTH - half - 10 * np.arange(SIZE)),
    ):
        array = root.create_array(axis, data=data.astype(np.float32), dimension_names=[axis])
        array.attrs["coord_save_mode"] = "center" if centre else "top-left"
    seconds = np.array([int((t - pd.Timestamp(0)).total_seconds()) for t in times])
    time = root.create_array("time", data=seconds, dimension_names=["time"])
    time.attrs.update({"calendar": "proleptic_gregorian", "units": "seconds since 1970-01-01 00:00:00"})
    band = root.create_array("band", shape=(len(labels),), dtype=str, dimension_names=["band"])
    band[:] = np.array(labels)
    return path


def write_deepfeatures(path, *, zarr_format, south_up=False, scale=1.0):
    y = NORTH - 5 - 10.0 * np.arange(SIZE)
    mask = np.zeros((len(S2_TIMES), SIZE, SIZE), np.uint8)
    mask[0, :8, :8] = 1
    data = xr.Dataset(
        {
            "s2l2a": (("band", "time", "y", "x"), stack(0, scale).astype(np.float32).swapaxes(0, 1)),
            "cloud_mask": (("time", "y", "x"), mask),
        },
        coords={"band": list(NAMES), "time": S2_TIMES, "y": y, "x": WEST + 5 + 10.0 * np.arange(SIZE)},
    )
    data["spatial_ref"] = xr.DataArray(0, attrs={"crs_wkt": WKT})
    data["s2l2a"].values[0, 1, 3, 4] = np.nan
    (data.isel(y=slice(None, None, -1)) if south_up else data).to_zarr(path, zarr_format=zarr_format)
    return path


# zarr 3 says that its strings are not specified yet, and xarray that metadata are not consolidated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
]


def scenes(path, mapping, window=None):
    with ExitStack() as opened:
        mapping = load_mapping(mapping)
        found = open_scenes(find_source(path, mapping).files, mapping, opened, window)
        return [(s, {layer: s.read(layer) for layer in s.grids}) for s in found]


@pytest.mark.parametrize("centre", [False, True])
def test_a_cube_of_sentle_has_the_scenes_of_one_sensor_in_each_mapping(tmp_path, centre):
    path = write_sentle(tmp_path / "a.zarr", centre=centre)
    optical = scenes(path, "sentle_s2")
    assert [s.time for s, _ in optical] == list(reversed(S2_TIMES.to_pydatetime()))
    first, layers = optical[-1]
    assert first.grids["B02"].transform == (10.0, 0.0, WEST, 0.0, -10.0, NORTH)
    np.testing.assert_allclose(layers["B8A"], np.rint(reflectance("B8A", 7) * 1e4) * 1e-4, atol=1e-6)
    assert (layers["mask"][:8, :8] == 3).all() and (layers["mask"][8:] == 1).all()
    radar = scenes(path, "sentle_s1_ascending")
    assert len(radar) == 4 and radar[0][0].direction == "ascending" and 0.05 < radar[0][1]["VH"].mean() < 0.2
    with pytest.raises(ContractError, match=r"expected some of sentle\[vv_desc\] sentle\[vh_desc\]"):
        scenes(path, "sentle_s1_descending")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("south_up", [False, True])
def test_a_cube_of_deepfeatures_becomes_ours(tmp_path, zarr_format, south_up):
    path = write_deepfeatures(tmp_path / "a.zarr", zarr_format=zarr_format, south_up=south_up)
    out = build_cube(tmp_path / "out.zarr", site="a", sources=[Source(path=path, mapping="deepfeatures_s2")])
    group = zarr.open_group(out, mode="r")["s2"]
    assert group["values"].shape == (6, SIZE, SIZE, 10)
    kept = group["valid"][1]
    assert not kept[3, 4] and kept.mean() > 0.95  # the NaN
    expected = np.rint(reflectance("B02", 10) * 1e4)
    np.testing.assert_array_equal(group["values"][1][..., 0][kept], expected[kept])
    assert not group["valid"][0, :8, :8].any() and attributes_of(group)["acquisitions"][0]["cloud_fraction"] == 0.04


def test_only_what_lies_near_the_site_is_read(tmp_path):
    path = write_sentle(tmp_path / "a.zarr")
    (scene, layers), *_ = scenes(path, "sentle_s2", INNER)
    grid = scene.grids["B02"]
    assert (grid.height, grid.width) == layers["B02"].shape == (26, 28)  # 80 m around the site
    whole = scenes(path, "sentle_s2")[0][1]["B02"]
    np.testing.assert_array_equal(layers["B02"], whole[2:28, 2:30])


def test_digital_numbers_in_a_cube_of_reflectance_are_found(tmp_path):
    path = write_deepfeatures(tmp_path / "a.zarr", zarr_format=2, scale=1e4)
    with pytest.raises(ContractError, match="these look like digital numbers"):
        build_cube(tmp_path / "out.zarr", site="a", sources=[Source(path=path, mapping="deepfeatures_s2")])


def test_stores_that_would_unpickle_are_refused(tmp_path):
    path = write_deepfeatures(tmp_path / "a.zarr", zarr_format=2)
    metadata = json.loads((path / "cloud_mask" / ".zarray").read_text())
    (path / "cloud_mask" / ".zarray").write_text(json.dumps(metadata | {"dtype": "|O", "filters": [{"id": "pickle"}]}))
    with pytest.raises(DataError, match=r"cloud_mask/.zarray: holds Python objects .*refused"):
        scenes(path, "deepfeatures_s2")
    (path / "cloud_mask" / ".zarray").write_text(json.dumps(metadata | {"dtype": "|O", "filters": None}))
    with pytest.raises(DataError, match="holds Python objects"):
        scenes(path, "deepfeatures_s2")
    for damaged, message in (("{", "not readable"), ("[]", "it is a list, expected a table")):
        (path / "cloud_mask" / ".zarray").write_text(damaged)
        with pytest.raises(DataError, match=message):
            scenes(path, "deepfeatures_s2")
    (path / "cloud_mask" / ".zarray").write_text(json.dumps(metadata))
    assert scenes(path, "deepfeatures_s2")
    together = json.loads((path / ".zmetadata").read_text())  # which is what is opened
    together["metadata"]["cloud_mask/.zarray"] |= {"dtype": "|O", "filters": None}
    (path / ".zmetadata").write_text(json.dumps(together))
    with pytest.raises(DataError, match=r"\.zmetadata: holds Python objects"):
        scenes(path, "deepfeatures_s2")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(DataError, match=r"b.zarr: holds neither .zarray nor zarr.json"):
        scenes(tmp_path / "b.zarr", "deepfeatures_s2")
