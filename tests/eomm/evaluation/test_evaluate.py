"""Hidden acquisitions are scored by what nobody could have seen."""

import json

import jax
import numpy as np
import pytest

from eomm.data.held_out import dates_unseen, held_out, third_of_clear_days
from eomm.errors import ContractError, UsageError
from eomm.evaluation import say
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden import reconstruction, scorer, task
from eomm.evaluation.hidden.reconstruction import evaluate, evaluate_records
from eomm.evaluation.hidden.scorer import Case
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.text import format_result
from eomm.models.predict import Predictor
from tests import zoo
from tests.eomm.site import DAYS, SIZE, TEST_DAYS, make_cube, make_model, truth

GAPS = (0, 20)


@pytest.fixture(scope="module")
def cube():
    return zoo.cube()


@pytest.fixture(scope="module")
def result(cube):
    return evaluate(make_model(), cube, dates=TEST_DAYS, gaps=GAPS, columns=(20, 24))


def test_linear_is_exact_where_the_world_is_linear():
    result = evaluate(make_model(), zoo.local(), dates=TEST_DAYS, gaps=GAPS, probes=False)
    for gap in GAPS:
        scores = result["hidden"]["all"][str(gap)].methods
        assert scores["linear"].value < 2e-5  # rounding of int16
        assert scores["nearest"].value > 1e-3
        assert "ridge_trained" not in scores


class Oracle(Predictor):
    """Knows what nobody may know."""

    def predict(self, seen, targets, hidden, others):
        halo = self.model.encoders["s2"].halo
        inner = slice(halo, -halo)
        values = seen.batch["values"][0, targets, inner, inner]
        return {"encoder": self.model.modalities["s2"].decode(values).reshape(len(targets), -1, 10)}


def test_an_oracle_errs_by_nothing(cube, monkeypatch):
    monkeypatch.setattr(reconstruction, "Predictor", Oracle)
    result = evaluate(make_model(), cube, dates=TEST_DAYS, gaps=GAPS, probes=False)
    for gap in GAPS:
        score = result["hidden"]["all"][str(gap)]
        assert score.methods["encoder"].value == 0
        assert score.difference["nearest"].interval[1] < 0


def test_hidden_values_reach_no_method(tmp_path, cube):
    """Test dates hold other values: every prediction stays, only the truth changes."""
    rng = np.random.default_rng(5)
    change = {d: rng.integers(100, 9000, (SIZE, SIZE, 10)).astype(np.int16) for d in TEST_DAYS}
    other = zoo.write_cube(tmp_path / "b.zarr", change=change)
    model = make_model(("s2", "s1"), fused=True)
    predictions = [all_predictions(model, c) for c in (cube, other)]
    for method, values in predictions[0].items():
        np.testing.assert_array_equal(values, predictions[1][method], err_msg=method)


def all_predictions(model, cube):
    """Every method's predictions at gap 20, taken where `evaluate` hands them to the tally."""
    caught = {}

    class Catching(Tally):
        def add(self, condition, truth, predicted, masks):
            if condition == Case(gap_days=20):
                # unscored pixels hold what the decoder gives under cloud: compare these too
                caught.update(predicted)
            super().add(condition, truth, predicted, masks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "Tally", Catching)
        evaluate(model, cube, dates=TEST_DAYS, gaps=GAPS, seed=3)
    return caught


def test_blocks_do_not_change_scores(cube):
    options = {"dates": TEST_DAYS, "gaps": GAPS, "probes": False}
    whole, blocks = (evaluate(make_model(), cube, block_px=b, **options) for b in (24, 10))
    for gap in map(str, GAPS):
        for method in ("encoder", "linear", "gaussian_12"):
            a, b = (r["hidden"]["all"][gap].methods[method] for r in (whole, blocks))
            assert a.value == pytest.approx(b.value, abs=2e-6)
        assert whole["hidden"]["all"][gap].pixels == blocks["hidden"]["all"][gap].pixels


