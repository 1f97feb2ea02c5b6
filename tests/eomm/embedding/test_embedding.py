import dataclasses
import json
import subprocess
from datetime import date
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import eomm
from eomm.data.attributes import attributes_of
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid, to_date
from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2
from eomm.embedding import run as embedding
from eomm.embedding.dense import schedule
from eomm.embedding.run import nearest, open_embedding
from eomm.embedding.store import NO_OFFSET
from eomm.errors import ContractError, DataError, UsageError
from eomm.models.directory import Model, build_parts
from eomm.models.fusion import Fusion
from tests.parameters import parameters

embed = partial(embedding.embed, dtype="float32")
GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=21, width=37)
UNUSABLE = (4, 17)


def make_group(rng, modality, days, *, grid=GRID, unusable=(), share=0.7):
    shape = (len(days), grid.height, grid.width)
    low, high = (100, 4000) if modality.unit == "reflectance" else (-2000, -500)
    valid = rng.random(shape) < share
    valid[list(unusable)] = False
    values = rng.integers(low, high, (*shape, len(modality.bands)), dtype=np.int16)
    return modality, grid, [int(d) for d in days], np.where(valid[..., None], values, 0).astype(np.int16), valid


def write(path, groups, simulated=True):
    def source(modality, grid, days, values, valid):
        acquisitions = [
            Acquisition(
                day=d,
                orbit=f"R{i % 2}",
                direction=("ascending", "descending")[i % 2],
                incidence_deg=38.5 if i % 3 else None,
            )
            for i, d in enumerate(days)
        ]
        return GroupSource(
            modality=modality, grid=grid, acquisitions=acquisitions, read=lambda i: (values[i], valid[i])
        )

    write_cube(path, site="here", groups=[source(*g) for g in groups], provenance={"simulated": simulated})
    return open_cube(path)


def make_model(size="tiny", names=("s2", "s1"), seed=0, of=None, **options):
    contracts = {"s2": SENTINEL2, "s1": SENTINEL1}
    encoders, decoders, params, parts = {}, {}, {}, {}
    # At the tiny size one block of the reach of three: a third of the time to compile.
    blocks = {"dilations": (7,)} if size == "tiny" else {}
    for name in names:
        parts[name] = {
            "encoder": {"size": size, "use_orbit": name == "s1", **blocks, **options, **(of or {}).get(name, {})},
            "decoder": {"width": 16},
        }
        encoders[name], decoders[name] = build_parts(contracts[name], **parts[name])
        networks = {"encoder": encoders[name], "decoder": decoders[name]}
        params[name] = {part: parameters(network, seed, name) for part, network in networks.items()}
    fusion = None
    if len(names) > 1:
        parts["fusion"] = {"dim": 24, "width": 16, "heads": 2}
        fusion = Fusion.build({n: e.dim for n, e in encoders.items()}, parts["fusion"])
        params["fusion"] = parameters(fusion, seed)
    return Model(encoders=encoders, decoders=decoders, fusion=fusion, params=params, parts=parts, info={"steps": 0})


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    s2 = make_group(rng, SENTINEL2, 17000 + np.cumsum(rng.integers(1, 9, 28)), unusable=UNUSABLE)
    s1_days = np.concatenate([s2[2][0] + np.arange(-20, 60, 3), s2[2][-1] - np.arange(0, 30, 7)[::-1]])
    s1 = make_group(rng, SENTINEL1, np.unique(s1_days), unusable=(2, 8), share=0.9)
    return {"s2": s2, "s1": s1}


@pytest.fixture(scope="module")
def cube(groups, tmp_path_factory):
    return write(tmp_path_factory.mktemp("cube") / "site.zarr", groups.values())


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def whole(model, cube, tmp_path_factory):
    return open_embedding(embed(model, cube, tmp_path_factory.mktemp("out") / "whole.zarr", block=64)).load()


