import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.held_out import dates_unseen, held_out, third_of_clear_days
from eomm.errors import ContractError, UsageError
from eomm.evaluation import baselines
from eomm.evaluation.baselines import INTERPOLATIONS, SIMPLE, Series, fit_pca, fit_ridge, window_features
from eomm.evaluation.hidden import reconstruction
from eomm.evaluation.hidden.reconstruction import evaluate, evaluate_records, format_evaluation
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.hidden.task import make_task
from eomm.models.predict import Predictor, read_batch
from tests.eomm.site import DAYS, SIZE, TEST_DAYS, make_cube, make_model, truth

GAPS = (0, 20)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return make_cube(tmp_path_factory.mktemp("site") / "a.zarr", clouds=0.2)


@pytest.fixture(scope="module")
def result(cube):
    return evaluate(make_model(), cube, dates=TEST_DAYS, gaps=GAPS, columns=(20, 24))


def random_series(rng, *, times=14, pixels=30, valid=0.6):
    return Series(
        values=rng.normal(size=(times, pixels, 3)).astype(np.float32),
        valid=rng.random((times, pixels)) < valid,
        day=np.cumsum(rng.integers(1, 9, times)).astype(np.int32) + 17000,
    )


def test_interpolations_equal_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    series = random_series(rng, valid=0.3)
    day = int(series.day[6]) + 1
    for p in range(series.values.shape[1]):
        ok = series.valid[:, p]
        days, values = series.day[ok], series.values[ok, p]
        got = {name: method(series, day)[p] for name, method in INTERPOLATIONS.items()}
        if not ok.any():
            assert all(np.isnan(v).all() for v in got.values())
            continue
        np.testing.assert_array_equal(got["nearest"], values[np.argmin(np.abs(days - day))])
        expected = np.array([np.interp(day, days, values[:, c]) for c in range(3)])
        np.testing.assert_allclose(got["linear"], expected, atol=1e-5)
        weight = np.exp(-0.5 * ((days - day) / 12.0) ** 2)
        np.testing.assert_allclose(got["gaussian_12"], weight @ values / weight.sum(), atol=1e-5)


def test_smoother_in_a_long_gap_gives_the_nearest_observation_instead_of_nothing():
    values = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    series = Series(values=values, valid=np.ones((2, 1), bool), day=np.array([0, 3000], np.int32))
    np.testing.assert_allclose(baselines.gaussian(series, 1000, 12.0)[0], values[0, 0])


@pytest.mark.parametrize("name", SIMPLE)
def test_hidden_acquisitions_do_not_move_a_baseline(name):
    rng = np.random.default_rng(1)
    series = random_series(rng)
    hidden = rng.random(len(series.day)) < 0.4
    values = series.values.copy()
    values[hidden] = 1e6
    moved = Series(values=values, valid=series.valid | hidden[:, None], day=series.day)
    day = int(series.day[5])
    method = SIMPLE[name]
    np.testing.assert_array_equal(method(series.without(hidden), day), method(moved.without(hidden), day))
    np.testing.assert_array_equal(
        window_features(series.without(hidden), day), window_features(moved.without(hidden), day)
    )


def test_nothing_visible_gives_nan_not_an_error():
    series = random_series(np.random.default_rng(2)).without(np.ones(14, bool))
    for method in SIMPLE.values():
        assert np.isnan(method(series, 17010)).all()


def test_harmonic_fit_equals_a_loop_over_pixels_and_finds_a_year():
    rng = np.random.default_rng(0)
    series = random_series(rng, times=30, valid=0.5)
    day, waves = int(series.day[8]) + 2, baselines.year_waves(series.day)
    got = baselines.harmonic(series, day)
    for p in range(series.values.shape[1]):
        ok = series.valid[:, p]
        x, y = waves[ok].astype(np.float64), series.values[ok, p]
        mean = y.mean(0)
        penalty = np.diag([0.0, *[baselines.WAVE_PENALTY] * 4])
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ (y - mean))
        np.testing.assert_allclose(got[p], mean + (baselines.year_waves(np.array([day])) @ weights)[0], atol=1e-4)
    # two years every third day, the third summer hidden: only a wave can know it
    days = np.arange(0, 1095, 3).astype(np.int32)
    year = 0.3 + 0.2 * np.sin(2 * np.pi * days / baselines.YEAR_DAYS)
    seen = (days < 820) | (days > 1000)
    wave = Series(values=year.astype(np.float32)[:, None, None], valid=seen[:, None], day=days)
    expected = 0.3 + 0.2 * np.sin(2 * np.pi * 900 / baselines.YEAR_DAYS)
    error = {m: abs(SIMPLE[m](wave, 900)[0, 0] - expected) for m in ("harmonic", "linear")}
    assert error["harmonic"] < 0.01 < error["linear"]


