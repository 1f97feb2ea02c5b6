import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from eomm.data.modality import SENTINEL1_SIGMA0
from eomm.errors import ContractError, DataError, UsageError
from eomm.models.directory import load_model, save_model
from eomm.models.fusion import nearest_acquisition
from eomm.models.losses import mean_absolute_error, spectral_angle
from eomm.training.objective import Objective, draw_crop, draw_series, draw_targets, hide
from eomm.training.stages import build_stage
from eomm.training.step import make_step
from tests.eomm.helpers import random_batch, shapes_of
from tests.eomm.tiny import make_config
from tests.parameters import drawn

OBJECTIVE = {"targets": 3, "queries": 4, "prefixes": (4, 8)}


def records(batch):
    statistics = {n: {"std": [0.1] * len(s.modality.bands)} for n, s in shapes_of(batch).items()}
    return SimpleNamespace(path="records", shapes=shapes_of(batch), manifest={"statistics": statistics})


def pretrain_config(name, **objective):
    sar = name == "s1"
    extra = {"sam": 0.0, "next_same_orbit": True, "series": 8} if sar else {}
    return ConfigDict(
        {
            "stage": "pretrain",
            "modality": name,
            # One block of the reach of three: a third of the time to compile.
            "encoder": {"size": "tiny", "frames": (3, 3), "use_orbit": sar, "dilations": (7,)},
            "decoder": {"width": 16},
            "objective": OBJECTIVE | extra | objective,
        }
    )


@pytest.fixture(scope="module")
def batch():
    return random_batch(np.random.default_rng(0))


@pytest.fixture(scope="module")
def pretrained(batch, tmp_path_factory):
    """Two saved, untrained models."""
    paths = []
    for name in ("s2", "s1"):
        stage = build_stage(pretrain_config(name), records(batch))
        path = tmp_path_factory.mktemp("models") / name
        paths.append(str(save_model(stage.model(start(stage)), path)))
    return paths


def start(stage):
    """What a stage that starts from nothing may begin with; compiles nothing."""
    return drawn(jax.eval_shape(stage.init, jax.random.key(0)), 1)