def by_hand(encoder, params, group, position, row, col):
    """The embedding of one pixel-date from its own window: 15 x 15 px of the usable acquisitions round it."""
    usable = np.flatnonzero(group.usable)
    before, after = encoder.frames
    first, last = max(0, position - before), min(len(usable), position + after + 1)
    chosen, halo = usable[first:last], encoder.halo
    values, valid = group.read(chosen, slice(row - halo, row + halo + 1), slice(col - halo, col + halo + 1))
    meta = {k: v[None, chosen] for k, v in group.meta().items()}
    inside = valid[None, :, halo : halo + 1, halo : halo + 1]
    day, target = group.day[None, chosen], np.array([[position - first]], np.int32)
    vector = call(encoder, params, values[None], valid[None], meta, inside, day, target)[0, 0, 0, 0]
    return vector, bool(inside[0, position - first, 0, 0]), int(inside.sum())


@partial(jax.jit, static_argnums=0)
def call(encoder, params, values, valid, meta, inside, day, target):
    return encoder.embed(params, encoder.features(params, values, valid, meta), inside, day, target)


def nearest_by_hand(day, target_day, max_offset):
    best = min(range(len(day)), key=lambda i: (abs(int(day[i]) - int(target_day)), i))
    return best if abs(int(day[best]) - int(target_day)) <= max_offset else None


def fused_by_hand(model, cube, position, row, col):
    s2, s1 = cube["s2"], cube["s1"]
    reference, clear, seen = by_hand(model.encoders["s2"], model.params["s2"]["encoder"], s2, position, row, col)
    day = s2.day[s2.usable][position]
    other_days = s1.day[s1.usable]
    at = nearest_by_hand(other_days, day, model.fusion.max_offset_days)
    radar, present, radar_seen, offset = jnp.zeros(model.encoders["s1"].dim), False, 0, 0
    if at is not None:
        radar, present, radar_seen = by_hand(model.encoders["s1"], model.params["s1"]["encoder"], s1, at, row, col)
        offset = int(other_days[at] - day)
    fused = model.fusion.fuse(
        model.params["fusion"],
        {"s2": reference, "s1": radar},
        {"s2": jnp.array(True), "s1": jnp.array(present)},
        {"s2": jnp.array(0.0), "s1": jnp.array(float(offset))},
    )
    return (
        fused,
        clear,
        {
            "observations_s2": seen,
            "observations_s1": radar_seen if present else 0,
            "s1_offset_days": offset if present else np.nan,
        },
    )


CORNERS = [(0, 0), (0, 36), (20, 0), (20, 36), (10, 18), (15, 16), (16, 15)]


@pytest.mark.parametrize("size", ["tiny", pytest.param("base", marks=pytest.mark.whole)])
def test_a_window_cut_out_by_hand_gives_the_dense_embedding(size, model, cube, whole, tmp_path):
    if size == "base":
        model = make_model("base", seed=1)
        whole = open_embedding(embed(model, cube, tmp_path / "e.zarr", block=32)).load()
    dates = whole.sizes["time"]
    assert dates == 28 - len(UNUSABLE)
    compared, absent = 0, 0
    for i, position in enumerate([0, 3, 8, 15, 16, 17, dates - 1]):
        for row, col in (CORNERS[i % len(CORNERS)], CORNERS[(i + 3) % len(CORNERS)]):
            vector, clear, layers = fused_by_hand(model, cube, position, row, col)
            at = whole.isel(time=position, y=row, x=col)
            assert bool(at["valid"]) == clear
            np.testing.assert_allclose(at["embedding"], vector if clear else np.nan * vector, atol=1e-5)
            for name, value in layers.items():
                np.testing.assert_equal(float(at[name]), float(value), err_msg=name)
            compared += clear
            absent += clear and np.isnan(layers["s1_offset_days"])
    assert compared > 6 and absent > 0


@pytest.mark.parametrize("block", [16, 30])
def test_blocks_of_any_size_give_the_whole(block, model, cube, whole, tmp_path):
    blocked = open_embedding(embed(model, cube, tmp_path / "e.zarr", block=block)).load()
    np.testing.assert_allclose(blocked["embedding"], whole["embedding"], atol=1e-5)
    xr.testing.assert_identical(
        blocked.drop_vars("embedding").drop_attrs(deep=False), whole.drop_vars("embedding").drop_attrs(deep=False)
    )


