"""Intervals cover what they say, differences are paired, and groups, not rows, are drawn."""

import numpy as np
import pytest

from eomm.evaluation import say
from eomm.evaluation.bootstrap import FEWEST_GROUPS, Resampling, expanded_levels, mean_of
from eomm.evaluation.result import Difference, Estimate, Verdict


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
            low, high = Resampling(group, seed=world, resamples=1500).estimate(mean_of, moments(values)).interval
            inside.append(low <= 3 <= high)
        assert 0.92 <= np.mean(inside) <= 0.98, groups


def test_resampling_rows_instead_of_groups_would_be_far_too_sure():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 50)
    values = rng.normal(0, 1, 10)[group] + rng.normal(0, 0.3, 500)
    by_group = Resampling(group).estimate(mean_of, moments(values)).interval
    by_row = Resampling(np.arange(500)).estimate(mean_of, moments(values)).interval
    assert np.diff(by_group) > 4 * np.diff(by_row)


def test_a_paired_difference_is_resolved_where_two_intervals_overlap():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 10)
    hard = rng.gamma(2, 2, 12)[group]
    first, second = hard + rng.normal(0, 0.1, 120), hard + 0.3 + rng.normal(0, 0.1, 120)
    draws = Resampling(group)
    a, b = draws.estimate(mean_of, moments(first)), draws.estimate(mean_of, moments(second))
    assert a.interval[1] > b.interval[0]
    found = draws.difference(mean_of, moments(first), moments(second))
    assert found.resolved and found.value == pytest.approx(-0.3, abs=0.03)
    assert draws.difference(mean_of, moments(first), moments(first)).resolved is False


def test_few_groups_give_no_interval():
    group = np.repeat(np.arange(FEWEST_GROUPS - 1), 10)
    found = Resampling(group).estimate(mean_of, moments(np.arange(len(group), dtype=float)))
    assert found.interval is None and found.value == pytest.approx(19.5)
    assert "too few" in say.figure(found)
    more = np.repeat(np.arange(8), 10)
    scored = moments(np.ones(80)) * (more < 3)[:, None]  # groups without scored rows do not count
    assert Resampling(more).estimate(mean_of, scored).interval is None


def test_a_score_rests_on_its_rarest_class():
    """Twenty groups of which two decide: as wide as their draws, and none where a single one does."""
    group = np.repeat(np.arange(20), 5)
    moments = np.stack([np.where(group < 10, 1.0, 0) + group / 40, np.ones(100)], axis=1)
    draws = Resampling(group)
    whole = draws.estimate(mean_of, moments).interval
    two = draws.estimate(mean_of, moments, independent=2).interval
    assert two[0] < whole[0] and two[1] > whole[1]
    assert draws.estimate(mean_of, moments, independent=1).interval is None
    gap = draws.difference(mean_of, moments, moments * [[0.5, 1]], independent=1)
    assert gap.interval is None and gap.resolved is None
    assert draws.estimate(mean_of, moments, independent=50).interval == whole


def test_levels_widen_for_few_groups():
    low, high = expanded_levels(6)
    assert low < 0.01 and high > 0.99 and low == pytest.approx(1 - high)
    assert expanded_levels(10_000) == pytest.approx([0.025, 0.975], abs=1e-4)


def test_words_name_the_interval():
    assert say.figure(Estimate(value=0.675, interval=(0.58, 0.744))) == "0.68 (0.58 to 0.74)"
    assert say.figure(Difference(value=-0.001, interval=(-0.2, 0.1))) == "+0.00 (-0.20 to +0.10)"
    assert say.figure(Estimate(value=None)) == say.value(None) == "none"
    assert say.value(Difference(value=0.5, interval=(0.4, 0.6))) == "+0.50"


def differences(better="higher"):
    ends = {"a": (0.1, 0.3), "b": (-0.3, -0.1), "c": (-0.1, 0.2), "d": None, "e": (0.3, 0.5)}
    return {n: Difference(value=np.mean(i or 0.4), interval=i, better=better) for n, i in ends.items()}


def test_who_beats_whom_is_what_intervals_say():
    found = differences()
    assert say.standing(found) == "beats a and e; loses to b; cannot be told apart from c and d"
    assert say.standing({n: found[n] for n in "ae"}, whole="every other") == "beats every other"
    assert say.standing(differences("lower")).startswith("beats b; loses to a and e;")
    assert say.against("raw bands", found["b"]) == "loses to raw bands, -0.20 (-0.30 to -0.10)"
    assert say.verb(found["d"]) == "too few groups" and say.verb(found["c"]) == "cannot be told apart from"
    assert say.ranked(found)[0] == "beats a +0.20 (+0.10 to +0.30); e +0.40 (+0.30 to +0.50)"
    assert say.ranked(found, most=1)[0].endswith("and 1 more") and not any("d +" in c for c in say.ranked(found))


def test_a_verdict_is_a_sentence_with_its_reasons():
    said = {h: say.verdict(Verdict(claim="it rains", holds=h, because=("a", "b"))) for h in (True, False, None)}
    assert said[True] == "It is shown that it rains: a; b." and said[False].startswith("It is not shown that it rains")
    assert said[None].startswith("It cannot be told whether it rains")
