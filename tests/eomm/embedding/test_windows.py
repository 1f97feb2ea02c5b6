"""A vector is what the encoder makes of its own window, cut out by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.embedding import run as embedding
from eomm.embedding.dense import CHUNK, TARGETS, BlockEmbedder, schedule
from eomm.embedding.run import open_embedding
from tests.eomm.embedding.site import UNUSABLE, make_model, write

embed = partial(embedding.embed, dtype="float32")


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


@pytest.mark.parametrize("frames", [(8, 8), (5, 5), (16, 0), (1, 2), (24, 24)])
def test_every_group_holds_the_windows_of_its_targets(frames):
    rng = np.random.default_rng(0)
    for targets in (range(3, 90), np.flatnonzero(rng.random(200) < 0.3), [5], [0, 100, 101]):
        plan = schedule(list(targets), frames)
        assert [t for g in plan.groups for t in g.targets] == [int(t) for t in targets]
        for group in plan.groups:
            assert group.first <= group.targets[0] - frames[0]
            assert group.targets[-1] + frames[1] < group.first + plan.keys
            assert len(group.targets) <= TARGETS
        assert plan.keys % CHUNK == 0
    assert schedule([], frames).groups == ()
    assert {len(g.targets) for g in schedule(range(5, 45), frames).groups} == {TARGETS}  # no place is empty


def test_a_single_modality_embeds_without_a_fusion_head(cube, tmp_path):
    model = make_model(names=("s1",))
    result = open_embedding(embed(model, cube, tmp_path / "e.zarr"))
    vector, clear, seen = by_hand(model.encoders["s1"], model.params["s1"]["encoder"], cube["s1"], 4, 9, 9)
    assert clear and int(result["observations_s1"][4, 9, 9]) == seen
    np.testing.assert_allclose(result["embedding"][4, 9, 9], vector, atol=1e-5)
    assert "s1_offset_days" not in result and result.sizes["time"] == cube["s1"].usable.sum()


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


def test_what_lies_beyond_the_ends_of_a_series_is_held_once(model, cube):
    encoder = model.encoders["s2"]
    plan, side = schedule([0], encoder.frames), slice(0, 16)
    embedder = BlockEmbedder(encoder, model.params["s2"]["encoder"], cube["s2"], plan, side, side)
    embedder.take([0])
    before, later, inside = (embedder._chunks[first][0] for first in (-8, -4, 0))
    assert before is later and before is not inside
