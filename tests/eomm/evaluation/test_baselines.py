"""What needs no network: interpolations, harmonics, principal components, ridge."""

import numpy as np
import pytest

from eomm.evaluation import baselines
from eomm.evaluation.baselines import INTERPOLATIONS, SIMPLE, Observations, fit_pca, fit_ridge, window_features


def random_series(rng, *, times=14, pixels=30, valid=0.6):
    return Observations(
        values=rng.normal(size=(times, pixels, 3)).astype(np.float32),
        valid=rng.random((times, pixels)) < valid,
        day=np.cumsum(rng.integers(1, 9, times)).astype(np.int32) + 17000,
    )


def test_interpolations_equal_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    series = random_series(rng, valid=0.3)
    day = int(series.day[6]) + 1
    for p in range(series.values.shape[1]):
        ok = series.valid[:, p]
        days, values = series.day[ok], series.values[ok, p]
        got = {name: method(series, day)[p] for name, method in INTERPOLATIONS.items()}
        if not ok.any():
            assert all(np.isnan(v).all() for v in got.values())
            continue
        np.testing.assert_array_equal(got["nearest"], values[np.argmin(np.abs(days - day))])
        expected = np.array([np.interp(day, days, values[:, c]) for c in range(3)])
        np.testing.assert_allclose(got["linear"], expected, atol=1e-5)
        weight = np.exp(-0.5 * ((days - day) / 12.0) ** 2)
        np.testing.assert_allclose(got["gaussian_12"], weight @ values / weight.sum(), atol=1e-5)


def test_smoother_in_a_long_gap_gives_the_nearest_observation_instead_of_nothing():
    values = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    series = Observations(values=values, valid=np.ones((2, 1), bool), day=np.array([0, 3000], np.int32))
    np.testing.assert_allclose(baselines.gaussian(series, 1000, 12.0)[0], values[0, 0])


@pytest.mark.parametrize("name", SIMPLE)
def test_hidden_acquisitions_do_not_move_a_baseline(name):
    rng = np.random.default_rng(1)
    series = random_series(rng)
    hidden = rng.random(len(series.day)) < 0.4
    values = series.values.copy()
    values[hidden] = 1e6
    moved = Observations(values=values, valid=series.valid | hidden[:, None], day=series.day)
    day = int(series.day[5])
    method = SIMPLE[name]
    np.testing.assert_array_equal(method(series.without(hidden), day), method(moved.without(hidden), day))
    np.testing.assert_array_equal(
        window_features(series.without(hidden), day), window_features(moved.without(hidden), day)
    )


def test_nothing_visible_gives_nan_not_an_error():
    series = random_series(np.random.default_rng(2)).without(np.ones(14, bool))
    for method in SIMPLE.values():
        assert np.isnan(method(series, 17010)).all()


def test_harmonic_fit_equals_a_loop_over_pixels_and_finds_a_year():
    rng = np.random.default_rng(0)
    series = random_series(rng, times=30, valid=0.5)
    day, waves = int(series.day[8]) + 2, baselines.year_waves(series.day)
    got = baselines.harmonic(series, day)
    for p in range(series.values.shape[1]):
        ok = series.valid[:, p]
        x, y = waves[ok].astype(np.float64), series.values[ok, p]
        mean = y.mean(0)
        penalty = np.diag([0.0, *[baselines.WAVE_PENALTY] * 4])
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ (y - mean))
        np.testing.assert_allclose(got[p], mean + (baselines.year_waves(np.array([day])) @ weights)[0], atol=1e-4)
    # two years every third day, the third summer hidden: only a wave can know it
    days = np.arange(0, 1095, 3).astype(np.int32)
    year = 0.3 + 0.2 * np.sin(2 * np.pi * days / baselines.YEAR_DAYS)
    seen = (days < 820) | (days > 1000)
    wave = Observations(values=year.astype(np.float32)[:, None, None], valid=seen[:, None], day=days)
    expected = 0.3 + 0.2 * np.sin(2 * np.pi * 900 / baselines.YEAR_DAYS)
    error = {m: abs(SIMPLE[m](wave, 900)[0, 0] - expected) for m in ("harmonic", "linear")}
    assert error["harmonic"] < 0.01 < error["linear"]


def test_pca_with_all_components_is_exact_and_fewer_are_worse():
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.testing.assert_allclose(fit_pca(x, 6).reconstruct(x), x, atol=1e-5)
    errors = [np.square(fit_pca(x, k).reconstruct(x) - x).mean() for k in (1, 3, 5)]
    assert errors == sorted(errors, reverse=True)


def test_ridge_finds_a_linear_relation_and_shrinks_on_noise():
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=(600, 5)), np.repeat(np.arange(12), 50)
    weights = rng.normal(size=(5, 2))
    found = fit_ridge(x, x @ weights + 3, group)
    np.testing.assert_allclose(found.predict(x), x @ weights + 3, atol=1e-2)
    noise = fit_ridge(x, rng.normal(size=(600, 2)), group)
    assert noise.penalty > found.penalty
