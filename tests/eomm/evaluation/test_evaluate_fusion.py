import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from eomm.cli import main
from eomm.errors import UsageError
from eomm.evaluation.hidden.fusion import FusionPlan, evaluate_fusion, name_models
from eomm.evaluation.hidden.reconstruction import evaluate
from eomm.evaluation.hidden.scorer import Case
from eomm.evaluation.text import format_result
from eomm.models.directory import save_model
from eomm.models.predict import Predictor, read_batch
from tests import zoo
from tests.eomm.site import DAYS, SIZE, TEST_DAYS, make_cube, make_model

FEW = {"dates": TEST_DAYS, "gap": 20, "shares": (0, 0.5, 1), "ages": (0, 4, 24), "gaps": (0, 20)}


@pytest.fixture(scope="module")
def cube():
    return zoo.cube()


@pytest.fixture(scope="module")
def models():
    return {"a": zoo.model(), "b": make_model(("s2", "s1"), fused=True, seed=5)}


@pytest.fixture(scope="module")
def result(cube, models):
    return evaluate_fusion(models, cube, **FEW)


def radar(cube, change=None, drop=None):
    batch = read_batch(cube, "s1", row=0, col=0, size=SIZE, halo=7)
    if change is not None:
        batch["values"] = np.where(change[None, :, None, None, None], np.int16(-900), batch["values"])
    if drop is not None:
        batch = {k: v[:, ~drop] for k, v in batch.items()}
    return batch


def test_missing_acquisitions_are_as_good_as_never_taken(cube, models):
    predictor = Predictor(models["a"], "s2")
    days = np.array(TEST_DAYS)
    gone = np.random.default_rng(0).random(len(DAYS)) < 0.4
    missing = np.broadcast_to(gone, (len(days), len(DAYS)))
    got = predictor.embed_other("s1", predictor.see("s1", radar(cube)), days, missing)
    moved = predictor.embed_other("s1", predictor.see("s1", radar(cube, change=gone)), days, missing)
    never = predictor.embed_other("s1", predictor.see("s1", radar(cube, drop=gone)), days)
    np.testing.assert_array_equal(got.embedding, moved.embedding)
    np.testing.assert_allclose(got.embedding, never.embedding, atol=1e-5)
    np.testing.assert_array_equal(got.offset_days, never.offset_days)
    np.testing.assert_array_equal(got.present, never.present)
    assert not predictor.embed_other("s1", predictor.see("s1", radar(cube)), days, missing | True).present.any()


def test_a_case_takes_nested_shares_and_everything_nearer_than_an_age():
    day, order = np.arange(0, 120, 6, dtype=np.int32), np.random.default_rng(0).permutation(20)
    targets = np.array([30, 33])
    shares = [Case(gap_days=0, share=s).missing(day, order, targets) for s in (0, 0.25, 0.5, 1)]
    assert [m.sum(1).tolist() for m in shares] == [[0, 0], [5, 5], [10, 10], [20, 20]]
    assert all((a <= b).all() for a, b in itertools.pairwise(shares))
    aged = Case(gap_days=0, age_days=6).missing(day, order, targets)
    assert day[aged[0]].tolist() == [30] and day[aged[1]].tolist() == [30, 36]
    assert not Case(gap_days=0, age_days=0).missing(day, order, targets).any()


def test_errors_are_those_of_reconstruction(cube, models, result):
    expected = evaluate(models["b"], cube, dates=TEST_DAYS, gaps=(0, 20), probes=False)["hidden"]["all"]
    for point in result["curves"]["all"]["gap"]:
        methods, found = expected[str(point["at"])].methods, point["models"]["b"]["decoded"]
        assert found["error"].value == pytest.approx(methods["fused"].value, abs=2e-6)
        assert found["without"].value == pytest.approx(methods["fused_alone"].value, abs=2e-6)
        assert found["error"].interval == pytest.approx(methods["fused"].interval, abs=2e-6)


def test_curves_meet_where_they_ask_the_same(result):
    share, age, gap = (result["curves"]["all"][k] for k in ("share", "age", "gap"))
    assert share[0]["models"] == age[0]["models"] == gap[1]["models"]
    nothing = share[-1]["models"]["a"]
    assert nothing["there"] == 0 and nothing["days_away"] is None
    assert nothing["probe"]["gain"].value == 0 and nothing["decoded"]["gain"].interval == (0, 0)
    # radar comes 3 days after each optical date; beyond 12 days it is absent
    assert [(p["models"]["a"]["there"], p["models"]["a"]["days_away"]) for p in age] == [(1, 3), (1, 5), (0, None)]
    assert age[-1]["models"]["a"]["decoded"] == nothing["decoded"]
    assert 0 < share[1]["models"]["a"]["decoded"]["gain"].value ** 2


