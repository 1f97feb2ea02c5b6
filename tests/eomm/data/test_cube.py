import dataclasses
import json
import shutil
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from eomm.data import cube as cube_module
from eomm.data.attributes import attributes_of
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2
from eomm.errors import ContractError, DataError, UsageError

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=70, width=66)


def source(modality=SENTINEL2, days=(100, 103, 108), grid=GRID, valid_fraction=1.0, seed=0):
    rng = np.random.default_rng(seed)
    low, high = (100, 4000) if modality.unit == "reflectance" else (-2000, -500)
    shape = (len(days), grid.height, grid.width)
    values = rng.integers(low, high, (*shape, len(modality.bands)), dtype=np.int16)
    valid = rng.random(shape) < valid_fraction
    values[~valid] = 0
    acquisitions = [
        Acquisition(day=d, platform="S2A", orbit="R051", direction="descending", product_ids=(f"p{d}",)) for d in days
    ]
    read = lambda i: (values[i], valid[i])  # noqa: E731
    return GroupSource(modality=modality, grid=grid, acquisitions=acquisitions, read=read), values, valid


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "site.zarr"
    s2, values, valid = source(days=tuple(range(100, 140)), valid_fraction=0.5)
    s1, *_ = source(SENTINEL1, days=(99, 105))
    write_cube(path, site="here", groups=[s2, s1], provenance={"made": "by test"})
    return path, values, valid


def test_a_site_of_many_shards_is_written_shard_by_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(cube_module, "CHUNK", (8, 32, 32))
    monkeypatch.setattr(cube_module, "SHARD", (16, 64, 64))
    grid = dataclasses.replace(GRID, height=200, width=210)

    def read(i):
        rng = np.random.default_rng(i)
        values = rng.integers(100, 4000, (200, 210, 10), dtype=np.int16)
        return values, np.broadcast_to(rng.random((200, 1)) < 0.9, (200, 210))

    acquisitions = [Acquisition(day=100 + i) for i in range(20)]
    source_ = GroupSource(modality=SENTINEL2, grid=grid, acquisitions=acquisitions, read=read)
    tracemalloc.start()
    path = write_cube(tmp_path / "c.zarr", site="a", groups=[source_], provenance={})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # 16 acquisitions are 13 MB, one is 0.8 MB, a shard 1.3 MB
    got, valid = open_cube(path)["s2"].read()
    for i in range(20):
        np.testing.assert_array_equal(got[i], read(i)[0])
        np.testing.assert_array_equal(valid[i], read(i)[1])
    assert {p.name for p in tmp_path.iterdir()} == {"c.zarr"}


def test_values_masks_and_metadata_come_back_exactly(cube):
    path, values, valid = cube
    opened = open_cube(path, expect={"s2": SENTINEL2, "s1": SENTINEL1})
    group = opened["s2"]
    got_values, got_valid = group.read()
    np.testing.assert_array_equal(got_values, values)
    np.testing.assert_array_equal(got_valid, valid)
    assert opened.site == "here" and group.grid == GRID and group.usable.all()
    assert group.acquisitions[3].product_ids == ("p103",)
    assert group.meta()["direction"].tolist() == [-1] * 40


@pytest.mark.parametrize("y", [slice(-5, 20), slice(60, 80), slice(10, 12), slice(-30, -10), slice(75, 90)])
@pytest.mark.parametrize("x", [slice(-7, 73), slice(60, 70)])
def test_a_window_beyond_the_cube_is_invalid_there_and_right_elsewhere(cube, y, x):
    path, values, valid = cube
    pad = ((0, 0), (100, 100), (100, 100))
    got_values, got_valid = open_cube(path)["s2"].read(slice(3, 9), y, x)
    at = (slice(3, 9), slice(y.start + 100, y.stop + 100), slice(x.start + 100, x.stop + 100))
    np.testing.assert_array_equal(got_valid, np.pad(valid, pad)[at])
    np.testing.assert_array_equal(got_values, np.pad(values, (*pad, (0, 0)))[at])


def test_plain_xarray_opens_a_group_with_dates_bands_and_crs(cube, tmp_path):
    path, values, _ = cube
    with xr.open_zarr(path, group="s2") as ds:  # without a warning: the suite makes them errors
        assert ds["values"].dims == ("time", "y", "x", "band") and "spatial_ref" in ds.coords
        np.testing.assert_array_equal(ds["values"].sel(time="1970-04-11", band="B04"), values[0, ..., 2])
        red = ds["values"].isel(time=slice(0, 2)).to_dataframe()["values"].xs("B04", level="band")
        np.testing.assert_array_equal(red, values[:2, ..., 2].ravel())
        ds.to_netcdf(tmp_path / "s2.nc")
        with xr.open_dataset(tmp_path / "s2.nc") as again:
            xr.testing.assert_equal(again, ds)
            assert attributes_of(again)["acquisitions"][0]["platform"] == "S2A"
        assert str(ds["day"].values[0])[:10] == "1970-04-11"
        assert "32631" in ds["spatial_ref"].attrs["crs_wkt"]
        np.testing.assert_array_equal(ds["values"][5].values, values[5])


def test_another_contract_is_refused_naming_the_difference(cube):
    with pytest.raises(ContractError, match="calibration: found 'rtc_gamma0', expected 'sigma0'"):
        open_cube(cube[0], expect={"s1": SENTINEL1_SIGMA0})


def test_two_acquisitions_with_one_key_are_refused_and_nothing_is_left(tmp_path):
    s2, *_ = source(days=(100, 100))
    with pytest.raises(DataError, match="two acquisitions of 1970-04-11"):
        write_cube(tmp_path / "c.zarr", site="x", groups=[s2], provenance={})
    assert list(tmp_path.iterdir()) == []