def test_result_is_json_and_says_what_it_is(result):
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    linear = written["hidden"]["all"]["20"]["methods"]["linear"]
    assert linear["value"] == result["hidden"]["all"]["20"].methods["linear"].value and linear["groups"] == 4
    assert result["days"] == TEST_DAYS and result["main"] == "encoder"
    assert set(result["hidden"]) == {"all", "unseen block"}
    both = [result["hidden"][r]["0"].pixels for r in ("unseen block", "all")]
    assert 0 < both[0] < both[1] <= len(TEST_DAYS) * SIZE * SIZE
    score = result["hidden"]["all"]["20"]
    for method in result["methods"]:
        s = score.methods[method]
        assert s.interval[0] <= s.value <= s.interval[1]
        assert np.mean(s.per_date) == pytest.approx(s.value, abs=2e-6)
        assert np.mean(s.per_band) == pytest.approx(s.value, abs=2e-6)
    assert "PCA of the bands with 8 components" in format_result(result)


def test_seasons_regroup_the_same_errors(result):
    for region, gap in (("all", "0"), ("unseen block", "20")):
        whole, parts = result["hidden"][region][gap], result["seasons"][region][gap]
        assert sum(p.dates for p in parts.values()) == whole.dates
        for method in result["methods"]:
            mean = sum(p.dates * p.methods[method].value for p in parts.values()) / whole.dates
            assert mean == pytest.approx(whole.methods[method].value, abs=2e-6)


def test_classes_score_their_own_pixels(cube):
    rows = np.arange(SIZE)[:, None] + np.zeros(SIZE, int)
    classes = {"north": rows < 7, "south": rows >= 7, "none": rows < 0}
    options = {"dates": TEST_DAYS, "gaps": (20,), "probes": False}
    found = evaluate(make_model(), cube, classes=classes, block_px=10, **options)
    parts, whole = [found["classes"][c]["20"] for c in ("north", "south")], found["hidden"]["all"]["20"]
    assert found["classes"]["none"]["20"].pixels == 0
    per_date = np.array([p.pixels_per_date for p in parts])
    np.testing.assert_array_equal(per_date.sum(0), whole.pixels_per_date)
    errors = np.array([p.methods["encoder"].per_date for p in parts])
    together = (errors * per_date).sum(0) / per_date.sum(0)
    np.testing.assert_allclose(together, whole.methods["encoder"].per_date, atol=2e-6)
    with pytest.raises(UsageError, match="class odd"):
        evaluate(make_model(), cube, classes={"odd": np.ones((3, 3), bool)}, **options)


def test_another_model_stands_beside_on_the_same_targets(cube):
    main, options = make_model(), {"dates": TEST_DAYS, "gaps": (20,), "probes": False}
    beside = {"same": make_model(), "other": make_model(seed=3)}
    found = evaluate(main, cube, beside=beside, beside_pixels=SIZE * SIZE, **options)
    score, whole = (r["hidden"]["all"]["20"] for r in (found["beside"], found))
    assert found["beside"]["pixels_read"] == SIZE * SIZE and found["beside"]["models"]["same"]["dates_unseen"] is None
    same = score.difference["same"]
    assert (same.value, same.interval, same.side) == (0, (0, 0), 0)
    assert score.methods["other"].value != score.methods["same"].value
    for name, of in (("this model", "encoder"), ("harmonic", "harmonic")):  # all pixels, in other blocks
        assert score.methods[name].value == pytest.approx(whole.methods[of].value, abs=2e-6)
    assert "Beside other models" in format_result(found)
    with pytest.raises(UsageError, match="radar: reconstructs s1, not s2"):
        evaluate(main, cube, beside={"radar": make_model(("s1",))}, **options)


def test_an_untrained_model_does_not_count(result):
    (verdict,) = result.verdicts
    assert verdict.holds is False and say.verdict(verdict).startswith("It is not shown that the scores count as skill")
    assert result["visible"]["all"].methods["pca"].value < result["visible"]["all"].methods["encoder"].value


def test_seen_dates_never_count(cube):
    manifest = {"split": {"sites": {"train": [cube.site]}, "hold_out_days": []}}
    result = evaluate(make_model(), cube, dates=TEST_DAYS, gaps=(0,), probes=False, manifest=manifest)
    assert result["dates_unseen"] is False and result.verdicts[0].holds is False