def test_differences_between_models_are_paired(result):
    for point in result["curves"]["all"]["gap"]:
        a, b = (point["models"][n]["probe"] for n in "ab")
        assert b["to_first"].value == pytest.approx(b["error"].value - a["error"].value, abs=2e-6)
        assert a["to_first"].value == 0 and a["to_first"].interval == (0, 0)
    json.dumps(result.to_json(), allow_nan=False)
    text = format_result(result)
    assert text.startswith(f"SIMULATED. Fusion, {result['site']}") and "b minus a" in text
    assert "Nothing here proves that training has not seen the test dates" in text


@pytest.mark.parametrize("sees", [True, False])
def test_the_gain_is_found_where_radar_shows_what_is_hidden_and_only_there(tmp_path, sees):
    """Reflectance and backscatter of fields change at random from date to date; alike or each for itself."""
    rng = np.random.default_rng(3)
    fields = lambda: np.kron(rng.random((len(DAYS), 6, 6)), np.ones((1, 4, 4)))[..., None]  # noqa: E731
    green, rough = fields(), fields()
    change = {d: (1000 + 1500 * g * np.ones(10)).astype(np.int16) for d, g in zip(DAYS, green, strict=True)}
    echo = (-2000 + 1000 * (green if sees else rough) * np.ones(2)).astype(np.int16)
    world = make_cube(tmp_path / "w.zarr", change=change, radar=echo)
    model = make_model(("s2", "s1"), fused=True)
    few = {**FEW, "shares": (0, 1), "ages": (0,), "gaps": (20,)}
    probe = evaluate_fusion({"m": model}, world, **few)["curves"]["all"]["gap"][0]["models"]["m"]["probe"]
    if sees:
        assert probe["gain"].interval[0] > 0.2 * probe["error"].value
    else:
        assert probe["gain"].interval[0] <= 0 and abs(probe["gain"].value) < 0.02 * probe["error"].value


@pytest.mark.whole
def test_the_command_compares_models_and_draws(cube, models, tmp_path, capsys):
    paths = [str(save_model(m, tmp_path / n / "model")) for n, m in models.items()]
    dates = [str(np.datetime64(d, "D")) for d in TEST_DAYS]
    out, figure = tmp_path / "deep" / "f.json", tmp_path / "f.png"
    words = [
        "evaluate",
        "fusion",
        "--model",
        paths[0],
        "--model",
        paths[1],
        "--cube",
        str(cube.path),
        "--dates",
        *dates,
    ]
    few = ["--gap", "20", "--shares", "0", "1", "--ages", "0", "--gaps", "20"]
    assert main([*words, *few, "--out", str(out), "--figure", str(figure), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text()) and list(printed["models"]) == ["a", "b"]
    assert figure.read_bytes()[:4] == b"\x89PNG" and figure.stat().st_size > 20_000
    assert main([*words, "--figure", str(tmp_path / "f.doc")]) == 2
    assert "must end in .png" in capsys.readouterr().err


def test_bad_requests_are_named(cube, models):
    with pytest.raises(UsageError, match="model m: fuses nothing"):
        evaluate_fusion({"m": make_model()}, cube, dates=TEST_DAYS)
    with pytest.raises(UsageError, match=r"fuses s1 and s2; expected .* weather"):
        evaluate_fusion(models, cube, dates=TEST_DAYS, other="weather")
    with pytest.raises(UsageError, match="expected 0 to 1"):
        FusionPlan(shares=(0, 50))
    assert name_models([Path("x/a/model"), Path("b")]) == {"a": Path("x/a/model"), "b": Path("b")}
    assert list(name_models([Path("x/a/model"), Path("y/a/model")])) == ["x/a/model", "y/a/model"]


def test_a_probe_of_one_case_is_fitted_under_that_case(result):
    """Without radar the probe must not depend on what a probe with radar learned: equal at every share's end."""
    ends = [p["models"]["a"]["probe"]["without"] for kind in ("share", "age") for p in result["curves"]["all"][kind]]
    assert all(e == ends[0] for e in ends)
    assert jax.tree.leaves(ends[0])