def fuse_config(encoders, **changes):
    return ConfigDict(
        {
            "stage": "fuse",
            "reference": "s2",
            "encoders": tuple(encoders),
            "drop": 0.3,
            "fusion": {"dim": 8, "width": 16, "heads": 2, "layers": 1},
            "objective": {n: pretrain_config(n).objective.to_dict() | {"prefixes": ()} for n in ("s2", "s1")},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def fusing(batch, pretrained):
    return build_stage(fuse_config(pretrained), records(batch))


@pytest.fixture(scope="module")
def tuning(batch, pretrained):
    return build_stage(fuse_config(pretrained, finetune=True), records(batch))


def one_step(stage, batch):
    """(state before, state after, report) of one step of the optimiser, as the training loop takes it."""
    config = make_config(steps=9, **{"optimiser.weight_decay": 0.0})  # so that only gradients move parameters
    step, init = make_step(stage, config, batch)
    state = init(jax.random.key(0))
    return state, *jax.jit(step)(state, jax.random.key(1), stage.frozen, batch)


@pytest.fixture(scope="module")
def fused(batch, fusing):
    return one_step(fusing, batch)


@pytest.fixture(scope="module")
def tuned(batch, tuning):
    return one_step(tuning, batch)


def at_rest(before, after):
    """Paths of the parameters that a step left as they were, without those that nothing could have moved."""
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before["params"], after["params"])
    names = [jax.tree_util.keystr(p) for p, rests in jax.tree_util.tree_leaves_with_path(same) if rests]
    # a bias of attention keys moves no score, and no window here is empty
    return [n for n in names if not ("key_" in n and "bias" in n) and "empty_token" not in n]


def gradients(stage, batch):
    params = start(stage)
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    return step(params, stage.frozen, batch, jax.random.key(2))


def test_a_part_of_the_crop_is_drawn_for_encoders_that_cost_much(batch):
    data = batch["s2"]
    drawn = jax.jit(draw_crop, static_argnums=2)(jax.random.key(2), data, 16)
    places = set()
    for i in range(2):
        found = [
            (row, col)
            for row in range(4)
            for col in range(4)
            if (data["values"][i, :, row : row + 16, col : col + 16] == drawn["values"][i]).all()
            and (data["valid"][i, :, row : row + 16, col : col + 16] == drawn["valid"][i]).all()
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 2
    assert draw_crop(jax.random.key(1), data, 0) is data
    stage = build_stage(pretrain_config("s2", crop_px=16), records(batch))
    params = jax.eval_shape(stage.init, jax.random.key(0))
    traced = str(jax.make_jaxpr(stage.loss)(params, {}, batch, jax.random.key(1)))
    assert "f32[2,3,2,2,1,16]" in traced and "f32[2,3,5,5,1,16]" not in traced  # queries of 2 x 2 pixels, not of 5 x 5
    for side in (14, 20):
        with pytest.raises(UsageError, match=f"crop_px is {side}; expected 0, or 15 .* to 19"):
            build_stage(pretrain_config("s2", crop_px=side), records(batch))


@pytest.mark.parametrize("name", ["s2", "s1"])
def test_pretraining_gives_a_finite_loss_and_trains_everything(batch, name):
    (loss, metrics), grads = gradients(build_stage(pretrain_config(name), records(batch)), batch)
    assert np.isfinite(loss) and 0 < metrics["targets"][0] <= 2 * 3 * 25
    assert {"hidden_mae", "visible_mae", "offset_mae", "loss"} <= set(metrics)
    for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]:
        assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_fusing_trains_the_head_alone_and_in_every_part(fused):
    before, after, report = fused
    assert {"s2_hidden_mae", "s1_hidden_mae", "loss"} <= set(report["sums"]) and report["skipped"] == 0
    assert set(before["params"]) == {"fusion"} and at_rest(before, after) == []


def test_frozen_encoders_are_not_optimised_and_saved_bit_for_bit(fusing, fused, pretrained, tmp_path):
    before, after, _ = fused
    named = " ".join(jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(before))
    assert "encoder" not in named and "decoder" not in named  # nor are there moments of theirs
    saved = load_model(save_model(fusing.model(after["params"]), tmp_path / "m"))
    assert saved.info["finetuned"] is False
    for path in pretrained:
        for name, part in load_model(path).params.items():
            jax.tree.map(np.testing.assert_array_equal, saved.params[name], part)


@pytest.mark.whole
def test_finetuning_optimises_encoders_and_decoders_from_where_they_were(tuning, tuned, pretrained, tmp_path):
    before, after, _ = tuned
    assert set(before["params"]) == {"fusion", "s1", "s2"} and at_rest(before, after) == []
    saved = load_model(save_model(tuning.model(after["params"]), tmp_path / "m"))
    assert saved.info["finetuned"] is True
    for path in pretrained:
        for name, part in load_model(path).params.items():
            jax.tree.map(np.testing.assert_array_equal, before["params"][name], part)
            jax.tree.map(np.testing.assert_array_equal, saved.params[name], after["params"][name])


@pytest.mark.whole
def test_the_first_loss_is_the_same_frozen_or_not(fused, tuned):
    assert fused[2]["sums"]["loss"][0] == pytest.approx(float(tuned[2]["sums"]["loss"][0]), rel=1e-6)


@pytest.mark.whole
def test_a_batch_of_one_can_be_fused(batch, fusing):
    one = {n: {k: v[:1] for k, v in g.items()} for n, g in batch.items()}  # crashed XLA's CPU compiler, jax 0.10.2
    (loss, _), _ = gradients(fusing, one)
    assert np.isfinite(loss)


@pytest.mark.whole
def test_encoders_of_unlike_halos_are_fused(batch, pretrained, tmp_path):
    config = pretrain_config("s1", reach_px=3)
    config.encoder.dilations = (3,)
    stage = build_stage(config, records(batch))
    near = str(save_model(stage.model(start(stage)), tmp_path / "near"))
    fusion = fuse_config([pretrained[0], near])
    fusion.objective.s1.reach_px = 3
    (loss, _), gradient = gradients(build_stage(fusion, records(batch)), batch)
    assert np.isfinite(loss) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_padding_is_never_a_target_while_there_are_others(batch):
    valid = np.asarray(batch["s2"]["valid"]).copy()
    valid[:, 5:] = 0
    for seed in range(20):
        targets = np.asarray(draw_targets(jax.random.key(seed), jnp.asarray(valid), 4))
        assert (targets < 5).all() and all(len(set(row)) == 4 for row in targets.tolist())


def test_a_drawn_series_is_a_run_without_padding(batch):
    data = {k: jnp.asarray(v) for k, v in batch["s1"].items()}
    data["present"] = data["present"].at[0, 9:].set(0)
    for seed in range(10):
        got = draw_series(jax.random.key(seed), data, 6)
        assert got["values"].shape[:2] == (2, 6) and (got["present"] == 1).all()
        for i in range(2):
            start = int(np.flatnonzero(data["day"][i] == got["day"][i, 0])[0])
            np.testing.assert_array_equal(got["values"][i], data["values"][i, start : start + 6])
    assert draw_series(jax.random.key(0), data, 14) is data


def test_hiding_takes_the_target_or_everything_within_the_gap():
    day = jnp.arange(0, 200, 5, dtype=jnp.int32)[None].repeat(64, 0)
    targets = jnp.full((64, 1), 20, jnp.int32)
    hidden = np.asarray(hide(jax.random.key(0), day, targets, Objective()))[:, 0]
    spans = {(h.sum(), bool(h[20])) for h in hidden}
    assert all(own == (count > 0) for count, own in spans) and 0.2 < hidden[:, 20].mean() < 0.8
    assert max(count for count, _ in spans) <= 25 and len(spans) > 5


def test_the_nearest_acquisition_is_the_earlier_of_two(batch):
    day = jnp.array([[10, 14, 20, 20]])
    present = jnp.array([[1, 1, 1, 0]])
    got = nearest_acquisition(jnp.array([[12, 17, 100, 0]]), day, present)
    assert got.tolist() == [[0, 1, 2, 0]]


def test_fused_embeddings_are_finite_for_any_subset(batch, fusing):
    model = fusing.model(start(fusing))
    z = {n: jnp.ones((4, 16)) for n in ("s1", "s2")}
    present = {"s1": jnp.array([True, True, False, False]), "s2": jnp.array([True, False, True, False])}
    days = {"s1": jnp.full(4, 3.0), "s2": jnp.zeros(4)}
    fused = model.fusion.fuse(model.params["fusion"], z, present, days)
    assert fused.shape == (4, 8) and np.isfinite(fused).all()
    # an absent modality's content is never read
    changed = {"s1": z["s1"] * 7, "s2": z["s2"]}
    again = model.fusion.fuse(model.params["fusion"], changed, present, days)
    np.testing.assert_array_equal(fused[2:], again[2:])
    assert np.abs(fused[:2] - again[:2]).min(0).max() > 0


def test_a_model_survives_the_disk_and_damage_is_named(fusing, tmp_path):
    model = fusing.model(start(fusing))
    path = save_model(dataclasses.replace(model, info={"steps": 3}), tmp_path / "m")
    back = load_model(path)
    assert back.hash == model.hash and back.info["steps"] == 3 and back.fusion == model.fusion
    assert back.encoders == model.encoders and back.decoders == model.decoders
    with pytest.raises(UsageError, match="already exists"):
        save_model(model, path)
    content = (path / "params.safetensors").read_bytes()
    (path / "params.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="content hash"):
        load_model(path)
    (path / "params.safetensors").write_bytes(content[:100])
    with pytest.raises(DataError, match=r"params\.safetensors: cannot be read"):
        load_model(path)


def test_nan_in_a_model_is_refused(fusing, tmp_path):
    params = jax.tree.map(lambda x: np.full_like(x, np.nan), start(fusing))
    path = save_model(fusing.model(params), tmp_path / "m")
    with pytest.raises(DataError, match="holds NaN"):
        load_model(path)


def test_code_outside_eomm_is_used_only_when_named(fusing, tmp_path):
    model = fusing.model(start(fusing))
    parts = {**model.parts, "s2": {**model.parts["s2"], "encoder": {**model.parts["s2"]["encoder"], "code": "os"}}}
    path = save_model(dataclasses.replace(model, parts=parts), tmp_path / "m")
    with pytest.raises(UsageError, match="--code os"):
        load_model(path)


def test_records_of_another_contract_are_refused_for_fusion(batch, pretrained, fusing):
    other = records(batch)
    other.shapes["s1"] = dataclasses.replace(other.shapes["s1"], modality=SENTINEL1_SIGMA0)
    config = ConfigDict({"stage": "fuse", "reference": "s2", "encoders": tuple(pretrained)})
    with pytest.raises(ContractError, match="calibration"):
        build_stage(config, other)


def test_losses_ignore_what_weighs_nothing():
    a, b = jnp.ones((5, 3)), jnp.full((5, 3), 2.0)
    weight = jnp.array([1.0, 0.0, 0.5, 0.0, 0.0])
    spoiled = b.at[1].set(jnp.nan)
    assert mean_absolute_error(a, spoiled, weight) == (1.5, 1.5)
    total, _ = spectral_angle(a, spoiled, weight)
    assert total == pytest.approx(1.5 * np.arccos(1 - 1e-6), rel=0.02)  # 1 - 1e-6 is not a float32
    grad = jax.grad(lambda p: spectral_angle(p, a, jnp.ones(5))[0])(jnp.zeros((5, 3)))
    assert np.isfinite(grad).all()