def test_pca_with_all_components_is_exact_and_fewer_are_worse():
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.testing.assert_allclose(fit_pca(x, 6).reconstruct(x), x, atol=1e-5)
    errors = [np.square(fit_pca(x, k).reconstruct(x) - x).mean() for k in (1, 3, 5)]
    assert errors == sorted(errors, reverse=True)


def test_ridge_finds_a_linear_relation_and_shrinks_on_noise():
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=(600, 5)), np.repeat(np.arange(12), 50)
    weights = rng.normal(size=(5, 2))
    found = fit_ridge(x, x @ weights + 3, group)
    np.testing.assert_allclose(found.predict(x), x @ weights + 3, atol=1e-2)
    noise = fit_ridge(x, rng.normal(size=(600, 2)), group)
    assert noise.penalty > found.penalty


def test_linear_is_exact_where_the_world_is_linear(tmp_path):
    cube = make_cube(tmp_path / "c.zarr", s1=False)
    result = evaluate(make_model(), cube, dates=TEST_DAYS, gaps=GAPS, probes=False)
    for gap in GAPS:
        scores = result["hidden"]["all"][str(gap)]["methods"]
        assert scores["linear"]["mean"] < 2e-5  # rounding of int16
        assert scores["nearest"]["mean"] > 1e-3
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
        assert score["methods"]["encoder"]["mean"] == 0
        assert score["difference"]["nearest"]["interval"][1] < 0


def test_hidden_values_reach_no_method(tmp_path, cube):
    """Test dates hold other values: every prediction stays, only the truth changes."""
    rng = np.random.default_rng(5)
    change = {d: rng.integers(100, 9000, (SIZE, SIZE, 10)).astype(np.int16) for d in TEST_DAYS}
    other = make_cube(tmp_path / "b.zarr", clouds=0.2, change=change)
    model = make_model(("s2", "s1"), fused=True)
    predictions = [all_predictions(model, c) for c in (cube, other)]
    for method, values in predictions[0].items():
        np.testing.assert_array_equal(values, predictions[1][method], err_msg=method)


def all_predictions(model, cube):
    """Every method's predictions at gap 20, taken where `evaluate` hands them to the tally."""
    caught = {}

    class Catching(Tally):
        def add(self, condition, truth, predicted, masks):
            if condition == "20":
                # unscored pixels hold what the decoder gives under cloud: compare these too
                caught.update(predicted)
            super().add(condition, truth, predicted, masks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction, "Tally", Catching)
        evaluate(model, cube, dates=TEST_DAYS, gaps=GAPS, seed=3)
    return caught


def test_neighbours_within_the_gap_reach_no_method(tmp_path):
    day = TEST_DAYS[1]
    near = [d for d in DAYS if 0 < abs(d - day) <= 20]
    change = {d: np.full((SIZE, SIZE, 10), 9000, np.int16) for d in near}
    model = make_model()
    caught = []
    for name, changed in {"a": None, "b": change}.items():
        cube = make_cube(tmp_path / f"{name}.zarr", s1=False, change=changed)
        group = cube["s2"]
        task = make_task(group, [day], (20,), None)
        predictor = Predictor(model, "s2")
        batch = read_batch(cube, "s2", row=0, col=0, size=SIZE, halo=7)
        seen = predictor.see("s2", batch, task.is_test)
        caught.append(predictor.predict(seen, task.targets, task.hidden(task.targets, 20), {})["encoder"])
    np.testing.assert_array_equal(*caught)


