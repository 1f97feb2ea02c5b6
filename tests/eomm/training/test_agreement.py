"""Terms on embeddings alone."""

import jax
import jax.numpy as jnp
import numpy as np

from eomm.training.agreement import Window, correlation, disagreement, ramp, split_window

RNG = np.random.default_rng(0)


def test_the_weight_rises_between_two_shares_of_the_run():
    assert [round(float(ramp(p, (0.4, 0.6))), 6) for p in (0.0, 0.4, 0.5, 0.6, 1.0)] == [0, 0, 0.5, 1, 1]
    assert float(ramp(0.3, (0.0, 0.0))) == 1.0


def test_halves_are_disjoint_and_together_all_that_is_visible():
    hidden = jnp.asarray(RNG.random((3, 4, 40)) < 0.3)
    a, b = split_window(jax.random.key(0), hidden)
    np.testing.assert_array_equal(a & b, hidden)
    assert (a | b).all() and 0.3 < (~a).sum() / (~hidden).sum() < 0.7


def window(step=0.0, time=12):
    """Constant values that differ by `step` between even and odd acquisitions."""
    values = np.ones((1, time, 2, 2, 3), np.float32) + step * (np.arange(time) % 2)[:, None, None, None]
    day = np.arange(time, dtype=np.int32)[None] * 5
    valid = np.ones(values.shape[:-1], bool)
    halves = tuple(jnp.asarray((np.arange(time) % 2 == i)[None, None]) for i in (0, 1))
    return Window(values=values, valid=valid, day=day, targets=np.array([[5]])), halves


def test_halves_that_saw_something_else_need_not_agree():
    for step, expected in ((0.0, 1.0), (0.5, 0.5), (5.0, 0.5**2 / (0.5**2 + 25))):
        seen, halves = window(step)
        np.testing.assert_allclose(seen.alike(halves, 0.5), expected, rtol=1e-4)
    seen, halves = window()
    nothing = Window(
        values=seen.values,
        valid=seen.valid & (np.arange(12) % 2 == 0)[:, None, None],
        day=seen.day,
        targets=seen.targets,
    )
    assert not np.asarray(nothing.alike(halves, 0.5)).any()


def test_disagreement_is_bounded_scale_free_and_blind_to_order_and_to_what_weighs_nothing():
    a, b = (RNG.normal(size=(4, 3, 2, 2, 5)).astype(np.float32) for _ in range(2))
    weight = (RNG.random((4, 3, 2, 2)) < 0.7).astype(np.float32)
    total, count = disagreement(a, b, weight)
    assert 0 < total < count == weight.sum()
    np.testing.assert_allclose(disagreement(a * 7, b * 7, weight)[0], total, rtol=1e-2)
    np.testing.assert_allclose(disagreement(a[::-1], b[::-1], weight[::-1])[0], total, rtol=1e-5)
    spoiled = np.where(weight[..., None] > 0, b, 99)
    np.testing.assert_allclose(
        disagreement(np.where(weight[..., None] > 0, a, 5), spoiled, weight)[0], total, rtol=1e-5
    )
    assert disagreement(a, a, weight)[0] == 0


def test_correlation_is_that_of_what_weighs():
    z = RNG.normal(size=(1, 200, 2, 2, 4)).astype(np.float32)
    weight = (RNG.random((1, 200, 2, 2)) < 0.7).astype(np.float32)
    z[..., 1] = z[..., 0] * 3 + 1
    expected = np.corrcoef(z[weight > 0].T)
    expected = (expected[~np.eye(4, dtype=bool)] ** 2).mean()
    found = jax.jit(correlation)
    np.testing.assert_allclose(found(z, weight), expected, rtol=1e-3)
    np.testing.assert_allclose(found(z[:, ::-1], weight[:, ::-1]), expected, rtol=1e-3)
    flat = jnp.ones((2, 3, 1, 1, 4))  # a vector that says nothing: a finite gradient
    assert np.isfinite(jax.jit(jax.grad(lambda x: correlation(x, jnp.ones((2, 3, 1, 1)))))(flat)).all()
    assert correlation(z[..., :1], weight) == 0
