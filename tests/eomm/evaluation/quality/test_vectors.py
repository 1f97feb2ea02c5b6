from dataclasses import replace

import jax
import numpy as np
import pytest

from eomm.data.modality import SENTINEL2
from eomm.data.points import PointSeries
from eomm.errors import DataError
from eomm.evaluation.quality import closed
from eomm.evaluation.quality.learned import encoder_vectors, random_encoder
from eomm.evaluation.quality.series import hide
from eomm.evaluation.quality.vectors import beside, leading, per_series, remembered, scaled
from eomm.models import context
from tests.eomm.evaluation.quality.worlds import closed_vectors, many, one, whitened


@pytest.fixture(scope="module")
def sample():
    return many(8, every=3)


@pytest.fixture(scope="module")
def forms(sample):
    return closed.closed_forms(sample)


def test_every_form_is_defined_where_the_date_is_hidden_and_where_nothing_is_left(forms):
    series = one(np.random.default_rng(0))
    hidden, at = hide(series, 20, 30)
    nothing = hidden.keep(np.array([at]))
    for vectors in forms.values():
        for s, where in ((series, 3), (hidden, at), (nothing, 0)):
            made = vectors([s], [np.array([where])])[0]
            assert made.shape == (1, vectors.length) and np.isfinite(made).all(), vectors.name


def test_no_form_sees_what_is_hidden(forms):
    rng = np.random.default_rng(3)
    series = one(rng)
    changed = replace(series, values=np.where(np.arange(len(series))[:, None] == 20, np.float32(0.9), series.values))
    for vectors in [*forms.values(), random_encoder()]:
        a, b = (vectors([h], [np.array([at])])[0] for h, at in (hide(s, 20, 10) for s in (series, changed)))
        np.testing.assert_array_equal(a, b, err_msg=vectors.name)


def test_hiding_removes_the_target_and_what_is_near():
    series = one(np.random.default_rng(4))
    hidden, at = hide(series, 15, 12)
    assert hidden.day[at] == series.day[15] and not hidden.valid[at] and (hidden.values[at] == 0).all()
    others = np.delete(hidden.day, at)
    assert np.abs(others - series.day[15]).min() > 12
    assert set(others) == set(series.day[np.abs(series.day - series.day[15]) > 12])


def test_the_state_lies_nearer_to_the_truth_than_raw_bands(sample):
    encoder = closed.state_encoder(sample)
    rng, errors = np.random.default_rng(5), []
    for _ in range(10):
        s = one(rng, every=3)
        wave = 0.1 * np.cos(2 * np.pi * s.day[:, None] / 365.2425) * np.linspace(0.2, 1, 10)
        truth, state = whitened(encoder, 0.2 + wave), closed_vectors(encoder)([s])[0][:, :10]
        errors.append([np.abs(m - truth).mean() for m in (state, whitened(encoder, s.values))])
    state, raw = np.mean(errors, axis=0)
    assert state < 0.6 * raw


def test_noise_is_measured_on_enough_pairs_of_near_dates(sample):
    encoder = closed.state_encoder(sample)
    s = one(np.random.default_rng(2), dates=400, every=2)
    near = np.diff(s.day) <= 4
    noise = np.diff(whitened(encoder, s.values), axis=0)[near]
    assert (noise**2).mean() / 2 == pytest.approx(1, abs=0.3)
    with pytest.raises(DataError, match="pairs of dates at most 4 days apart; noise needs 100"):
        closed.state_encoder(sample[:2])


def test_sides_are_zero_where_a_side_has_no_date(sample):
    s = one(np.random.default_rng(6))
    sides = closed_vectors(closed.state_encoder(sample))([s], [np.array([0, len(s) - 1])])[0][:, 10:]
    assert (sides[0, :10] == 0).all() and (sides[1, 10:] == 0).all()
    assert (sides[0, 10:] != 0).any() and (sides[1, :10] != 0).any()


def test_harmonics_of_a_wave_are_that_wave():
    day = np.arange(17_600, 18_300, 9).astype(np.int32)
    values = np.repeat((0.2 + 0.05 * np.sin(2 * np.pi * day / 365.2425))[:, None], 10, axis=1).astype(np.float32)
    s = PointSeries(id="w", group="g", values=values, day=day, valid=np.ones(len(day), bool))
    np.testing.assert_allclose(closed._waves(day) @ closed.coefficients(s, ridge=1e-6), values, atol=2e-4)
    shrunk = closed.harmonic(s, np.arange(len(day)))  # the penalty of the plan draws it to its mean
    assert np.ptp(shrunk) < np.ptp(values) and np.abs(shrunk - values).max() < 0.01


def test_scales_come_from_the_sample_alone(sample):
    raw = per_series("raw", 10, closed.nearest)
    v = scaled(raw, sample)
    rows = np.concatenate(v(sample))
    assert rows.mean(0) == pytest.approx(np.zeros(10), abs=1e-4)
    assert rows.var(0).sum() == pytest.approx(1, rel=1e-3)
    far = many(2, seed=9)
    np.testing.assert_array_equal(v(far)[0], v([*far, *sample])[0])


def test_parts_stand_side_by_side_and_prefixes_come_off(sample, forms):
    both = beside("both", forms["state"], forms["raw bands"])
    assert both.length == 20 and both.state == 10
    np.testing.assert_array_equal(leading("first", both, 10)(sample)[0], forms["state"](sample)[0])


def test_remembered_vectors_are_the_same_and_computed_once(sample):
    calls = []

    def counted(series, at):
        calls.append(len(at))
        return closed.nearest(series, at)

    v = remembered(per_series("counted", 10, counted))
    first, second = v(sample), v(sample)
    assert len(calls) == len(sample)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    np.testing.assert_allclose(v(sample, [np.array([2])] * len(sample))[0], first[0][2:3])


def test_wrong_shapes_and_nan_are_refused(sample):
    with pytest.raises(DataError, match="expected"):
        per_series("short", 3, closed.nearest)(sample)
    with pytest.raises(DataError, match="NaN"):
        per_series("nan", 10, lambda s, at: np.full((len(at), 10), np.nan))(sample)


def test_an_encoder_gives_the_same_alone_and_in_a_batch():
    vectors, series = random_encoder(), [*many(5), one(np.random.default_rng(1), dates=70)]
    together = vectors(series)
    for s, expected in zip(series, together, strict=True):
        np.testing.assert_allclose(vectors([s])[0], expected, atol=1e-5)
        np.testing.assert_allclose(vectors([s], [np.array([7])])[0], expected[7:8], atol=1e-5)


def test_an_encoder_with_a_halo_reads_a_lone_pixel_or_its_like():
    encoder = context.build_encoder(SENTINEL2, {"size": "tiny", "dilations": (1,)})
    params = {"encoder": encoder.init(jax.random.key(0)), "fusion": None}
    series = many(2, dates=12)
    lone, alike = (
        encoder_vectors(encoder, SENTINEL2, params, name=s, surroundings=s)(series)[0] for s in ("lone", "alike")
    )
    assert np.isfinite(lone).all() and np.abs(lone - alike).max() > 1e-4