def test_manifest_gives_dates_and_columns():
    split = {"sites": {"train": ["a"]}, "hold_out_days": TEST_DAYS}
    split["blocks"] = {"a": {"test": {"columns": [[20, 24]]}}}
    assert held_out({"split": split}, "a") == (tuple(TEST_DAYS), (20, 24))
    assert dates_unseen({"split": split}, "a", TEST_DAYS) is True
    assert dates_unseen({"split": split}, "a", [1]) is False
    assert dates_unseen({"split": split}, "elsewhere", [1]) is True
    assert dates_unseen(None, "a", [1]) is None
    # radar of those days was trained on
    assert held_out({"split": split}, "a", "s1")[0] == ()
    assert dates_unseen({"split": split}, "a", TEST_DAYS, "s1") is False


def test_records_tell_what_to_evaluate_on(cube):
    """The days that they held out of a training site."""
    result = evaluate_records(make_model(), cube.path, zoo.records().path, gaps=(0,), probes=False)
    assert result["dates_unseen"] is True and result["days"] == TEST_DAYS


def test_of_a_site_that_records_do_not_have_every_third_clear_day_is_hidden(cube, monkeypatch):
    class Records:
        manifest = {"split": {"sites": {"train": ["elsewhere"]}}}  # noqa: RUF012

    monkeypatch.setattr(task, "open_records", lambda path: Records)
    result = evaluate_records(make_model(), cube.path, "records", gaps=(0,), probes=False)
    assert result["dates_unseen"] is True and result["days"] == third_of_clear_days(cube["s2"]) != []


def test_a_training_site_without_held_out_days_is_refused(cube, monkeypatch):
    class Records:
        manifest = {"split": {"sites": {"train": [cube.site]}}}  # noqa: RUF012

    monkeypatch.setattr(task, "open_records", lambda path: Records)
    with pytest.raises(UsageError, match=f"held out no day of {cube.site}"):
        evaluate_records(make_model(), cube, "records")


def test_bad_requests_are_named(cube):
    with pytest.raises(UsageError, match="no usable acquisition on 2018-03-12"):
        evaluate(make_model(), cube, dates=["2018-03-12"])
    with pytest.raises(UsageError, match="'yesterday' is no day; expected YYYY-MM-DD"):
        evaluate(make_model(), cube, dates=["yesterday"])
    with pytest.raises(UsageError, match="no test dates"):
        evaluate(make_model(), cube)
    with pytest.raises(UsageError, match="nothing is left"):
        evaluate(make_model(), cube, dates=DAYS)
    with pytest.raises(UsageError, match="columns"):
        evaluate(make_model(), cube, dates=TEST_DAYS, columns=(9, 40))


def test_another_contract_is_refused(cube):
    import dataclasses

    model = make_model()
    other = dataclasses.replace(model.decoders["s2"].modality, level="L1C")
    decoder = dataclasses.replace(model.decoders["s2"], modality=other)
    with pytest.raises(ContractError, match="L1C"):
        evaluate(dataclasses.replace(model, decoders={"s2": decoder}), cube, dates=TEST_DAYS)


def test_intervals_cover():
    """About 95 in 100 intervals hold the true mean, also with the eight dates that Flanders has."""
    rng, covered = np.random.default_rng(0), 0
    tally = Tally(8, 1, seed=0)
    for _ in range(400):
        low, high = tally.estimate(rng.normal(0.03, 0.01, 8)).interval
        covered += low <= 0.03 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_shuffled_targets_have_no_skill(tmp_path):
    """Dates hold spectra drawn at random: no method may beat their spread by much."""
    rng = np.random.default_rng(0)
    change = {d: rng.integers(1000, 3000, (1, 1, 10)) + np.zeros((SIZE, SIZE, 1), int) for d in DAYS}
    cube = make_cube(tmp_path / "c.zarr", s1=False, change=change)
    result = evaluate(make_model(), cube, dates=TEST_DAYS, gaps=(0,))
    stored = np.stack([change[d][0, 0] for d in TEST_DAYS])
    spread = np.abs(stored - 2000).mean() * 1e-4
    for method in ("ridge_trained", "ridge_raw", *SIMPLE):
        assert result["hidden"]["all"]["0"].methods[method].value > 0.85 * spread


def test_truth_is_what_the_cube_holds(result, cube):
    example = result["examples"][0]
    i = next(i for i, o in enumerate(example.observed) if o)
    stored = truth(TEST_DAYS[i])[example.row, example.col]
    np.testing.assert_allclose(example.observed[i], stored * 1e-4, atol=1e-6)
    assert set(example.predicted) == {str(g) for g in GAPS}
    assert jax.tree.leaves(example.predicted["20"]["linear"])
