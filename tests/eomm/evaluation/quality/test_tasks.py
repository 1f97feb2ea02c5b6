from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.evaluation.quality import closed, dated, labelled, reader, unlabelled
from eomm.evaluation.quality.local import TASKS, largest_steps, trials
from eomm.evaluation.quality.probes import fold_numbers, left_out, logistic
from eomm.evaluation.quality.scores import mean_of
from eomm.evaluation.quality.tasks import Task, score_all
from eomm.evaluation.quality.vectors import per_series
from eomm.evaluation.quality.verdicts import against, judge_vector
from tests.eomm.evaluation.quality.worlds import closed_vectors, many, one, whitened

RAW = per_series("raw bands", 10, closed.nearest)


def test_groups_are_never_split():
    group = np.array([f"g{i % 7}" for i in range(50)])
    for train, test in left_out(fold_numbers(group, 3)):
        assert not set(group[train]) & set(group[test])
    assert sorted(np.concatenate([t for _, t in left_out(fold_numbers(group, 3))])) == list(range(50))
    with pytest.raises(UsageError, match="one group"):
        fold_numbers(np.array(["a", "a"]), 3)


def test_a_class_that_levels_tell_is_found_and_permuted_labels_give_chance():
    assert labelled.held_out(RAW, many(48), "kind").value > 0.95
    found = [labelled.held_out(RAW, many(48, told=False, seed=k), "kind").value for k in range(4)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)
    linear, knn = labelled.few_labels(RAW, many(40, groups=40, told=False), "kind")
    assert linear.value == pytest.approx(0.5, abs=0.15) and knn.value == pytest.approx(0.5, abs=0.15)
    assert min(o.value for o in labelled.few_labels(RAW, many(40, groups=40), "kind")) > 0.9


