"""Embedding a cube: blocks, dates, modalities and masks give parts of the same vectors."""

import json
from functools import partial

import numpy as np
import pytest
import xarray as xr

import eomm
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid, to_date
from eomm.embedding import run as embedding
from eomm.embedding.run import nearest, open_embedding
from eomm.embedding.store import FLAGS, NO_OFFSET
from tests.eomm.embedding.site import (
    GRID,
    make_model,
    write,
)

embed = partial(embedding.embed, dtype="float32")


@pytest.mark.parametrize("block", [16, 30])
def test_blocks_of_any_size_give_the_whole(block, model, cube, whole, tmp_path):
    blocked = open_embedding(embed(model, cube, tmp_path / "e.zarr", block=block)).load()
    np.testing.assert_allclose(blocked["embedding"], whole["embedding"], atol=1e-5)
    xr.testing.assert_identical(
        blocked.drop_vars("embedding").drop_attrs(deep=False), whole.drop_vars("embedding").drop_attrs(deep=False)
    )


def test_dates_and_length_pick_parts_of_the_same_vectors(model, cube, whole, tmp_path):
    days = cube["s2"].day[cube["s2"].usable]
    first, last = to_date(days[6]), to_date(days[10])
    some = open_embedding(embed(model, cube, tmp_path / "e.zarr", dates=(first, last), length=7)).load()
    assert some.sizes["time"] == 5 and some.sizes["feature"] == 7
    np.testing.assert_allclose(some["embedding"], whole["embedding"][6:11, ..., :7], atol=1e-5)
    np.testing.assert_array_equal(some["observations_s2"], whole["observations_s2"][6:11])


@pytest.mark.parametrize("names", [("s2",), ("s1",)])
def test_a_subset_of_modalities_is_finite_and_uses_nothing_else(names, model, groups, cube, tmp_path):
    def changed(name):
        modality, grid, days, values, valid = groups[name]
        return modality, grid, days, (values + 50 * valid[..., None]).astype(np.int16), valid

    other = "s1" if names == ("s2",) else "s2"
    second = write(tmp_path / "c.zarr", [groups[names[0]], changed(other)])
    a = open_embedding(embed(model, cube, tmp_path / "a.zarr", modalities=names))
    b = open_embedding(embed(model, second, tmp_path / "b.zarr", modalities=names))
    np.testing.assert_array_equal(a["embedding"], b["embedding"])
    np.testing.assert_array_equal(np.isfinite(a["embedding"]).all("feature"), a["valid"])
    assert float(np.abs(a["embedding"]).max()) > 0


def test_without_radar_at_all_it_equals_leaving_radar_out(model, groups, cube, tmp_path):
    modality, grid, days, values, valid = groups["s1"]
    far = write(tmp_path / "c.zarr", [groups["s2"], (modality, grid, [d - 3000 for d in days], values, valid)])
    a = open_embedding(embed(model, cube, tmp_path / "a.zarr", modalities=["s2"]))
    b = open_embedding(embed(model, far, tmp_path / "b.zarr"))
    np.testing.assert_allclose(a["embedding"], b["embedding"], atol=1e-6)
    assert np.isnan(b["s1_offset_days"]).all() and not b["observations_s1"].any()
    assert all((ds["flags"].values & FLAGS["alone"] > 0).all() for ds in (a, b))  # radar was possible


@pytest.mark.parametrize("names", [None, ("s1",)])
def test_a_single_pixel_serves_every_pixel_as_if_it_were_spread_over_the_site(names, groups, tmp_path):
    """`s1` stands for weather here: one pixel per site, and an encoder without convolutions."""
    model = make_model(of={"s1": {"dilations": (), "frames": (20, 0)}})
    assert model.encoders["s1"].halo == 0 and model.encoders["s2"].halo == 7
    modality, _, days, values, valid = groups["s1"]
    pixel = Grid(crs=GRID.crs, transform=(400.0, 0, 501600.0, 0, -400.0, 5630080.0), height=1, width=1)
    values, valid = values[:, 3:4, 5:6], valid[:, 3:4, 5:6]
    shape = (len(days), GRID.height, GRID.width)
    spread = (modality, GRID, days, np.broadcast_to(values, (*shape, 2)), np.broadcast_to(valid, shape))
    single = (modality, pixel, days, values, valid)
    out = []
    for name, s1 in (("spread", spread), ("single", single)):
        cube = write(tmp_path / f"{name}.zarr", [groups["s2"], s1])
        out.append(open_embedding(embed(model, cube, tmp_path / f"{name}.out", block=16, modalities=names)).load())
    for array in out[0].data_vars:
        np.testing.assert_allclose(out[1][array].values, out[0][array].values, atol=1e-5, err_msg=array)
    assert out[1].valid.values.any() and out[1].s1_offset_days.notnull().any()


