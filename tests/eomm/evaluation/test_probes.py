"""Probes: folds that hold whole fields out, and scores that cannot be had by luck or by a leak."""

import dataclasses

import numpy as np
import pytest

from eomm.errors import ContractError, UsageError
from eomm.evaluation.features import Features
from eomm.evaluation.folds import Fold
from eomm.evaluation.labels import Labels, block_groups, fields
from eomm.evaluation.probes import tables as probes
from eomm.evaluation.probes.plan import LabelledSite, Method, ProbePlan
from eomm.evaluation.probes.tables import probe
from tests.eomm.evaluation.fields import GRID, SIZE, field_map, labels_of
from tests.eomm.site import make_cube


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return make_cube(tmp_path_factory.mktemp("site") / "a.zarr", grid=GRID, s1=False)


def source(array):
    """A provider of features of no date."""
    array = np.asarray(array, np.float32)
    array = array[..., None] if array.ndim == 2 else array
    return lambda cube, dates: Features(array[None], np.ones((1, *array.shape[:2]), bool), None)


def run(cube, arrays, values=None, *, main=None, **changes):
    values = field_map() if values is None else values
    labels = values if isinstance(values, Labels) else labels_of(values)
    plan = ProbePlan(
        **{"shares": (1.0,), "seeds": (0,), "buffer_px": 2, "probes": ("knn", "linear"), "folds": 3} | changes
    )
    methods = {n: Method(n, n, source(a)) for n, a in arrays.items()}
    return probe([LabelledSite(cube, labels)], methods, dataclasses.replace(plan, main=main or "none"))


def score(outcome, method, metric="balanced_accuracy", **where):
    (found,) = [
        s
        for s in outcome.scores
        if s.method == method and s.metric == metric and all(getattr(s, k) == v for k, v in where.items())
    ]
    return found


# --- Honesty ------------------------------------------------------------------------------------------------------


def test_an_oracle_scores_one_and_noise_scores_chance(cube):
    values = field_map()
    rng = np.random.default_rng(5)
    arrays = {"oracle": values == 1, "noise": rng.normal(size=(SIZE, SIZE, 4))}
    found = run(cube, arrays, values, main="oracle", seeds=(0, 1), shares=(0.1, 1.0))
    for kind in ("knn", "linear"):
        for share in (0.1, 1.0):
            assert score(found, "oracle", probe=kind, share=share).value == 1
        noise = score(found, "noise", probe=kind, share=1.0)
        # below is as honest: classes that are rarer in training than in the test are called too rarely
        assert noise.value < 0.6 and noise.interval[0] < 0.5
    (gain,) = [d for d in found.differences if (d.probe, d.share, d.metric) == ("linear", 1.0, "balanced_accuracy")]
    assert gain.against == "noise" and gain.side == 1 and 0.4 < gain.value < 0.6


def test_shuffled_labels_score_chance(cube):
    values = field_map()
    group, _ = fields(values)
    rng = np.random.default_rng(6)
    kinds = np.array([-1, *rng.permutation(np.arange(group.max()) % 2)])
    shuffled = Labels(kinds[group].astype(np.int32), values >= 0, ("a", "b"), group, tuple(map(str, range(len(kinds)))))
    found = run(cube, {"true": values == 1}, shuffled, seeds=(0, 1))
    for kind in ("knn", "linear"):
        low, high = score(found, "true", probe=kind).interval
        assert low < 0.5 < high


def test_a_feature_that_names_the_field_helps_only_where_fields_leak(cube):
    """Every field has a signature of its own: known pixels of a field give it away, other fields cannot."""
    values = field_map()
    group, _ = fields(values)
    signature = np.random.default_rng(7).normal(size=(group.max() + 1, 6))[group]
    apart = run(cube, {"signature": signature}, values, buffer_px=0)
    assert score(apart, "signature", probe="knn").interval[0] < 0.5
    leaks = np.arange(1, SIZE**2 + 1, dtype=np.int32).reshape(SIZE, SIZE)
    leaky = Labels(values, values >= 0, ("a", "b"), leaks, ("",) * (SIZE**2 + 1))
    assert score(run(cube, {"signature": signature}, leaky, buffer_px=0), "signature", probe="knn").value == 1


def test_a_planted_leak_is_caught(cube, monkeypatch):
    made = probes.make_folds

    def planted(rows, plan):
        folds, buffer = made(rows, plan)
        first = folds[0]
        return [Fold(name="planted", train=np.append(first.train, first.test[0]), test=first.test[1:])], buffer

    monkeypatch.setattr(probes, "make_folds", planted)
    with pytest.raises(ContractError, match=r"leak in fold 'planted'.*fields"):
        run(cube, {"a": field_map()})


def test_a_planted_neighbour_is_caught(cube, monkeypatch):
    made = probes.make_folds

    def narrow(rows, plan):
        return made(rows, ProbePlan(buffer_px=0, folds=plan.folds))[0], made(rows, plan)[1]

    monkeypatch.setattr(probes, "make_folds", narrow)
    with pytest.raises(ContractError, match="within 3 of a test row"):
        run(cube, {"a": field_map()}, buffer_px=3)