def test_fused_predictions_are_those_of_the_parts_composed_by_hand(cube):
    model = make_model(("s2", "s1"), fused=True)
    task = make_task(cube["s2"], TEST_DAYS, GAPS, None)
    predictor = Predictor(model, "s2")
    batches = {n: read_batch(cube, n, row=0, col=0, size=SIZE, halo=7) for n in ("s2", "s1")}
    seen = {n: predictor.see(n, batches[n], task.is_test if n == "s2" else None) for n in batches}
    other = predictor.embed_other("s1", seen["s1"], task.day[task.targets])
    hidden = task.hidden(task.targets, 20)
    got = predictor.predict(seen["s2"], task.targets, hidden, {"s1": other})

    nearest = jnp.asarray(task.targets)[None]  # radar comes 3 days after, 5 days before the next
    z1 = model.encoders["s1"].embed(
        model.params["s1"]["encoder"], seen["s1"].features, seen["s1"].inside, batches["s1"]["day"], nearest
    )
    np.testing.assert_allclose(other.embedding, z1, atol=1e-6)
    assert np.asarray(other.offset_days).min() == np.asarray(other.offset_days).max() == 3
    z2 = predictor.embed(seen["s2"], task.targets, hidden)
    ones = jnp.ones(z2.shape[:-1], bool)
    for method, radar in {"fused": ones, "fused_alone": ~ones}.items():
        present, days = {"s2": ones, "s1": radar}, {"s2": 0.0 * ones, "s1": 3.0 * ones}
        fused = model.fusion.fuse(model.params["fusion"], {"s2": z2, "s1": z1}, present, days)
        projected = model.fusion.project(model.params["fusion"], fused)["s2"]
        at = jnp.zeros((1, len(task.targets), 1))
        queries = {k: at for k in ("days", "dy", "dx", "same_orbit", "direction", "incidence")}
        queries["day"] = jnp.asarray(task.day[task.targets])[None, :, None]
        decoded = model.decoders["s2"].decode(model.params["s2"]["decoder"], projected, queries)[0, :, 0]
        expected = np.asarray(decoded).reshape(len(task.targets), -1, 10) * 0.15 + 0.2
        np.testing.assert_allclose(got[method], expected, atol=1e-5)
    assert np.abs(got["fused"] - got["fused_alone"]).max() > 1e-4


def test_blocks_do_not_change_scores(cube):
    options = {"dates": TEST_DAYS, "gaps": GAPS, "probes": False}
    whole, blocks = (evaluate(make_model(), cube, block_px=b, **options) for b in (24, 10))
    for gap in map(str, GAPS):
        for method in ("encoder", "linear", "gaussian_12"):
            a, b = (r["hidden"]["all"][gap]["methods"][method] for r in (whole, blocks))
            assert a["mean"] == pytest.approx(b["mean"], abs=2e-6)
        assert whole["hidden"]["all"][gap]["pixels"] == blocks["hidden"]["all"][gap]["pixels"]


