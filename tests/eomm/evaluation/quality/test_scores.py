import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from eomm.errors import UsageError
from eomm.evaluation.quality import scores


def test_outcomes_of_all_groups_alike_are_the_plain_scores():
    rng = np.random.default_rng(0)
    group, truth, output = rng.integers(0, 9, 300), rng.random(300) < 0.3, rng.normal(size=300)
    same_fold = np.zeros(300)
    assert scores.auc(group, same_fold, truth, output).value == pytest.approx(roc_auc_score(truth, output))
    guess = rng.integers(0, 3, 300)
    kinds = rng.integers(0, 3, 300)
    expected = balanced_accuracy_score(kinds, guess)
    assert scores.balanced_accuracy(group, kinds, guess[None]).value == pytest.approx(expected)
    assert scores.mean_of(group, output).value == pytest.approx(output.mean())


def test_auc_compares_no_outputs_of_different_folds():
    truth = np.array([True, False, True, False])
    fold, group = np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"])
    assert scores.auc(group, fold, truth, np.array([1.0, 0.0, 11.0, 10.0])).value == 1.0
    assert scores.auc(group, np.zeros(4), truth, np.array([1.0, 0.0, 11.0, 10.0])).value == 0.75


def test_a_drawn_group_counts_as_often_as_it_is_drawn():
    group, value = np.array(["a", "a", "b"]), np.array([1.0, 3.0, 10.0])
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(scores.mean_of(group, value).score(weights), [14 / 3, 2, 10])


def test_sign_flip_is_exact_on_small_cases():
    values = np.array([0.3, 0.1, 0.4, -0.2, 0.5])
    flips = [abs(values @ np.array(s)) for s in itertools.product((1, -1), repeat=5)]
    assert scores.sign_flip(values) == np.mean(np.array(flips) >= abs(values.sum()) - 1e-12)
    assert scores.sign_flip(np.ones(8)) == 2 / 256
    with pytest.raises(UsageError, match="sign flips"):
        scores.sign_flip(np.ones(24))


def test_pseudo_values_of_a_mean_are_the_groups_own():
    values = np.array([1.0, 4.0, 2.0, 7.0])
    outcome = scores.mean_of(np.arange(4), values)
    np.testing.assert_allclose(scores.pseudo_values(outcome.score, 4), values, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_is_monotone_and_never_below_p(p):
    adjusted = scores.holm(p)
    pairs = sorted((a, b) for a, b in zip(p, adjusted, strict=True) if a is not None)
    assert [b for _, b in pairs] == sorted(b for _, b in pairs)
    assert all(a <= b <= 1 for a, b in pairs)
    assert [a is None for a in p] == [b is None for b in adjusted]
    if pairs:
        assert pairs[0][1] == min(1.0, pairs[0][0] * len(pairs))


def outcome_of(values):
    return scores.mean_of(np.array([f"{i:03d}" for i in range(len(values))]), np.asarray(values, float))


def test_no_claim_under_eight_groups():
    found = scores.compare(outcome_of(np.ones(7)), outcome_of(np.zeros(7)), better="higher")
    assert found.p is None and found.interval is None and found.value == 1
    assert scores.compare(outcome_of(np.ones(8)), outcome_of(np.zeros(8)), better="higher").p == 2 / 256


@pytest.mark.parametrize("count", [12, 40])
def test_equal_methods_differ_in_nothing_and_a_clear_gain_is_seen(count):
    rng = np.random.default_rng(1)
    base = rng.normal(size=count)
    same = scores.compare(outcome_of(base), outcome_of(base), better="higher")
    assert same.p == 1 and same.value == 0
    gain = scores.compare(outcome_of(base + 0.5 + 0.1 * rng.normal(size=count)), outcome_of(base), better="higher")
    assert gain.p < 0.01 and gain.interval[0] > 0
    loss = scores.compare(outcome_of(base + 0.5), outcome_of(base), better="lower")
    assert loss.value == pytest.approx(-0.5)


def test_false_claims_are_as_rare_as_said():
    rng = np.random.default_rng(2)
    for count in (10, 24):
        p = [
            scores.compare(
                outcome_of(rng.normal(size=count)), outcome_of(rng.normal(size=count)), better="higher", resamples=300
            ).p
            for _ in range(200)
        ]
        assert np.mean(np.array(p) < 0.05) < 0.11


def test_outcomes_of_other_groups_are_not_paired():
    with pytest.raises(UsageError, match="different groups"):
        scores.compare(outcome_of(np.ones(8)), outcome_of(np.ones(9)), better="higher")


def test_seeds_are_averaged_before_groups_are_drawn():
    a, b = outcome_of([1.0, 2.0]), outcome_of([3.0, 6.0])
    np.testing.assert_allclose(scores.averaged([a, b]).score(np.array([[1.0, 0.0], [0.0, 1.0]])), [2, 4])