def test_training_rows_decide_alone(cube):
    """Labels of the tested field may be anything: no prediction of it changes."""
    values = field_map()
    rng = np.random.default_rng(8)
    image = (values == 1)[..., None] + 0.8 * rng.normal(size=(SIZE, SIZE, 3))
    group, names = fields(values)
    before = run(cube, {"a": image}, values, folds=4, buffer_px=0)
    one = group == 5
    changed = np.where(one, 1 - values, values).astype(np.int32)
    labels = Labels(changed, changed >= 0, ("maize", "grass"), group, names)
    after = run(cube, {"a": image}, labels, folds=4, buffer_px=0)
    rows = after.rows["date"]
    mine = one[rows.at[:, 1], rows.at[:, 2]]
    for kind in ("knn", "linear"):
        key = ("date", kind, 1.0, "a")
        np.testing.assert_array_equal(before.guesses[key][mine], after.guesses[key][mine])


def test_simulated_and_real_never_meet(cube, tmp_path):
    other = make_cube(tmp_path / "b.zarr", site="b", simulated=True, grid=GRID, s1=False)
    labels = labels_of(field_map())
    sites = [LabelledSite(cube, labels), LabelledSite(other, labels)]
    with pytest.raises(ContractError, match="never share a table"):
        probe(sites, {"a": Method("a", "a", source(field_map()))}, ProbePlan())


# --- Plans --------------------------------------------------------------------------------------------------------


def test_sites_can_be_held_out_whole(cube, tmp_path):
    cubes = [cube, make_cube(tmp_path / "b.zarr", site="b", grid=GRID, s1=False)]
    sites = [LabelledSite(c, labels_of(field_map(i))) for i, c in enumerate(cubes)]
    plan = ProbePlan(shares=(1.0,), seeds=(0,), groups="sites", probes=("linear", "segmentation"))
    images = {"a": field_map(0) == 1, "b": field_map(1) == 1}
    found = probe(sites, {"x": Method("x", "x", lambda c, d: source(images[c.site])(c, d))}, plan)
    assert found.facts["modes"]["date"]["folds"] == 2
    assert score(found, "x", probe="linear").value == 1
    assert score(found, "x", "miou", probe="segmentation").value > 0.9
    assert score(found, "x", probe="linear").interval is None  # two sites give none


def test_a_species_that_is_one_plot_cannot_be_probed(cube, tmp_path):
    """Held out, each plot is a class that no other plot shows: nothing can be right, and the result says why."""
    cubes = [cube, make_cube(tmp_path / "b.zarr", site="b", grid=GRID, s1=False)]
    group = np.ones((SIZE, SIZE), np.int32)
    plots = [Labels(group * 0, group > 0, (name,), group, ("", "plot")) for name in ("fir", "birch")]
    images = {"a": np.zeros((SIZE, SIZE)), "b": np.ones((SIZE, SIZE))}
    sites = [LabelledSite(c, labels) for c, labels in zip(cubes, plots, strict=True)]
    plan = ProbePlan(shares=(1.0,), seeds=(0,), groups="sites", probes=("linear",))
    found = probe(sites, {"x": Method("x", "x", lambda c, d: source(images[c.site])(c, d))}, plan)
    assert score(found, "x").value == 0
    assert found.facts["modes"]["date"]["untrained"] == ["fir (fold 1 of 2)", "birch (fold 2 of 2)"]


def test_blocks_have_a_buffer_between_them(cube):
    values = field_map()
    found = run(cube, {"a": values == 1}, values, groups="blocks", block_px=12, buffer_px=4, folds=4)
    facts = found.facts["modes"]["date"]
    assert facts["groups"] == 4 and facts["folds"] == 4
    whole = facts["pixels"] * 3 / 4
    assert all(n < whole for n in facts["training_pixels"])
    assert (block_groups((5, 7), 3) == [[1, 1, 1, 2, 2, 2, 3]] * 3 + [[4, 4, 4, 5, 5, 5, 6]] * 2).all()


def test_regression_has_a_score_of_its_own(cube):
    y, x = np.mgrid[:SIZE, :SIZE]
    values = (y * 0.5 + x).astype(np.float32)
    labels = Labels(values, np.ones((SIZE, SIZE), bool), (), np.ones((SIZE, SIZE), np.int32), ("", "all"))
    arrays = {"slope": np.stack([y, x], -1), "noise": np.random.default_rng(9).normal(size=(SIZE, SIZE, 2))}
    found = run(cube, arrays, labels, groups="blocks", block_px=8, probes=("linear", "knn"))
    assert score(found, "slope", "r2", probe="linear").value > 0.999
    assert score(found, "noise", "r2", probe="linear").value < 0.1
    assert score(found, "slope", "rmse", probe="linear").value < 0.1


def test_methods_are_scored_on_the_same_pixels(cube):
    values = field_map()
    lacking = np.ones((1, SIZE, SIZE), bool)
    lacking[0, :6] = False
    image = (values == 1)[None, ..., None].astype(np.float32)
    sources = {"all": source(values == 1), "part": lambda c, d: Features(image, lacking, None)}
    methods = {n: Method(n, n, read) for n, read in sources.items()}
    plan = ProbePlan(shares=(1.0,), seeds=(0,), buffer_px=0, probes=("linear",), main="all")
    found = probe([LabelledSite(cube, labels_of(values))], methods, plan)
    facts = found.facts["modes"]["date"]
    assert facts["pixels_lacking"] == {"all": 0, "part": int((values[:6] >= 0).sum())}
    assert found.rows["date"].at[:, 1].min() >= 6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shares": (0.0,)}, "above 0"),
        ({"groups": "towns"}, "fields, blocks or sites"),
        ({"seeds": ()}, "at least one"),
    ],
)
def test_plans_are_checked(cube, change, message):
    with pytest.raises(UsageError, match=message):
        run(cube, {"a": field_map()}, **change)
