"""What an embedding cube is to its readers: xarray alone, eomm, and whoever finds it damaged or replaced."""

import shutil

import numpy as np
import pandas as pd
import pytest
import rioxarray
import xarray as xr

from eomm.data.arrays import finish
from eomm.data.attributes import attributes_of, to_deep, to_flat
from eomm.data.grid import Grid
from eomm.embedding.store import Layout, Writer, create, open_embedding
from eomm.errors import DataError

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=20, width=40)
DAYS = np.arange(17000, 17000 + 3 * 40, 3, dtype=np.int32)
LENGTH = 6
MODEL = {"eomm:model": "0123", "eomm:cube": "4567", "site": "here"}
PROVENANCE = {"provenance": {"simulated": True, "clear_only": True, "versions": {"eomm": "0"}, "none": None}}


def write(path, *, dtype="int8", scale=0.25, emptied=()):
    """A finished store of random vectors, three shards of dates, and its stored vectors and mask."""
    rng = np.random.default_rng(0)
    shape = (len(DAYS), GRID.height, GRID.width)
    valid = rng.random(shape) < 0.7
    for dates in emptied:
        valid[dates] = False
    stored = rng.integers(-127, 128, (*shape, LENGTH)).astype(np.int8)
    vectors = stored if dtype == "int8" else (stored / 8).astype(dtype)
    missing = np.asarray(-128 if dtype == "int8" else np.nan, dtype)
    vectors = np.where(valid[..., None], vectors, missing)
    layout = Layout(
        grid=GRID,
        day=DAYS,
        length=LENGTH,
        dtype=dtype,
        scale=np.broadcast_to(np.float32(scale), (LENGTH,)) if dtype == "int8" else None,
        block=(16, 32),
        observations=("s2",),
        offsets=("s1",),
        clear_only=True,
        error_unit=("reflectance", 1e-4),
    )
    create(path, layout, {**MODEL, **PROVENANCE, "acquisitions": [{"day": 1, "orbit": None}]})
    layers = {
        "embedding": vectors,
        "valid": valid,
        "flags": np.where(valid, 0, 2).astype(np.uint8),
        "expected_error": np.where(valid, 70, 65535).astype(np.uint16),
        "observations_s2": np.full(shape, 9, np.uint8),
        "s1_offset_days": np.where(valid, -3, -32768).astype(np.int16),
    }
    with Writer(path) as writer:
        for start in range(0, len(DAYS), 16):
            for y, x in ((y, x) for y in (0, 16) for x in (0, 32)):
                dates, rows, cols = slice(start, min(start + 16, len(DAYS))), slice(y, y + 16), slice(x, x + 32)
                part = {n: a[dates, rows, cols] for n, a in layers.items()}
                writer.write(part, dates, rows, cols, lambda: None)
        writer.finish()
    finish(path, {"quantisation": {"clipped": 3}})
    return vectors, valid


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A store whose vectors have one scale."""
    path = tmp_path_factory.mktemp("one") / "e.zarr"
    return path, *write(path)


# --- Read by xarray alone -------------------------------------------------------------------------------------------


def test_plain_xarray_gives_vectors_and_nan_where_one_scale_serves(one):
    path, stored, valid = one
    with xr.open_zarr(path) as ds:  # without a warning: the suite makes them errors
        assert ds["embedding"].dims == ("time", "y", "x", "feature") and "embedding" in ds.data_vars
        want = np.where(valid[..., None], stored * 0.25, np.nan)
        np.testing.assert_array_equal(ds["embedding"], want)
        np.testing.assert_allclose(ds.mean("time")["embedding"], np.nanmean(want, axis=0), atol=1e-12)
        np.testing.assert_array_equal(ds["embedding"].sel(feature=3), want[..., 3])
        np.testing.assert_array_equal(ds["embedding"].sel(feature=slice(0, 2)), want[..., :3])
        np.testing.assert_array_equal(np.isnan(ds["expected_error"]), ~valid)
        np.testing.assert_array_equal(np.isnan(ds["s1_offset_days"]), ~valid)


def test_plain_xarray_of_several_scales_gives_what_is_stored_and_says_so(tmp_path):
    scale = np.linspace(0.1, 0.2, LENGTH)
    stored, valid = write(tmp_path / "e.zarr", scale=scale)
    with xr.open_zarr(tmp_path / "e.zarr") as ds:
        np.testing.assert_array_equal(ds["embedding"], np.where(valid[..., None], stored, np.nan))
        assert "multiply by embedding_scale" in ds["embedding"].attrs["comment"]
        vectors = ds["embedding"] * ds["embedding_scale"]
    np.testing.assert_allclose(vectors, open_embedding(tmp_path / "e.zarr")["embedding"], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_plain_xarray_gives_floats_as_they_are(dtype, tmp_path):
    stored, _ = write(tmp_path / "e.zarr", dtype=dtype)
    with xr.open_zarr(tmp_path / "e.zarr") as ds:
        assert ds["embedding"].dtype == dtype
        np.testing.assert_array_equal(ds["embedding"], stored)
    np.testing.assert_array_equal(open_embedding(tmp_path / "e.zarr")["embedding"], stored)
    assert np.isnan(stored).any()


@pytest.mark.parametrize("reader", [xr.open_zarr, open_embedding])
def test_it_goes_through_netcdf(reader, one, tmp_path):
    path, *_ = one
    with reader(path) as ds:
        ds.to_netcdf(tmp_path / "e.nc")
        with xr.open_dataset(tmp_path / "e.nc") as again:
            xr.testing.assert_equal(again, ds)
            assert attributes_of(again)["provenance"] == PROVENANCE["provenance"]
            assert attributes_of(again)["quantisation"] == {"clipped": 3} and again.attrs["eomm:model"] == "0123"
            assert again["flags"].attrs["flag_meanings"] == "edge clouded alone sparse"


@pytest.mark.parametrize("reader", [xr.open_zarr, open_embedding])
def test_it_goes_through_a_data_frame(reader, one):
    path, stored, valid = one
    with reader(path) as ds:
        table = ds.isel(time=slice(0, 3)).to_dataframe()
    assert isinstance(table, pd.DataFrame) and set(table.index.names) == {"time", "y", "x", "feature"}
    want = np.where(valid[..., None], stored * 0.25, np.nan)[:3]
    found = table["embedding"].to_xarray().transpose("time", "y", "x", "feature").sel(y=GRID.y, x=GRID.x)
    np.testing.assert_allclose(found, want)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray 0.19 with affine 3
@pytest.mark.parametrize("reader", [xr.open_zarr, open_embedding])
def test_it_goes_through_rioxarray(reader, one, tmp_path):
    path, stored, valid = one
    with reader(path) as ds:
        one_date = ds["embedding"].isel(time=2).transpose("feature", "y", "x").astype(np.float32)
        assert one_date.rio.crs.to_epsg() == 32631
        assert tuple(one_date.rio.transform())[:6] == GRID.transform
        one_date.rio.to_raster(tmp_path / "map.tif")
    with rioxarray.open_rasterio(tmp_path / "map.tif") as again:
        assert again.rio.crs.to_epsg() == 32631 and tuple(again.rio.transform())[:6] == GRID.transform
        want = np.where(valid[2, ..., None], stored[2] * 0.25, np.nan)
        np.testing.assert_array_equal(again, np.moveaxis(want, -1, 0))


@pytest.mark.parametrize(
    "value", [{"a": [1, None]}, [], [1, "a"], None, True, [{"b": 1}], ["x"] * 5000, float("1e300")]
)
def test_attributes_of_any_depth_come_back(value, tmp_path):
    flat = to_flat({"plain": "text", "deep": value, "numbers": [1, 2.5]})
    xr.Dataset(attrs=flat).to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        found = to_deep(ds.attrs)
    assert found["plain"] == "text" and found["deep"] == value and list(found["numbers"]) == [1, 2.5]


# --- Read by us -----------------------------------------------------------------------------------------------------


def test_what_is_not_valid_is_nan_unless_asked_for(one):
    path, stored, valid = one
    ds, raw = open_embedding(path), open_embedding(path, decode=False)
    want = np.where(valid[..., None], stored * np.float32(0.25), np.nan)
    assert ds["embedding"].dtype == np.float32 and raw["embedding"].dtype == np.int8
    np.testing.assert_array_equal(ds["embedding"], want)
    np.testing.assert_array_equal(ds["embedding"].mean("time"), np.nanmean(want.astype(np.float32), axis=0))
    np.testing.assert_array_equal(raw["embedding"], stored)
    np.testing.assert_array_equal(raw["embedding_scale"], np.full(LENGTH, 0.25, np.float32))
    for key in ((3, 4, 5), (slice(None, None, -3), [5, 1], 7, 3), (0, slice(2, 9, 2), -1, slice(1, 4)), (2, ..., 1)):
        np.testing.assert_array_equal(ds["embedding"][key], ds["embedding"].values[key], err_msg=str(key))


def test_variables_come_in_one_order(one, tmp_path):
    path, *_ = one
    order = ["embedding", "valid", "flags", "expected_error", "observations_s2", "s1_offset_days"]
    assert list(open_embedding(path).data_vars) == order
    shutil.copytree(path, tmp_path / "copy.zarr")
    assert list(open_embedding(tmp_path / "copy.zarr").data_vars) == order


def test_a_later_form_is_refused(one, tmp_path):
    shutil.copytree(one[0], tmp_path / "e.zarr")
    head = tmp_path / "e.zarr" / "zarr.json"
    head.write_text(head.read_text().replace('"eomm:version": 3', '"eomm:version": 4'))
    with pytest.raises(DataError, match=r"e\.zarr: an eomm embedding of version 4; this eomm reads up to 3"):
        open_embedding(tmp_path / "e.zarr")


@pytest.mark.parametrize("wrong", ["NaN", "0.0", "-0.25", '"much"'])
def test_a_scale_that_is_none_is_refused(wrong, one, tmp_path):
    shutil.copytree(one[0], tmp_path / "e.zarr")
    head = tmp_path / "e.zarr" / "embedding" / "zarr.json"
    head.write_text(head.read_text().replace('"scale_factor": 0.25', f'"scale_factor": {wrong}'))
    with pytest.raises(DataError, match=r"e\.zarr.*scale"):
        open_embedding(tmp_path / "e.zarr")


# --- Damaged, or replaced -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embedding", "valid", "flags", "s1_offset_days", "time", "x"])
def test_a_missing_file_is_refused(name, one, tmp_path):
    shutil.copytree(one[0], tmp_path / "e.zarr")
    file = sorted(p for p in (tmp_path / "e.zarr" / name).rglob("*") if p.is_file() and p.name != "zarr.json")[-1]
    file.unlink()
    with pytest.raises(DataError, match=rf"{name}.*: missing; the store is damaged"):
        open_embedding(tmp_path / "e.zarr")


def test_a_shard_of_nothing_has_no_file_and_is_not_missed(tmp_path):
    write(tmp_path / "e.zarr", emptied=[slice(16, 32)])
    assert not [p for p in (tmp_path / "e.zarr" / "embedding" / "c" / "1").rglob("*") if p.is_file()]
    found = open_embedding(tmp_path / "e.zarr")["embedding"]
    assert np.isnan(found[16:32]).all() and not np.isnan(found[32:]).all()


@pytest.mark.whole
def test_every_flipped_bit_of_a_value_is_seen(one, tmp_path):
    rng = np.random.default_rng(1)
    files = sorted(p for p in one[0].rglob("*") if p.is_file() and p.name != "zarr.json")
    seen = 0
    for i in range(40):
        file = files[i % len(files)]
        shutil.copytree(one[0], tmp_path / "e.zarr")
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (tmp_path / "e.zarr" / file.relative_to(one[0])).write_bytes(content)
        with pytest.raises(DataError, match=r"e\.zarr.*damaged"):
            open_embedding(tmp_path / "e.zarr").load()
        seen += 1
        shutil.rmtree(tmp_path / "e.zarr")
    assert seen == 40


def test_a_store_that_is_replaced_while_it_is_read_is_refused(one, tmp_path):
    shutil.copytree(one[0], tmp_path / "e.zarr")
    ds = open_embedding(tmp_path / "e.zarr")
    ds["embedding"][0].load()
    (tmp_path / "e.zarr").rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "e.zarr")
    ds["embedding"][1].load()  # the same in every byte of its head
    shutil.rmtree(tmp_path / "e.zarr")
    with pytest.raises(DataError, match="replaced or removed"):
        ds["embedding"][2].load()
    write(tmp_path / "e.zarr", scale=0.5)
    for name in ("embedding", "valid"):
        with pytest.raises(DataError, match="replaced or removed"):
            ds[name][3].load()