@pytest.mark.parametrize("frames", [(8, 8), (5, 5), (16, 0), (1, 2)])
def test_every_group_holds_the_windows_of_its_targets(frames):
    rng = np.random.default_rng(0)
    for targets in (range(3, 90), np.flatnonzero(rng.random(200) < 0.3), [5], [0, 100, 101]):
        plan = schedule(list(targets), frames)
        assert [t for g in plan.groups for t in g.targets] == [int(t) for t in targets]
        for group in plan.groups:
            assert group.first <= group.targets[0] - frames[0]
            assert group.targets[-1] + frames[1] < group.first + plan.keys
            assert len(group.targets) <= plan.width
    assert schedule([], frames).groups == ()


def test_dates_and_length_pick_parts_of_the_same_vectors(model, cube, whole, tmp_path):
    days = cube["s2"].day[cube["s2"].usable]
    first, last = to_date(days[6]), to_date(days[10])
    some = open_embedding(embed(model, cube, tmp_path / "e.zarr", dates=(first, last), length=7)).load()
    assert some.sizes["time"] == 5 and some.sizes["feature"] == 7
    np.testing.assert_allclose(some["embedding"], whole["embedding"][6:11, ..., :7], atol=1e-5)
    np.testing.assert_array_equal(some["observations_s2"], whole["observations_s2"][6:11])


def test_a_single_modality_embeds_without_a_fusion_head(cube, tmp_path):
    model = make_model(names=("s1",))
    result = open_embedding(embed(model, cube, tmp_path / "e.zarr"))
    vector, clear, seen = by_hand(model.encoders["s1"], model.params["s1"]["encoder"], cube["s1"], 4, 9, 9)
    assert clear and int(result["observations_s1"][4, 9, 9]) == seen
    np.testing.assert_allclose(result["embedding"][4, 9, 9], vector, atol=1e-5)
    assert "s1_offset_days" not in result and result.sizes["time"] == cube["s1"].usable.sum()


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


def test_nothing_outside_the_window_influences_a_vector(groups, tmp_path):
    model, (modality, grid, days, values, valid) = make_model(names=("s2",)), groups["s2"]
    usable = np.flatnonzero(valid.any((1, 2)))
    changed, position, row, col = values.copy(), 12, 10, 18
    changed[:, row, col] += 100 * valid[:, row, col][:, None]
    changed[usable[position]] += 100 * valid[usable[position]][..., None]
    one = open_embedding(embed(model, write(tmp_path / "a.zarr", [groups["s2"]]), tmp_path / "a_out.zarr"))
    two = write(tmp_path / "b.zarr", [(modality, grid, days, changed, valid)])
    two = open_embedding(embed(model, two, tmp_path / "b_out.zarr"))
    differs = (np.nan_to_num(one["embedding"].values) != np.nan_to_num(two["embedding"].values)).any(-1)
    times, rows, cols = (np.arange(n) for n in differs.shape)
    near = (np.abs(rows - row) <= 7)[:, None] & (np.abs(cols - col) <= 7)
    reach = np.abs(times - position) <= 8
    assert not differs[~reach][:, ~near].any()
    assert differs[reach].any() and differs[:, near].any()
    edge = one["valid"].values[:, row - 7, col - 7]
    assert differs[edge, row - 7, col - 7].any(), "the receptive field reaches its corner"


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
        assert provenance["cube"]["name"] == "site.zarr" and len(attributes_of(ds)["acquisitions"]) == ds.sizes["time"]
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


def refuse(error, match, tmp_path, *args, **kwargs):
    out = tmp_path / "refused.zarr"
    with pytest.raises(error, match=match):
        embed(*args, out, **kwargs)
    assert not out.exists() and not out.with_name(out.name + ".partial").exists()


