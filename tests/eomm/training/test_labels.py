"""The head that tells a record's label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.training.labels import class_in, classes_of, init_head, tell_labels
from eomm.training.stages import build_stage
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import pretrain_config, records

RNG = np.random.default_rng(0)


def test_unknown_labels_and_vectors_that_say_nothing_weigh_nothing_and_rare_classes_more():
    head = init_head(jax.random.key(0), 5, 3)
    z, day = RNG.normal(size=(4, 2, 1, 1, 5)).astype(np.float32), np.full((4, 2), 17000, np.int32)
    label, weights = jnp.array([0, 2, -1, 1]), classes_of({"labels": {"a": 100, "b": 25, "c": 25}}, "r")[0]
    np.testing.assert_allclose(weights, [0.6, 1.2, 1.2], rtol=1e-6)
    known = np.ones((4, 2, 1, 1), bool)
    total, weight = jax.jit(lambda x: tell_labels(head, x, day, label, known, weights))(z)
    assert weight == pytest.approx(3 * (0.6 + 1.2 + 1.2), rel=1e-6) and np.isfinite(total)
    gradient_of = jax.jit(jax.grad(lambda x, known: tell_labels(head, x, day, label, known, weights)[0]))
    gradient = gradient_of(z, known)
    assert not np.asarray(gradient)[2].any() and np.asarray(gradient)[[0, 1, 3]].any((1, 2, 3, 4)).all()
    known[0, 1] = False
    gradient = gradient_of(z, known)
    assert not np.asarray(gradient)[0, 1].any()


def test_labels_of_sets_of_a_mixture_are_one_list_of_classes():
    weights, own = classes_of(
        {"labels": {"wheat": 4, "maize": 4}, "classes": {"maize": 4, "rice": 16, "wheat": 4}}, "r"
    )
    np.testing.assert_allclose(weights, [1.2, 0.6, 1.2], rtol=1e-6)
    assert class_in(jnp.array([0, 1, -1]), own, 3).tolist() == [0, 2, -1]
    _, none = classes_of({"classes": {"maize": 4, "rice": 16}}, "r")
    assert class_in(None, none, 2).tolist() == [-1, -1]
    with pytest.raises(UsageError, match=r"r: .* carry 1 labels"):
        classes_of({"labels": {"maize": 4}}, "r")


@pytest.mark.whole
def test_the_term_is_there_with_labels_and_nothing_without():
    batch = {"s2": random_batch(RNG, size=15, times={"s2": 6})["s2"]}
    labelled = records(batch)
    labelled.manifest["labels"] = {"a": 1, "b": 1, "c": 1}
    stage = build_stage(pretrain_config("s2", labels=0.5), labelled)
    params = stage.init(jax.random.key(0))
    run = jax.jit(stage.loss)
    without, plain = run(params, {}, batch, jax.random.key(1))
    batch["s2"]["label"] = np.array([2, -1], np.int32)
    loss, metrics = run(params, {}, batch, jax.random.key(1))
    assert plain["labels"] == (0, 0) and metrics["labels"][1] > 0
    term = metrics["labels"][0] / metrics["labels"][1]
    np.testing.assert_allclose(loss, without + 0.5 * term, rtol=1e-5)
    assert set(stage.model(params).params["s2"]) == {"encoder", "decoder"}
    with pytest.raises(UsageError, match="carry 0 labels"):
        build_stage(pretrain_config("s2", labels=0.5), records(batch))
