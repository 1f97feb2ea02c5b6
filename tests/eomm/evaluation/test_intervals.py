"""Intervals cover what they say, differences are paired, and groups, not rows, are drawn."""

import numpy as np
import pytest

from eomm.evaluation.bootstrap import FEWEST_GROUPS, Resampling, expanded_levels, mean_of, words


def moments(values):
    return np.stack([values, np.ones_like(values)], -1)


def test_an_interval_covers_the_true_mean_in_95_of_100_worlds():
    for groups in (6, 20):
        inside = []
        for world in range(300):
            rng = np.random.default_rng([groups, world])
            size = rng.integers(8, 12, groups)
            group = np.repeat(np.arange(groups), size)
            values = 3 + rng.normal(0, 1, groups)[group] + rng.normal(0, 1, len(group))
            low, high = Resampling(group, seed=world, resamples=1500).estimate(mean_of, moments(values))["interval"]
            inside.append(low <= 3 <= high)
        assert 0.92 <= np.mean(inside) <= 0.98, groups


def test_resampling_rows_instead_of_groups_would_be_far_too_sure():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 50)
    values = rng.normal(0, 1, 10)[group] + rng.normal(0, 0.3, 500)
    by_group = Resampling(group).estimate(mean_of, moments(values))["interval"]
    by_row = Resampling(np.arange(500)).estimate(mean_of, moments(values))["interval"]
    assert np.diff(by_group) > 4 * np.diff(by_row)


def test_a_paired_difference_is_resolved_where_two_intervals_overlap():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 10)
    hard = rng.gamma(2, 2, 12)[group]
    first, second = hard + rng.normal(0, 0.1, 120), hard + 0.3 + rng.normal(0, 0.1, 120)
    draws = Resampling(group)
    a, b = draws.estimate(mean_of, moments(first)), draws.estimate(mean_of, moments(second))
    assert a["interval"][1] > b["interval"][0]
    found = draws.difference(mean_of, moments(first), moments(second))
    assert found["resolved"] and found["value"] == pytest.approx(-0.3, abs=0.03)
    assert draws.difference(mean_of, moments(first), moments(first))["resolved"] is False


def test_few_groups_give_no_interval():
    group = np.repeat(np.arange(FEWEST_GROUPS - 1), 10)
    found = Resampling(group).estimate(mean_of, moments(np.arange(len(group), dtype=float)))
    assert found["interval"] is None and found["value"] == pytest.approx(19.5)
    assert "too few" in words(found)
    more = np.repeat(np.arange(8), 10)
    scored = moments(np.ones(80)) * (more < 3)[:, None]  # groups without scored rows do not count
    assert Resampling(more).estimate(mean_of, scored)["interval"] is None


def test_a_score_rests_on_its_rarest_class():
    """Twenty groups of which two decide: as wide as their draws, and none where a single one does."""
    group = np.repeat(np.arange(20), 5)
    moments = np.stack([np.where(group < 10, 1.0, 0) + group / 40, np.ones(100)], axis=1)
    draws = Resampling(group)
    whole = draws.estimate(mean_of, moments)["interval"]
    two = draws.estimate(mean_of, moments, independent=2)["interval"]
    assert two[0] < whole[0] and two[1] > whole[1]
    assert draws.estimate(mean_of, moments, independent=1)["interval"] is None
    gap = draws.difference(mean_of, moments, moments * [[0.5, 1]], independent=1)
    assert gap["interval"] is None and gap["resolved"] is None
    assert draws.estimate(mean_of, moments, independent=50)["interval"] == whole


def test_levels_widen_for_few_groups():
    low, high = expanded_levels(6)
    assert low < 0.01 and high > 0.99 and low == pytest.approx(1 - high)
    assert expanded_levels(10_000) == pytest.approx([0.025, 0.975], abs=1e-4)


def test_words_name_the_interval():
    assert words({"value": 0.675, "interval": [0.58, 0.744]}) == "0.68 (0.58 to 0.74)"
    assert words({"value": None, "interval": None}) == "none"