def test_an_all_cloud_series_is_refused(tmp_path):
    s2, *_ = source(valid_fraction=0.0)
    with pytest.raises(DataError, match="all cloud"):
        write_cube(tmp_path / "c.zarr", site="x", groups=[s2], provenance={})


def test_usable_is_decided_at_three_percent(tmp_path):
    grid = dataclasses.replace(GRID, height=10, width=10)
    s2, values, _ = source(grid=grid, days=(1, 2))
    counts = (2, 3)

    def read(i):
        valid = np.zeros((10, 10), bool)
        valid.flat[: counts[i]] = True
        return np.where(valid[..., None], values[i], 0).astype(np.int16), valid

    write_cube(tmp_path / "c.zarr", site="x", groups=[dataclasses.replace(s2, read=read)], provenance={})
    assert open_cube(tmp_path / "c.zarr")["s2"].usable.tolist() == [False, True]


def test_an_existing_cube_survives_a_failing_overwrite(tmp_path):
    path = tmp_path / "c.zarr"
    s2, values, _ = source()
    write_cube(path, site="x", groups=[s2], provenance={})
    with pytest.raises(UsageError, match="already exists"):
        write_cube(path, site="x", groups=[s2], provenance={})

    def fail(i):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cube(path, site="x", groups=[dataclasses.replace(s2, read=fail)], provenance={}, overwrite=True)
    np.testing.assert_array_equal(open_cube(path)["s2"].read()[0], values)
    assert [p.name for p in tmp_path.iterdir()] == ["c.zarr"]


def test_unfinished_foreign_or_missing_stores_are_refused(tmp_path, cube):
    with pytest.raises(DataError, match="does not exist"):
        open_cube(tmp_path / "none.zarr")
    (tmp_path / "dir").mkdir()
    with pytest.raises(DataError, match="without a finished store"):
        open_cube(tmp_path / "dir")
    import shutil

    half = tmp_path / "half.zarr"
    shutil.copytree(cube[0], half)
    meta = json.loads((half / "zarr.json").read_text())
    meta["attributes"]["eomm:complete"] = False
    (half / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="never finished"):
        open_cube(half)


def test_a_truncated_chunk_is_named(tmp_path, cube):
    import shutil

    path = tmp_path / "c.zarr"
    shutil.copytree(cube[0], path)
    shard = next(p for p in (path / "s2" / "values" / "c").rglob("*") if p.is_file())
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataError, match=r"s2.*damaged"):
        open_cube(path)["s2"].read()


# --- Damaged, or replaced -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["values", "valid", "usable", "day", "time", "band"])
def test_a_missing_file_is_refused(name, cube, tmp_path):
    shutil.copytree(cube[0], tmp_path / "c.zarr")
    files = (p for p in (tmp_path / "c.zarr" / "s2" / name / "c").rglob("*") if p.is_file())
    sorted(files)[-1].unlink()
    with pytest.raises(DataError, match=rf"c\.zarr/s2/{name}.*: missing; the store is damaged"):
        open_cube(tmp_path / "c.zarr")


def test_shards_of_nothing_have_no_file_and_are_not_missed(tmp_path):
    s2, values, valid = source(days=tuple(range(100, 170)))
    valid[32:64] = False
    read = lambda i: (values[i] * valid[i][..., None], valid[i])  # noqa: E731
    write_cube(tmp_path / "c.zarr", site="x", groups=[dataclasses.replace(s2, read=read)], provenance={})
    assert not [p for p in (tmp_path / "c.zarr" / "s2" / "valid" / "c" / "1").rglob("*") if p.is_file()]
    _, found = open_cube(tmp_path / "c.zarr")["s2"].read()
    np.testing.assert_array_equal(found, valid)


def test_every_flipped_bit_of_a_value_is_seen(cube, tmp_path):
    rng = np.random.default_rng(1)
    shutil.copytree(cube[0], tmp_path / "c.zarr")
    folders = [tmp_path / "c.zarr" / "s2" / name / "c" for name in ("values", "valid")]
    files = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())
    for i in range(30):
        file = files[i % len(files)]
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"c\.zarr.*damaged"):
            open_cube(tmp_path / "c.zarr")["s2"].read()
        file.write_bytes(whole)
    open_cube(tmp_path / "c.zarr")["s2"].read()


def test_a_cube_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "c.zarr"
    s2, *_ = source()
    write_cube(path, site="x", groups=[s2], provenance={"made": 1})
    opened = open_cube(path)["s2"]
    opened.read([0])
    waiting = opened.begin_read([1])
    write_cube(path, site="x", groups=[source(seed=1)[0]], provenance={"made": 2}, overwrite=True)
    for read in (waiting, lambda: opened.read([2]), opened.valid_fraction):
        with pytest.raises(DataError, match=r"c\.zarr: was replaced or removed while it was being read"):
            read()
    shutil.rmtree(path)
    with pytest.raises(DataError, match="replaced or removed"):
        opened.read([0])


def test_a_cube_of_a_later_eomm_is_refused(cube, tmp_path):
    shutil.copytree(cube[0], tmp_path / "c.zarr")
    head = tmp_path / "c.zarr" / "zarr.json"
    head.write_text(head.read_text().replace('"eomm:version": 2', '"eomm:version": 3'))
    with pytest.raises(DataError, match="an eomm cube of version 3; this eomm reads up to 2"):
        open_cube(tmp_path / "c.zarr")
