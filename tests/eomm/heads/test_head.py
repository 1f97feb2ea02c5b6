"""Heads: what is saved is what was fitted, what evaluation scores is what a head is, and how far it may be trusted."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from eomm.errors import DataError, UsageError
from eomm.evaluation.folds import Fold, group_folds
from eomm.evaluation.gpp.models import ridge as gpp_ridge
from eomm.evaluation.probes.fit import ProbeTask, fit_probe
from eomm.heads.fitting import errors, fit_head, hold_out
from eomm.heads.fluxes import NAME, flux_samples
from eomm.heads.head import load_head, save_head
from eomm.heads.interval import conformal
from eomm.heads.linear import logistic, ridge
from eomm.heads.options import FluxOptions
from eomm.heads.samples import Samples
from eomm.heads.seen import fit_seen
from eomm.heads.trees import boosting, trees_of
from tests import zoo
from tests.eomm.gpp_world import make_world

LENGTH, GROUPS, EACH = 6, 24, 15
CLASSES = ("grass", "maize", "wood")
CONTRACT = {"model": "0" * 16, "length": LENGTH, "modalities": ["s2"], "composite": None, "simulated": True}


def make_samples(classes=(), seed=0, noise=0.3):
    """Groups with an offset of their own, whose number or class follows from the vector."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), EACH)
    x = (rng.normal(size=(len(group), LENGTH)) + rng.normal(size=(GROUPS, LENGTH))[group]).astype(np.float32)
    y = x @ np.linspace(-1, 1, LENGTH) + noise * rng.normal(size=GROUPS)[group] + noise * rng.normal(size=len(group))
    if classes:
        y = np.digitize(y, np.quantile(y, np.linspace(0, 1, len(classes) + 1)[1:-1]))
    return Samples(
        x=x, y=y, group=group, rows=np.arange(len(x)), folds=group_folds(group, count=6), classes=classes, target="t",
        unit="" if classes else "kg", thinned=False, contract=CONTRACT,
        about={"on": "labels", "held_out": f"{GROUPS} groups"},
    )  # fmt: skip


@pytest.mark.parametrize(("form", "classes"), [("ridge", ()), ("boosting", ()), ("logistic", CLASSES)])
def test_a_saved_head_is_the_head_in_memory(tmp_path, form, classes):
    samples = make_samples(classes)
    head = fit_head(samples, form)
    found = load_head(save_head(head, tmp_path / "head"))
    assert found.hash == head.hash and found.describe() == json.loads(json.dumps(head.describe()))
    ours, theirs = head.predict(samples.x), found.predict(samples.x)
    for name, values in ours.layers.items():
        np.testing.assert_array_equal(values, theirs.layers[name])
    assert len(repr(head)) < 300 and head.hash in repr(head)
    assert {p.suffix for p in (tmp_path / "head").iterdir()} == {".json", ".safetensors"}