def test_a_leak_through_groups_is_not_paid():
    """Vectors that tell the group and nothing else earn nothing, although labels agree within groups."""
    rng = np.random.default_rng(0)
    series = [one(rng, group=f"g{i // 6}", labels={"kind": (i // 6 * 7 % 5) % 2}) for i in range(72)]
    code = {s.group: np.random.default_rng(k).normal(size=8) for k, s in enumerate(series[::6])}
    leak = per_series("group's name", 8, lambda s, at: np.tile(code[s.group], (len(at), 1)))
    assert labelled.held_out(leak, series, "kind").value < 0.75
    y = labelled.labels_of(series, "kind")
    rows = labelled.seasons(leak, series)
    fold = np.arange(len(y)) % 5  # what a split of rows would have paid

    split = [np.mean(logistic(rows[a], y[a], np.arange(len(a)))(rows[b])[0] == y[b]) for a, b in left_out(fold)]
    assert np.mean(split) == 1.0


def test_classes_that_are_tested_must_be_learned():
    series = many(12)
    with pytest.raises(UsageError, match="not learned"):
        labelled.carried_over(RAW, [s for s in series if s.labels["kind"] == 0], series, "kind")
    with pytest.raises(UsageError, match="every class needs 6"):
        labelled.few_labels(RAW, many(8), "kind")


def test_rank_within_groups_pays_nothing_for_telling_groups_apart():
    rng = np.random.default_rng(1)
    levels = np.repeat(rng.normal(size=10), 12)
    noise = rng.normal(size=120)
    series = [
        one(rng, group=f"f{i // 12}", level=0.2 + 0.02 * levels[i], labels={"yield": levels[i] + 0.1 * noise[i]})
        for i in range(120)
    ]
    fold = np.array([s.group for s in series])
    everything = np.ones(120, bool)
    between = labelled.rank_within(RAW, series, "yield", fold=fold, tested=everything)
    assert abs(between.value) < 0.25
    series = [
        one(rng, group=f"f{i // 12}", level=0.2 + 0.02 * noise[i], labels={"yield": noise[i]}) for i in range(120)
    ]
    assert labelled.rank_within(RAW, series, "yield", fold=fold, tested=everything).value > 0.8


def mown(seed=0, count=24, told=True):
    rng, out = np.random.default_rng(seed), []
    for i in range(count):
        day = 17_600 + int(rng.integers(60, 120))  # mid-May to mid-July 2018
        s = one(rng, group=f"g{i // 2}", step_at=day if told else None, labels={"mown": (day,)}, every=4)
        out.append(s)
    return out


def test_events_on_clear_dates_and_dates_near_events_are_left_out():
    s = mown(count=1)[0]
    on = replace(s, labels={"mown": (int(s.day[20]),)})
    sure = dated.events_of([on], "mown", unsure="clear")
    since = on.day[sure.at[0]] - on.day[20]
    assert not ((since >= -3) & (since <= 15)).any() and not sure.truth.any()
    near = dated.events_of([on], "mown", unsure="near")
    since = on.day[near.at[0]] - on.day[20]
    assert np.abs(since).min() > 3 and near.truth.any()
    everything = dated.events_of([on], "mown", unsure="none")
    assert len(everything.truth) > len(near.truth)
    with pytest.raises(UsageError, match="unsure"):
        dated.events_of([on], "mown", unsure="maybe")


def test_an_event_is_seen_where_it_changes_the_bands():
    change = per_series("change", 20, closed.difference)
    told = dated.just_happened(change, dated.events_of(mown(), "mown", unsure="none"))
    untold = dated.just_happened(change, dated.events_of(mown(told=False), "mown", unsure="none"))
    assert told[0].value > 0.7 > untold[0].value
    assert untold[1].value == pytest.approx(0.5, abs=0.2)


def test_interpolation_beats_nothing_and_gaps_cost():
    series = many(12, every=4)
    errors = [
        unlabelled.interpolated_error(closed.linear, unlabelled.hidden_targets(series, gap)).value for gap in (0, 60)
    ]
    assert errors[0] < errors[1]
    a, b = (unlabelled.hidden_targets(series, gap) for gap in (0, 30))
    np.testing.assert_array_equal(a.truth, b.truth)


def test_a_copy_of_the_truth_cannot_be_had_from_hidden_targets():
    """Raw bands at a hidden target are those of the nearest date, not its own."""
    series = many(12, every=4)
    test = unlabelled.hidden_targets(series, 0)
    learn = unlabelled.teaching_targets(many(12, seed=5, every=4))
    assert unlabelled.hidden_errors(RAW, learn, [test])[0].value > 0.005  # the noise of a date is 0.01


def test_the_reader_starts_from_the_state_and_reads_a_vector_that_tells_more():
    series, learn = many(24, every=4), unlabelled.teaching_targets(many(24, seed=5, every=4))
    tests = [unlabelled.hidden_targets(series, 30)]
    state = unlabelled.interpolated_error(closed.exponential, tests[0]).value
    told = per_series("the wave itself", 1, lambda s, at: np.cos(2 * np.pi * s.day[at, None] / 365.2425))
    empty = per_series("nothing", 1, lambda s, at: np.zeros((len(at), 1)))
    found = [unlabelled.hidden_errors(v, learn, tests)[0].value for v in (told, empty)]
    assert max(found) < state  # a day of the year is given to all


@pytest.mark.whole
def test_a_reader_across_groups_was_not_taught_the_group_that_it_reads():
    plain = many(12, every=4)
    shift = {g: 0.05 * (i % 3) for i, g in enumerate(sorted({s.group for s in plain}))}
    series = [replace(s, values=s.values + np.float32(shift[s.group])) for s in plain]
    learn, tests = unlabelled.teaching_targets(series), [unlabelled.hidden_targets(series, 0)]
    names = sorted(shift)
    which = per_series("which group", len(names), lambda s, at: np.eye(len(names))[[names.index(s.group)] * len(at)])
    empty = per_series("nothing", 1, lambda s, at: np.zeros((len(at), 1)))
    here, across = (
        [read(v, learn, tests)[0].value for v in (which, empty)]
        for read in (unlabelled.hidden_errors, partial(unlabelled.hidden_errors_across, folds=2))
    )
    assert here[0] < 0.8 * here[1] and across[0] > 0.9 * across[1]


def test_the_state_of_a_hidden_date_is_the_exponential_mean():
    series = many(24, every=3)
    encoder, test = closed.state_encoder(series), unlabelled.hidden_targets(series, 10)
    states = np.concatenate(closed_vectors(encoder)(test.series, test.at))[:, :10]
    np.testing.assert_allclose(whitened(encoder, unlabelled.state_of(test)), states, atol=0.01)  # of 1e-4 stored


def test_a_constant_is_repeatable_only_if_it_tells_far_dates_apart():
    series = many(12, every=4)
    noise = per_series("noise", 3, lambda s, at: np.random.default_rng(int(s.day.sum())).normal(size=(len(at), 3)))
    smooth = per_series("harmonic", 10, closed.harmonic)
    assert unlabelled.repeatability(noise, series).value > 0.8
    assert unlabelled.repeatability(smooth, series).value < 0.3
    near = unlabelled.near_over_far(RAW, series)
    assert unlabelled.near_over_far(smooth, series).value < near.value
    apart = [np.abs(s.day[s.valid][:, None] - s.day[s.valid]) for s in series]
    assert near.rows == sum(int(((a >= 1) & (a <= 5)).sum()) for a in apart) // 2


def test_a_step_is_shown_at_once_by_raw_bands_and_late_by_a_mean():
    steps = [s for s in unlabelled.steps_at(mown(), "mown")]
    assert steps and all(s.series.day[s.before[0]] < s.series.day[s.after[0]] for s in steps)
    raw = unlabelled.step_at_once(RAW, steps).value
    slow = unlabelled.step_at_once(per_series("mean", 10, closed.gaussian), steps).value
    assert raw == pytest.approx(1, abs=0.15) and slow < 0.7


def test_steps_without_labels_are_the_largest_changes():
    series = mown()
    found = largest_steps(series)
    hits = [
        abs((s.series.day[s.before[0]] + s.series.day[s.after[0]]) / 2 - s.series.labels["mown"][0]) <= 8 for s in found
    ]
    assert np.mean(hits) > 0.7


def test_the_local_bench_scores_all_its_tasks(monkeypatch):
    monkeypatch.setattr(reader, "STEPS", 20)
    learn, test = many(12, every=3), many(12, seed=3, every=3)
    found = score_all(trials(learn, test), [RAW], TASKS)
    assert set(found["hidden, 30 days"]) == {"raw bands", "linear", "Gaussian", "harmonic"}
    assert all(outcomes["raw bands"].value >= 0 for outcomes in found.values())


def outcomes(gain, groups=20):
    rng = np.random.default_rng(7)
    names = np.array([f"{i:02d}" for i in range(groups)])
    base = 0.7 + 0.05 * rng.normal(size=groups)
    others = ("raw bands", "raw window", "PCA of the window")
    made = {o: mean_of(names, base + 0.01 * rng.normal(size=groups)) for o in others}
    return made | {"model": mean_of(names, base + gain + 0.01 * rng.normal(size=groups))}


def task(name):
    return Task(name=name, metric="m", probe="p", labels="l", group="g")


def test_a_vector_passes_on_three_gains_and_no_loss():
    tasks = [task(f"t{i}") for i in range(4)]
    scored = {t.name: outcomes(0.05) for t in tasks}
    assert judge_vector(scored, tasks, "model").holds
    scored["t0"] = outcomes(-0.05)
    verdict = judge_vector(scored, tasks, "model")
    assert not verdict.holds and [r.task for r in verdict.rows if r.not_worse is False] == ["t0"]
    assert sum(r.better for r in verdict.rows) == 3 and "not shown to be not worse on t0" in verdict.because
    scored["t0"] = outcomes(0.0)
    assert judge_vector(scored, tasks, "model").holds


def test_not_told_apart_is_no_pass_and_few_groups_claim_nothing():
    tasks = [task(f"t{i}") for i in range(4)]
    assert not judge_vector({t.name: outcomes(0.0) for t in tasks}, tasks, "model").holds
    verdict = judge_vector({t.name: outcomes(0.5, groups=7) for t in tasks}, tasks, "model")
    assert not verdict.holds and all(r.not_worse is None and r.better is None for r in verdict.rows)


def test_a_missing_method_claims_nothing():
    scored = {"t0": outcomes(0.5)}
    row = against(scored, [task("t0")], "model", ["raw bands", "nowhere"])[0]
    assert row.missing == ("nowhere",) and row.better is None


def test_what_is_forbidden_is_not_scored():
    t = Task(name="t", metric="m", probe="p", labels="l", group="g", forbids="flanders")
    learned = [per_series("v", 10, closed.nearest)]
    assert t.takes(learned[0])

    assert not t.takes(replace(learned[0], learned_from=("swiss", "flanders")))
    assert not t.takes(replace(learned[0], learned_from=None))