def test_result_is_json_and_says_what_it_is(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["days"] == TEST_DAYS and result["main"] == "encoder"
    assert set(result["hidden"]) == {"all", "unseen block"}
    both = [result["hidden"][r]["0"]["pixels"] for r in ("unseen block", "all")]
    assert 0 < both[0] < both[1] <= len(TEST_DAYS) * SIZE * SIZE
    score = result["hidden"]["all"]["20"]
    for method in result["methods"]:
        s = score["methods"][method]
        assert s["interval"][0] <= s["mean"] <= s["interval"][1]
        assert np.mean(s["per_date"]) == pytest.approx(s["mean"], abs=2e-6)
        assert np.mean(s["per_band"]) == pytest.approx(s["mean"], abs=2e-6)
    assert "PCA with 8 components" in format_evaluation(result)


def test_seasons_regroup_the_same_errors(result):
    for region, gap in (("all", "0"), ("unseen block", "20")):
        whole, parts = result["hidden"][region][gap], result["seasons"][region][gap]
        assert sum(p["dates"] for p in parts.values()) == whole["dates"]
        for method in result["methods"]:
            mean = sum(p["dates"] * p["methods"][method]["mean"] for p in parts.values()) / whole["dates"]
            assert mean == pytest.approx(whole["methods"][method]["mean"], abs=2e-6)


def test_classes_score_their_own_pixels(cube):
    rows = np.arange(SIZE)[:, None] + np.zeros(SIZE, int)
    classes = {"north": rows < 7, "south": rows >= 7, "none": rows < 0}
    options = {"dates": TEST_DAYS, "gaps": (20,), "probes": False}
    found = evaluate(make_model(), cube, classes=classes, block_px=10, **options)
    parts, whole = [found["classes"][c]["20"] for c in ("north", "south")], found["hidden"]["all"]["20"]
    assert found["classes"]["none"]["20"]["pixels"] == 0
    per_date = np.array([p["pixels_per_date"] for p in parts])
    np.testing.assert_array_equal(per_date.sum(0), whole["pixels_per_date"])
    errors = np.array([p["methods"]["encoder"]["per_date"] for p in parts])
    together = (errors * per_date).sum(0) / per_date.sum(0)
    np.testing.assert_allclose(together, whole["methods"]["encoder"]["per_date"], atol=2e-6)
    with pytest.raises(UsageError, match="class odd"):
        evaluate(make_model(), cube, classes={"odd": np.ones((3, 3), bool)}, **options)


def test_another_model_stands_beside_on_the_same_targets(cube):
    main, options = make_model(), {"dates": TEST_DAYS, "gaps": (20,), "probes": False}
    beside = {"same": make_model(), "other": make_model(seed=3)}
    found = evaluate(main, cube, beside=beside, beside_pixels=SIZE * SIZE, **options)
    score, whole = (r["hidden"]["all"]["20"] for r in (found["beside"], found))
    assert found["beside"]["pixels_read"] == SIZE * SIZE and found["beside"]["models"]["same"]["dates_unseen"] is None
    assert score["difference"]["same"] == {"mean": 0, "interval": [0, 0]}
    assert score["methods"]["other"]["mean"] != score["methods"]["same"]["mean"]
    for name, of in (("this model", "encoder"), ("harmonic", "harmonic")):  # all pixels, in other blocks
        assert score["methods"][name]["mean"] == pytest.approx(whole["methods"][of]["mean"], abs=2e-6)
    assert "beside other models" in format_evaluation(found)
    with pytest.raises(UsageError, match="radar: reconstructs s1, not s2"):
        evaluate(main, cube, beside={"radar": make_model(("s1",))}, **options)


def test_an_untrained_model_does_not_count(result):
    assert result["verdict"]["counts"] is False
    assert result["visible"]["all"]["methods"]["pca"]["mean"] < result["visible"]["all"]["methods"]["encoder"]["mean"]


def test_seen_dates_never_count(cube):
    manifest = {"split": {"sites": {"train": ["a"]}, "hold_out_days": []}}
    result = evaluate(make_model(), cube, dates=TEST_DAYS, gaps=(0,), probes=False, manifest=manifest)
    assert result["dates_unseen"] is False and result["verdict"]["counts"] is False


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


@pytest.mark.parametrize(
    "split", [{"sites": {"train": ["b"]}}, {"sites": {"train": ["a"]}, "hold_out_days": TEST_DAYS}]
)
def test_records_tell_what_to_evaluate_on(cube, monkeypatch, split):
    class Records:
        manifest = {"split": split}  # noqa: RUF012

    monkeypatch.setattr(reconstruction, "open_records", lambda path: Records)
    result = evaluate_records(make_model(), cube.path, "records", gaps=(0,), probes=False)
    assert result["dates_unseen"] is True
    if "hold_out_days" in split:
        assert result["days"] == TEST_DAYS
    else:
        assert result["days"] == third_of_clear_days(cube["s2"]) != []


def test_a_training_site_without_held_out_days_is_refused(cube, monkeypatch):
    class Records:
        manifest = {"split": {"sites": {"train": ["a"]}}}  # noqa: RUF012

    monkeypatch.setattr(reconstruction, "open_records", lambda path: Records)
    with pytest.raises(UsageError, match="held out no day of a"):
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
        low, high = tally.estimate(rng.normal(0.03, 0.01, 8))["interval"]
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
        assert result["hidden"]["all"]["0"]["methods"][method]["mean"] > 0.85 * spread


def test_truth_is_what_the_cube_holds(result, cube):
    example = result["examples"][0]
    i = next(i for i, o in enumerate(example["observed"]) if o)
    stored = truth(TEST_DAYS[i])[example["row"], example["col"]]
    np.testing.assert_allclose(example["observed"][i], stored * 1e-4, atol=1e-6)
    assert set(example["predicted"]) == {str(g) for g in GAPS}
    assert jax.tree.leaves(example["predicted"]["20"]["linear"])


def test_a_shorter_length_uses_only_the_first_numbers_of_what_is_stored(cube):
    task = make_task(cube["s2"], TEST_DAYS, GAPS, None)
    batch = read_batch(cube, "s2", row=0, col=0, size=SIZE, halo=7)
    hidden = task.hidden(task.targets, 20)
    for model in (make_model(), make_model(("s2", "s1"), fused=True)):  # the latter stores what is fused
        whole, cut = Predictor(model, "s2"), Predictor(model, "s2", length=5)
        seen = whole.see("s2", batch, task.is_test)
        z = {p: p.embed(seen, task.targets, hidden) for p in (whole, cut)}
        if model.fusion:
            np.testing.assert_array_equal(z[cut], z[whole])
            radar = whole.see("s1", read_batch(cube, "s1", row=0, col=0, size=SIZE, halo=7))
            others = {"s1": whole.embed_other("s1", radar, task.day[task.targets])}
            z = {p: p.fuse(z[p], others) for p in (whole, cut)}
        np.testing.assert_array_equal(z[cut][..., :5], z[whole][..., :5])
        assert not z[cut][..., 5:].any() and z[whole][..., 5:].any()
    with pytest.raises(UsageError, match="length is 99"):
        Predictor(model, "s2", length=99)
