"""The head that tells a record's label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.training.labels import class_weights, init_head, tell_labels
from eomm.training.stages import build_stage
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import pretrain_config, records

RNG = np.random.default_rng(0)


def test_unknown_labels_and_vectors_that_say_nothing_weigh_nothing_and_rare_classes_more():
    head = init_head(jax.random.key(0), 5, 3)
    z, day = RNG.normal(size=(4, 2, 1, 1, 5)).astype(np.float32), np.full((4, 2), 17000, np.int32)
    label, weights = jnp.array([0, 2, -1, 1]), class_weights({0: 100, 1: 25, 2: 25}, 3)
    np.testing.assert_allclose(weights, [0.6, 1.2, 1.2], rtol=1e-6)
    known = np.ones((4, 2, 1, 1), bool)
    total, weight = tell_labels(head, z, day, label, known, weights)
    assert weight == pytest.approx(3 * (0.6 + 1.2 + 1.2), rel=1e-6) and np.isfinite(total)
    gradient = jax.grad(lambda x: tell_labels(head, x, day, label, known, weights)[0])(jnp.asarray(z))
    assert not np.asarray(gradient)[2].any() and np.asarray(gradient)[[0, 1, 3]].any((1, 2, 3, 4)).all()
    known[0, 1] = False
    gradient = jax.grad(lambda x: tell_labels(head, x, day, label, known, weights)[0])(jnp.asarray(z))
    assert not np.asarray(gradient)[0, 1].any()
    assert (class_weights({}, 2) == 1).all()


def test_the_term_is_there_with_labels_and_nothing_without():
    batch = {"s2": random_batch(RNG, size=15, times={"s2": 6})["s2"]}
    stage = build_stage(pretrain_config("s2", labels=0.5, classes=3), records(batch))
    params = stage.init(jax.random.key(0))
    run = jax.jit(stage.loss)
    without, plain = run(params, {}, batch, jax.random.key(1))
    batch["s2"]["label"] = np.array([2, -1], np.int32)
    loss, metrics = run(params, {}, batch, jax.random.key(1))
    assert plain["labels"] == (0, 0) and metrics["labels"][1] > 0
    term = metrics["labels"][0] / metrics["labels"][1]
    np.testing.assert_allclose(loss, without + 0.5 * term, rtol=1e-5)
    assert set(stage.model(params).params["s2"]) == {"encoder", "decoder"}
    with pytest.raises(UsageError, match="classes is 0"):
        build_stage(pretrain_config("s2", labels=0.5), records(batch))
