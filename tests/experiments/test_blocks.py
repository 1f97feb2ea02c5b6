"""Blocks beside the closed form see its window and nothing else."""

import dataclasses

import numpy as np
from eomm.experiments.shipped import blocks

from eomm.evaluation.quality.series import Series
from eomm.models.directory import load_model

ENCODER = load_model("closed").encoders["s2"]


def a_series(count=40, hidden=()):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.02, 0.4, (count, 10)).astype(np.float32)
    valid = ~np.isin(np.arange(count), hidden)
    return Series(name="a", region="", group="", values=values, day=np.arange(count, dtype=np.int32) * 5, valid=valid)


def test_what_lies_outside_the_window_changes_nothing():
    before, after = ENCODER.frames
    series, at = a_series(), np.array([20])
    changed = series.values.copy()
    changed[: 20 - before], changed[20 + after + 1 :] = 1.0, 1.0
    other = dataclasses.replace(series, values=changed)
    inside = series.values.copy()
    inside[20 - before], inside[20 + after] = 0.5, 0.5
    within = dataclasses.replace(series, values=inside)
    for block in (blocks.spread_of(ENCODER), blocks.difference_of(ENCODER)):
        np.testing.assert_array_equal(block(other, at), block(series, at))
        assert not np.allclose(block(within, at), block(series, at))


def test_what_does_not_change_has_no_spread_and_a_hidden_date_no_difference():
    series = a_series(hidden=[7])
    still = dataclasses.replace(series, values=np.broadcast_to(series.values[:1], series.values.shape))
    at = np.array([6, 7, 39])
    np.testing.assert_allclose(blocks.spread_of(ENCODER)(still, at), 0, atol=1e-3)
    found = blocks.difference_of(ENCODER)(series, at)
    assert not found[1].any() and found[0].any() and found[2].any()
    assert blocks.spread_of(ENCODER)(series, at).min() > 0.1
    nothing = dataclasses.replace(series, valid=np.zeros(40, bool))
    for block in (blocks.spread_of(ENCODER), blocks.difference_of(ENCODER)):
        np.testing.assert_array_equal(block(nothing, at), np.zeros((3, ENCODER.components)))