def test_bad_requests_are_refused_and_leave_nothing(model, groups, cube, tmp_path):
    s2, s1 = groups["s2"], groups["s1"]
    sigma0 = write(tmp_path / "sigma0.zarr", [s2, (SENTINEL1_SIGMA0, *s1[1:])])
    refuse(ContractError, f"sigma0.zarr and model {model.hash}.*calibration: found 'sigma0'", tmp_path, model, sigma0)
    refuse(DataError, "has no modality 's1'", tmp_path, model, write(tmp_path / "s2.zarr", [s2]))
    coarse = Grid(crs=GRID.crs, transform=(400.0, 0, 501600.0, 0, -400.0, 5630080.0), height=2, width=1)
    two = (SENTINEL1, coarse, s1[2], s1[3][:, :2, :1], np.ones((len(s1[2]), 2, 1), bool))
    refuse(ContractError, "s1 lies on another grid than s2", tmp_path, model, write(tmp_path / "grid.zarr", [s2, two]))
    refuse(UsageError, "no usable s2 acquisition there", tmp_path, model, cube, dates=(date(1999, 1, 1),) * 2)
    refuse(UsageError, "modalities", tmp_path, model, cube, modalities=["lidar"])
    refuse(UsageError, "vectors have 24", tmp_path, model, cube, length=25)
    refuse(UsageError, "no scales for int8.*calibrate", tmp_path, model, cube, dtype="int8")
    refuse(UsageError, "dtype 'int4'", tmp_path, model, cube, dtype="int4")
    refuse(UsageError, "shard 2 of 2", tmp_path, model, cube, shard=(2, 2))
    refuse(UsageError, "memory: the smallest blocks", tmp_path, model, cube, memory_bytes=1000)
    refuse(UsageError, "block is 0", tmp_path, model, cube, block=0)
    refuse(UsageError, "no fusion head", tmp_path, dataclasses.replace(model, fusion=None), cube)
    for change in (lambda a: [a[1], a[0], *a[2:]], lambda a: [a[0], a[0], *a[2:]]):  # out of order, twice
        wrong = dataclasses.replace(cube, groups={**cube.groups, "s2": open_cube(cube.path)["s2"]})
        wrong["s2"].acquisitions = change(wrong["s2"].acquisitions)
        refuse(DataError, "s2 are not distinct and in order of time", tmp_path, model, wrong)
    unusable = dataclasses.replace(cube, groups={**cube.groups, "s2": open_cube(cube.path)["s2"]})
    unusable["s2"].usable[:] = False
    refuse(DataError, "no usable s2 acquisition, so no date", tmp_path, model, unusable)
    bad = jax.tree.map(lambda x: x * jnp.nan, model.params["fusion"])
    refuse(DataError, "not finite", tmp_path, dataclasses.replace(model, params={**model.params, "fusion": bad}), cube)


def test_a_full_disk_is_named_and_nothing_is_left(model, cube, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        with pytest.raises(UsageError, match=r"disk/e.zarr.*: the disk is full"):
            embed(model, cube, disk / "e.zarr", block=16)
        assert [p.name for p in disk.iterdir()] in ([], ["e.zarr.partial"])  # what is finished stays
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_existing_output_is_kept_unless_overwritten(model, cube, tmp_path):
    out = tmp_path / "e.zarr"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(UsageError, match="already exists"):
        embed(model, cube, out)
    with pytest.raises(UsageError, match="was not made by eomm"):
        embed(model, cube, out, overwrite=True)
    with pytest.raises(UsageError, match="is the cube itself"):
        embed(model, cube, cube.path, overwrite=True)
    assert (out / "precious").read_text() == "x"
    (out / "precious").unlink()
    embed(model, cube, out, overwrite=True)  # an empty folder
    embed(model, cube, out, overwrite=True)
    assert open_embedding(out).sizes["x"] == GRID.width


def test_unfinished_stores_are_refused(model, cube, groups, tmp_path):
    store = write(tmp_path / "c.zarr", groups.values())
    for path, use in ((store.path, lambda p: embed(model, p, tmp_path / "f.zarr")), (tmp_path / "e.zarr", None)):
        use = use or (lambda p: open_embedding(embed(model, cube, p)) if not p.exists() else open_embedding(p))
        if not path.exists():
            use(path)
        root = json.loads((path / "zarr.json").read_text())
        root["attributes"]["eomm:complete"] = False
        (path / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(DataError, match="never finished"):
            use(path)


def test_nearest_takes_the_earlier_of_two_and_nothing_beyond_the_limit():
    day = np.array([10, 10, 20, 40], np.int32)
    assert nearest(np.array([10, 15, 16, 29, 53]), day, 12).tolist() == [0, 0, 2, 2, -1]
    assert nearest(np.array([10]), day[:0], 12).tolist() == [-1]