def test_what_was_changed_is_refused(tmp_path):
    path = save_head(fit_head(make_samples(), "ridge"), tmp_path / "head")
    text = (path / "head.json").read_text()
    about = json.loads(text)
    for change in ({"interval": {**about["interval"], "score": 0.0}}, {"unit": "t"}, {"target": "other"}):
        (path / "head.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(DataError, match="copy the head again"):
            load_head(path)
    (path / "head.json").write_text(json.dumps({**about, "form": "forest"}))
    with pytest.raises(DataError, match=r"'forest'.*update it"):
        load_head(path)
    (path / "head.json").write_text(text)
    arrays = load_file(path / "arrays.safetensors")
    save_file({**arrays, "estimator/bias": arrays["estimator/bias"] + 1}, path / "arrays.safetensors")
    with pytest.raises(DataError, match="copy the head again"):
        load_head(path)
    save_file({k: v for k, v in arrays.items() if k != "seen/mean"}, path / "arrays.safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        load_head(path)
    with pytest.raises(DataError, match=r"does not exist; expected a head"):
        load_head(tmp_path / "none")


def test_trees_as_arrays_give_what_scikit_learn_gives():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype(np.float32)
    fresh = rng.normal(size=(200, 5)).astype(np.float32)
    options = {"max_iter": 20, "max_leaf_nodes": 7, "early_stopping": False}
    with threadpool_limits(1):
        check_trees(x, fresh, options)


def check_trees(x, fresh, options):
    number = HistGradientBoostingRegressor(**options).fit(x, x[:, 0] * x[:, 1])
    np.testing.assert_allclose(trees_of(number, 0).outputs(fresh)[:, 0], number.predict(fresh), rtol=1e-12)
    for kinds, classes in ((np.digitize(x[:, 0], [-0.5, 0.5]), 3), ((x[:, 0] > 0) * 2, 3), ((x[:, 1] > 0) * 1, 2)):
        model = HistGradientBoostingClassifier(**options).fit(x, kinds)
        outputs = trees_of(model, classes).outputs(fresh)
        share = np.exp(outputs - outputs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        np.testing.assert_allclose(share[:, model.classes_], model.predict_proba(fresh), rtol=1e-9)
        absent = np.setdiff1d(np.arange(classes), model.classes_)
        assert (share[:, absent] == 0).all()


def test_a_linear_head_is_the_probe_and_the_ridge_that_evaluation_scores():
    samples = make_samples(CLASSES)
    found, penalty = logistic(samples.x, samples.y, samples.group, 3)
    probe, choice = fit_probe("linear", samples.x, samples.y, samples.group, ProbeTask(3))
    assert penalty == choice
    np.testing.assert_allclose(found.outputs(samples.x), probe(samples.x), atol=1e-4)
    wide = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)  # more columns than rows
    kinds, group = np.arange(30) % 3, np.arange(30) // 3
    found, _ = logistic(wide, kinds, group, 3)
    probe, _ = fit_probe("linear", wide, kinds, group, ProbeTask(3))
    np.testing.assert_allclose(found.outputs(wide), probe(wide), atol=1e-4)
    table = make_world()
    rows = np.arange(len(table))
    group = np.unique(table.group, return_inverse=True)[1]
    ours, _ = ridge(table.features["nothing"], table.gpp, group)
    theirs = gpp_ridge(["nothing"])(table, Fold(name="", train=rows, test=rows))
    np.testing.assert_allclose(ours.outputs(table.features["nothing"])[:, 0], theirs, rtol=1e-5)


def test_held_out_rows_are_said_by_fits_that_saw_nothing_of_their_group():
    samples = make_samples()
    held = hold_out(samples, "ridge", 0)
    fold = samples.folds[2]
    other, _ = ridge(samples.x[fold.train], samples.y[fold.train], samples.group[fold.train])
    np.testing.assert_array_equal(held.outputs[fold.test], other.outputs(samples.x[fold.test]))
    assert (held.fold[fold.test] == 2).all()


def test_intervals_cover_new_groups_as_they_say():
    level, inside, told = 0.8, [], []
    for seed in range(40):
        samples = make_samples(seed=seed)
        held = hold_out(samples, "ridge", 0)
        found = conformal(errors(samples.y, held.outputs, False), samples.group, level)
        head = fit_head(samples, "ridge", level=level) if seed == 0 else None
        if head:
            assert head.interval == found
        estimator, _ = ridge(samples.x, samples.y, samples.group)
        fresh = make_samples(seed=1000 + seed)
        inside.append(np.mean(np.abs(fresh.y - estimator.outputs(fresh.x)[:, 0]) <= found.score))
        told.append(found.coverage)
        assert found.level == level and found.groups == GROUPS
    assert abs(np.mean(inside) - level) < 0.05 and abs(np.mean(told) - level) < 0.05


def test_a_group_counts_once_and_few_groups_allow_less():
    score = np.concatenate([np.zeros(1000), np.arange(1, 20.0)])  # nineteen small groups, and a large one without error
    group = np.concatenate([np.zeros(1000, int), np.arange(1, 20)])
    found = conformal(score, group, 0.8)
    assert found.score == 16 and found.level == 0.8  # 17 of 21 parts: the large group's one, and sixteen more
    few = conformal(np.array([1.0, 3.0, 2.0]), np.arange(3), 0.9)
    assert few.level == 0.75 and few.score == 3 and "3 groups allow no 90%" in few.words("3 fields", "kg")
    with pytest.raises(UsageError, match="at least two"):
        conformal(score, np.zeros(len(score), int), 0.9)
    with pytest.raises(UsageError, match="level 90"):
        conformal(score, group, 90)


def test_vectors_unlike_those_seen_get_no_prediction():
    samples = make_samples()
    head = fit_head(samples, "ridge")
    seen = fit_seen(samples.x)
    assert np.sqrt(np.mean(seen.distance(samples.x) ** 2)) == pytest.approx(1, abs=0.02)
    far = np.concatenate([samples.x[:5], samples.x[:5] + 40])
    present = np.ones(10, bool)
    present[0] = False
    found = head.predict(far, present)
    assert found.outside.tolist() == [False] * 5 + [True] * 5
    value, distance = found.layers["prediction"], found.layers["distance"]
    assert np.isnan(value).tolist() == [True] + [False] * 4 + [True] * 5
    assert np.isnan(distance).tolist() == [True] + [False] * 9 and (distance[5:] > head.seen.limit).all()
    np.testing.assert_allclose(found.layers["high"][1:5] - value[1:5], head.interval.score, rtol=1e-5)
    longer = np.concatenate([far, np.ones((10, 3), np.float32)], axis=1)  # numbers beyond the head's length
    np.testing.assert_array_equal(head.predict(longer, present).layers["prediction"], value)


def test_sets_of_classes_hold_the_true_one_as_often_as_they_say():
    samples = make_samples(CLASSES)
    head = fit_head(samples, "logistic", level=0.9)
    found = head.predict(samples.x).layers
    found = {name: values[found["prediction"] >= 0] for name, values in found.items()}
    assert set(found) == {"prediction", "probability", "set_size", "distance"}
    assert head.scores["accuracy"]["value"] > 0.7 and abs(head.interval.coverage - 0.9) < 0.05
    assert found["set_size"].min() >= 0 and found["set_size"].max() <= 3
    sure = found["probability"] > 1 - head.interval.score
    assert (found["set_size"][sure] >= 1).all()
    wide = dataclasses.replace(head, interval=dataclasses.replace(head.interval, score=1.0))
    assert set(wide.predict(samples.x).layers["set_size"]) == {-1, 3}


def test_boosting_learns_what_is_not_linear_and_a_form_must_suit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y, group = np.abs(x[:, 0]) * 2, np.arange(400) // 20
    with threadpool_limits(1):
        found, leaves = boosting(x, y, group, 0)
    line, _ = ridge(x, y, group)
    assert np.var(y - found.outputs(x)[:, 0]) < 0.1 * np.var(y - line.outputs(x)[:, 0]) and leaves in (6, 15)
    for form, classes, words in (("ridge", CLASSES, "target is classes"), ("logistic", (), "target is numbers")):
        with pytest.raises(UsageError, match=words):
            fit_head(make_samples(classes), form)
    with pytest.raises(UsageError, match="no such head"):
        fit_head(make_samples(), "forest")


def test_a_single_tower_is_held_out_by_years_beside_its_climatology():
    world = make_world(sites=1, years=(2017, 2018, 2019, 2020), drought=2019, simulated=True)
    table = dataclasses.replace(world, features={NAME: world.features["state"]})
    samples = flux_samples(table, [zoo.store("clear")], FluxOptions(length=1))
    assert samples.about["folds"] == "year" and samples.about["held_out"] == "4 years"
    for fold in samples.folds:
        assert not set(table.year[fold.train]) & set(table.year[fold.test])
    head = fit_head(samples, "ridge", table=table)
    ours, season = head.scores["head"], head.scores["climatology of the site"]
    errors = {name: found["rmse"]["value"] for name, found in head.scores.items() if name != "head"}
    assert head.worth.startswith(f"RMSE {ours['rmse']['value']:.3g} on what was held out")
    assert ("no better" in head.worth) == (ours["rmse"]["value"] >= min(errors.values()))
    assert ours["r2_of_anomalies"]["value"] > 0.5 > season["r2_of_anomalies"]["value"]
    assert head.interval.level == pytest.approx(0.8) and head.interval.groups == 4
    assert "linear, fitted on means over window:3" in head.note
    assert "never tested" in dataclasses.replace(head, form="boosting").note
    one = table.take(table.year == 2018)
    with pytest.raises(UsageError, match="one year"):
        flux_samples(one, [zoo.store("clear")], FluxOptions(length=1))