def test_clouded_pixels_are_missing_or_on_request_embedded_from_their_context(model, cube, whole, tmp_path):
    path = embed(model, cube, tmp_path / "e.zarr", clear_only=False)
    everywhere = open_embedding(path, masked=False)
    cloudy = ~whole["valid"].values
    assert np.isnan(whole["embedding"].values[cloudy]).all()
    masked = open_embedding(path)["embedding"]
    np.testing.assert_array_equal(masked, whole["embedding"])
    np.testing.assert_array_equal(masked[3:9, 4, ::-2, 5], whole["embedding"][3:9, 4, ::-2, 5])
    assert everywhere["embedding"].values[cloudy].any(-1).all() and np.isfinite(everywhere["embedding"]).all()
    np.testing.assert_array_equal(everywhere["embedding"].values[~cloudy], whole["embedding"].values[~cloudy])
    np.testing.assert_array_equal(everywhere["valid"], whole["valid"])  # the flag
    assert "context alone" in everywhere["embedding"].long_name and "missing" in whole["embedding"].long_name


def test_unusable_acquisitions_and_masked_values_influence_nothing(model, groups, whole, tmp_path):
    rng, poisoned = np.random.default_rng(5), []
    for modality, grid, days, values, valid in groups.values():
        noise = rng.integers(-3000, 3000, values.shape, dtype=np.int16)
        poisoned.append((modality, grid, days, np.where(valid[..., None], values, noise), valid))
    result = embed(model, write(tmp_path / "c.zarr", poisoned), tmp_path / "e.zarr", block=64)
    np.testing.assert_array_equal(open_embedding(result)["embedding"], whole["embedding"])
    few = [
        (m, g, [d for i, d in enumerate(days) if valid[i].any()], values[valid.any((1, 2))], valid[valid.any((1, 2))])
        for m, g, days, values, valid in groups.values()
    ]
    model = make_model(names=("s2",))  # radar's orbit numbers would change with the dropped acquisitions
    with_them = embed(model, write(tmp_path / "d.zarr", groups.values()), tmp_path / "f.zarr")
    without = embed(model, write(tmp_path / "g.zarr", few), tmp_path / "h.zarr")
    np.testing.assert_array_equal(open_embedding(with_them)["embedding"], open_embedding(without)["embedding"])


def test_the_store_opens_in_plain_xarray_with_dates_crs_and_provenance(model, cube, whole, tmp_path):
    path = embed(model, cube, tmp_path / "e.zarr", dtype="float16")
    with xr.open_zarr(path) as ds:
        assert ds["embedding"].dims == ("time", "y", "x", "feature") and ds["embedding"].dtype == np.float16
        day = cube["s2"].day[cube["s2"].usable][3]
        assert str(ds["time"].values[3])[:10] == str(to_date(day))
        np.testing.assert_array_equal(ds["valid"].sel(time=str(to_date(day))), whole["valid"][3])
        assert "32631" in ds["spatial_ref"].attrs["crs_wkt"] and "spatial_ref" in ds.coords
        np.testing.assert_array_equal(ds["y"], GRID.y)
        assert ds.attrs["proj:code"] == "EPSG:32631" and ds.attrs["eomm:complete"] == 1
        provenance = attributes_of(ds)["provenance"]
        assert provenance["simulated"] is True and provenance["model"] == model.hash
        assert (
            provenance["cube"]["name"] == cube.path.name and len(attributes_of(ds)["acquisitions"]) == ds.sizes["time"]
        )
        assert str(tmp_path) not in json.dumps(ds.attrs)
        np.testing.assert_allclose(ds["embedding"], whole["embedding"], atol=4e-3)
        stored = xr.open_zarr(path, mask_and_scale=False)["s1_offset_days"]
        assert stored.dtype == np.int16 and (stored == NO_OFFSET).any() and abs(stored.where(stored > -99)).max() <= 12


def test_progress_counts_parts(model, cube, tmp_path):
    calls = []
    embed(model, cube, tmp_path / "e.zarr", block=32, progress=lambda *c: calls.append(c))
    assert calls == [(i, 4) for i in range(1, 5)]


def test_it_takes_paths_and_is_public(model, cube, whole, tmp_path):
    eomm.models.directory.save_model(model, tmp_path / "model")
    out = eomm.embed(tmp_path / "model", cube.path, tmp_path / "e.zarr", block=64, dtype="float32")
    np.testing.assert_array_equal(open_embedding(out)["embedding"], whole["embedding"])


def test_nearest_takes_the_earlier_of_two_and_nothing_beyond_the_limit():
    day = np.array([10, 10, 20, 40], np.int32)
    assert nearest(np.array([10, 15, 16, 29, 53]), day, 12).tolist() == [0, 0, 2, 2, -1]
    assert nearest(np.array([10]), day[:0], 12).tolist() == [-1]
