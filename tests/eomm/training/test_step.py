import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from eomm.data.modality import SENTINEL2
from eomm.errors import UsageError
from eomm.models.context import build_encoder
from eomm.training.stage import rematerialised
from eomm.training.stages import build_stage
from eomm.training.step import accumulated, make_step
from tests.eomm.helpers import random_batch
from tests.eomm.tiny import TinyStage, make_batch, make_config, make_stage
from tests.eomm.training.test_stages import pretrain_config, records
from tests.parameters import parameters

KEY = jax.random.key(5)


def differentiate(stage, batch, parts, key=KEY):
    """(loss, gradient, metrics)."""
    run = jax.jit(accumulated(stage, parts, len(batch["s2"]["valid"])))
    (loss, metrics), gradient = run(stage.init(jax.random.key(0)), stage.frozen, batch, key)
    return loss, gradient, metrics


def assert_close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5), a, b)


def test_a_mean_over_what_is_valid_accumulates_to_that_of_the_whole_batch():
    stage, batch = make_stage(noise=0.0), make_batch(np.random.default_rng(0))
    whole = differentiate(stage, batch, 1)
    for parts in (2, 4, 8):
        assert_close(differentiate(stage, batch, parts), whole)
    # Rows differ in how much is valid: a mean of the pieces' means would be another.
    pieces = [differentiate(stage, {"s2": {k: v[i::8] for k, v in batch["s2"].items()}}, 1)[0] for i in range(8)]
    assert abs(np.mean(pieces) - whole[0]) > 1e-3


def test_pieces_draw_each_their_own_and_weigh_by_their_count():
    stage, batch = make_stage(noise=0.5), make_batch(np.random.default_rng(0))
    found = differentiate(stage, batch, 4)
    pieces = [
        differentiate(stage, {"s2": {k: v[i::4] for k, v in batch["s2"].items()}}, 1, jax.random.fold_in(KEY, i))
        for i in range(4)
    ]
    weights = np.array([metrics["loss"][1] for *_, metrics in pieces])
    mean = jax.tree.map(lambda *x: sum(w * y for w, y in zip(weights / weights.sum(), x, strict=True)), *pieces)
    assert_close(found[:2], mean[:2])
    assert found[2]["targets"] == (weights.sum(), 1)  # of a step, not of a piece


def test_what_cannot_be_accumulated_is_refused():
    stage, batch = make_stage(), make_batch(np.random.default_rng(0))
    for parts in (0, 3):
        with pytest.raises(UsageError, match=f"accumulate is {parts}; expected a divisor of .*, 16"):
            make_step(stage, make_config(accumulate=parts), batch)
    unweighed = TinyStage(init=stage.init, loss=lambda p, f, b, r: (jnp.zeros(()), {}), frozen=stage.frozen)
    with pytest.raises(UsageError, match="no metric 'loss'"):
        differentiate(unweighed, batch, 2)


def test_rematerialised_features_keep_less_and_give_the_same_gradient():
    batch = {"s2": random_batch(np.random.default_rng(0))["s2"]}
    config, kept = pretrain_config("s2"), []
    config.unlock()
    config.encoder.dilations = (1, 2, 4)
    for config.remat in (False, True):
        stage = build_stage(config, records(batch))
        params = jax.eval_shape(stage.init, KEY)
        # The backward function is a tree of what it keeps.
        keeps = lambda p, b, s=stage: jax.vjp(lambda q: s.loss(q, {}, b, KEY)[0], p)[1]  # noqa: E731
        backward = jax.eval_shape(keeps, params, batch)
        kept.append(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(backward)))
    assert kept[1] < 0.8 * kept[0]

    encoder = build_encoder(SENTINEL2, {"size": "tiny"})
    values, valid = batch["s2"]["values"][:, :2], batch["s2"]["valid"][:, :2]
    params = parameters(encoder)

    def energy(compute):
        return jax.jit(
            jax.grad(lambda p: jnp.sum(compute(p, values, valid, {"orbit": valid[..., 0, 0]})["token"] ** 2))
        )

    again = rematerialised(encoder.features, ConfigDict({"remat": True}))
    assert_close(energy(again)(params)["frame"], energy(encoder.features)(params)["frame"], atol=1e-4)
