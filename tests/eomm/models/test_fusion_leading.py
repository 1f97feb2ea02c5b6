"""A closed form leads the fused embedding as its encoder gave it, and is neutral where the sensor is absent."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.models.fusion import Fusion
from eomm.training.level import level_of, levelled_head
from tests.parameters import parameters

LEADING = (("s2", 6), ("s1", 2))
DIMS = {"s1": 5, "s2": 9}
ROWS = 7


@pytest.fixture(scope="module")
def head():
    return Fusion.build(DIMS, {"leading": LEADING, "dim": 12, "width": 8, "heads": 2, "layers": 1})


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(ROWS, dim)).astype(np.float32) for name, dim in DIMS.items()}


def fused(head, embeddings, *names):
    present = {name: jnp.full(ROWS, name in names) for name in DIMS}
    days = {"s2": jnp.zeros(ROWS), "s1": jnp.full(ROWS, -3.0)}
    return np.asarray(head.fuse(parameters(head), embeddings, present, days))


def test_what_leads_stands_as_it_came(head, embeddings):
    got = fused(head, embeddings, "s1", "s2")
    np.testing.assert_array_equal(got[:, :6], embeddings["s2"][:, :6])
    np.testing.assert_array_equal(got[:, 6:8], embeddings["s1"][:, :2])
    assert got.shape == (ROWS, head.dim) and head.prefixes == (6, 8, 12) and head.fused == 4


def test_what_is_absent_is_neutral_and_changes_what_is_fused(head, embeddings):
    whole = fused(head, embeddings, "s1", "s2")
    for count in range(3):
        for names in itertools.combinations(DIMS, count):
            got = fused(head, embeddings, *names)
            assert np.isfinite(got).all()
            assert np.all(got[:, :6] == (embeddings["s2"][:, :6] if "s2" in names else 0))
            assert np.all(got[:, 6:8] == (embeddings["s1"][:, :2] if "s1" in names else 0))
            if count < 2:
                assert np.abs(got[:, 8:] - whole[:, 8:]).max(1).min() > 1e-3


def test_a_levelled_head_gives_numbers_of_one_level_and_decodes_as_before(head, embeddings):
    params = parameters(head)
    present, days = {n: jnp.ones(ROWS, bool) for n in DIMS}, {n: jnp.zeros(ROWS) for n in DIMS}
    before = head.fuse(params, embeddings, present, days)
    own = np.asarray(before[:, 8:], np.float64)
    centre, spread = (jnp.asarray(x, jnp.float32) for x in level_of(own.mean(0), (own**2).mean(0), 0.5))
    levelled = levelled_head(head, params, centre, spread)
    after = head.fuse(levelled, embeddings, present, days)
    np.testing.assert_array_equal(after[:, :8], before[:, :8])
    np.testing.assert_allclose(after[:, 8:].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.sum(np.var(after[:, 8:], axis=0)), 0.25, rtol=1e-4)
    for name, expected in head.project(params, before).items():
        np.testing.assert_allclose(head.project(levelled, after)[name], expected, atol=1e-5)


def test_decoders_are_given_what_leads_from_the_first_step_on(head, embeddings):
    params = parameters(head)
    fused = head.fuse(params, embeddings, {n: jnp.ones(ROWS, bool) for n in DIMS}, {n: jnp.zeros(ROWS) for n in DIMS})
    params = {**params, **{f"out_{n}": jax.tree.map(jnp.zeros_like, params[f"out_{n}"]) for n in DIMS}}
    for name, count in LEADING:
        projected = head.project(params, fused)[name]
        np.testing.assert_array_equal(projected[:, :count], embeddings[name][:, :count])
        assert not projected[:, count:].any()


def test_a_head_without_what_leads_is_as_it_was(embeddings):
    plain = Fusion.build(DIMS, {"dim": 12, "width": 8, "heads": 2, "layers": 1})
    assert plain.leading == () and plain.prefixes == () and plain.fused == 12
    assert fused(plain, embeddings, "s2").shape == (ROWS, 12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"leading": LEADING, "dim": 8}, "give it more"),
        ({"leading": (("s2", 10),), "dim": 12}, "the embeddings' lengths"),
        ({"leading": (("s3", 1),), "dim": 12}, "the embeddings' lengths"),
    ],
)
def test_what_cannot_lead_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Fusion.build(DIMS, options)
