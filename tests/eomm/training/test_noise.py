import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from eomm.data.mixture import mix
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError
from eomm.models.state import build_encoder
from eomm.training import experiment
from eomm.training.noise import (
    SeriesSet,
    assumed_noise,
    block_scales,
    draw_series,
    noise_by_set,
    vectors_of,
    whitening,
    with_noise,
)
from tests.eomm.helpers import MODALITIES
from tests.eomm.tiny import make_records

STATE = {"code": "eomm.models.state", "frames": (4, 4)}


def series(modality, *, n=300, t=20, noise=1.0, step_days=(1, 5), name="a", weight=1.0, seed=0):
    """Places that differ, levels that drift slowly, and noise of a known covariance."""
    rng, bands = np.random.default_rng(seed), len(modality.bands)
    mix = 0.2 * np.random.default_rng(9).normal(size=(bands, bands)) + 2 * np.eye(bands)
    level = rng.normal(0, 30, (n, 1, bands)) * np.linspace(1, 3, bands)
    stored = 2000 + 10 * level + noise * 10 * rng.normal(size=(n, t, bands)) @ mix.T
    day = np.cumsum(rng.integers(*step_days, (n, t)), axis=1).astype(np.int32) + 17000
    valid = rng.random((n, t)) < 0.8
    orbit = np.resize([3, 5], (n, t)).astype(np.int32)
    values = np.rint(stored - (3500 if modality is SENTINEL1 else 0)).astype(np.int16)
    return SeriesSet(name=name, weight=weight, values=values, valid=valid, day=day, orbit=orbit), mix


def with_values(one, values):
    return dataclasses.replace(one, values=values)


def test_whitened_noise_is_one_and_components_fall_in_signal():
    one, mix = series(SENTINEL2)
    mean, whiten, _ = whitening(SENTINEL2, [one])
    covariance = whiten @ (mix * 1e-3) @ (mix * 1e-3).T @ whiten.T
    np.testing.assert_allclose(covariance, np.eye(10), atol=0.12)
    y = (SENTINEL2.decode(one.values[one.valid]) - mean) @ whiten.T
    spread = y.var(0)
    assert (np.diff(spread) < 0).all() and spread[-1] > 1
    off = np.corrcoef(y.T) - np.eye(10)
    assert np.abs(off).max() < 0.05


def test_radar_noise_is_of_repeats_of_one_orbit():
    one, mix = series(SENTINEL1, step_days=(6, 7))  # orbits 3 and 5 in turn: repeats after 12 days
    biased = np.where(one.orbit[..., None] == 3, one.values + 500, one.values).astype(np.int16)
    noise = [np.linalg.inv(w.T @ w) for w in (whitening(SENTINEL1, [x])[1] for x in (one, with_values(one, biased)))]
    np.testing.assert_allclose(*noise, rtol=1e-6)
    np.testing.assert_allclose(noise[0], (mix * 0.1) @ (mix * 0.1).T, rtol=0.15, atol=1e-3)
    with pytest.raises(UsageError, match="s1: 0 pairs of acquisitions"):
        whitening(SENTINEL1, [dataclasses.replace(one, orbit=one.orbit * 0)])


def test_what_is_missing_is_measured_and_blocks_have_one_scale():
    one, _ = series(SENTINEL2)
    options = with_noise(STATE, SENTINEL2, [one])
    assert len(options["whiten"]) == 10 and options["same_orbit"] is False
    assert with_noise(options, SENTINEL2, []) == options == with_noise(STATE, SENTINEL2, [one])
    encoder = build_encoder(SENTINEL2, {k: v for k, v in options.items() if k != "code"})
    vectors = vectors_of(encoder, one, np.random.default_rng(1))
    for block in (slice(0, 10), slice(10, 30)):
        assert vectors[:, block].var(0).sum() == pytest.approx(1, rel=0.02)
    np.testing.assert_allclose(block_scales(encoder, [one]), encoder.scale, rtol=1e-4)


def test_sets_count_by_weight_and_their_noise_is_told():
    calm, loud = (series(SENTINEL2, noise=k, name=n, weight=w)[0] for k, n, w in ((1, "calm", 3.0), (3, "loud", 1.0)))
    whiten = whitening(SENTINEL2, [calm, loud])[1]
    found = noise_by_set(SENTINEL2, whiten, [calm, loud])
    assert found["loud"]["noise"] / found["calm"]["noise"] == pytest.approx(3, rel=0.05)
    assert found["calm"]["noise"] < 1 < found["loud"]["noise"] and found["calm"]["weight"] == 3
    alone = whitening(SENTINEL2, [dataclasses.replace(calm, weight=1e6), loud])[1]
    np.testing.assert_allclose(noise_by_set(SENTINEL2, alone, [calm])["calm"]["noise"], 1, rtol=0.05)


def test_weather_has_no_state_and_few_pairs_are_refused():
    weather = MODALITIES["weather"]
    one, _ = series(SENTINEL2, n=5)
    with pytest.raises(UsageError, match="has no state"):
        whitening(weather, [one])
    with pytest.raises(UsageError, match="1000 or more are needed"):
        whitening(SENTINEL2, [one])


def test_an_experiment_measures_it_once_and_a_plan_assumes_it(tmp_path, monkeypatch):
    records = make_records(tmp_path / "r")
    drawn = draw_series(records, "s2")
    assert drawn.values.shape[1:] == (3, 10) and drawn.valid.sum(1).min() > 1
    config = ConfigDict({"stage": "pretrain", "modality": "s2", "encoder": STATE, "seed": 1})
    mixture = mix([records], batch_size=4)
    one, _ = series(SENTINEL2)
    monkeypatch.setattr(experiment, "draw_series", lambda *a, **k: one)
    measured, noise, sets = experiment.measure_noise(config, mixture)
    assert noise["a"]["pairs"] > 1000 and "whiten" not in config.encoder
    again, nothing, none = experiment.measure_noise(measured, mixture)
    assert again is measured and nothing == {} and none == [] and len(sets) == 1
    assert build_encoder(SENTINEL2, {k: v for k, v in measured.encoder.items() if k != "code"}).dim == 30
    assumed = assumed_noise(STATE, SENTINEL2)
    assert build_encoder(SENTINEL2, {k: v for k, v in assumed.items() if k != "code"}).dim == 30
    assert assumed_noise({"size": "tiny"}, SENTINEL2) == {"size": "tiny"}
