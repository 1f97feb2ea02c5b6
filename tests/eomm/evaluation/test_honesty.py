"""A method that sees what is hidden must be caught: hidden values are replaced, and no prediction may move."""

import numpy as np
import pytest

from eomm.evaluation.baselines import SIMPLE, Observations
from eomm.evaluation.hidden import scorer
from eomm.evaluation.hidden.reconstruction import evaluate
from eomm.evaluation.hidden.ridges import INPUTS
from eomm.evaluation.hidden.scorer import Case
from eomm.evaluation.hidden.tally import Tally
from eomm.models.predict import Predictor
from tests.eomm.site import DAYS, SIZE, TEST_DAYS, make_cube, make_model

GAP = 20


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """The same site twice; on the test dates, and round the second of them, the other holds other values."""
    work, rng = tmp_path_factory.mktemp("honesty"), np.random.default_rng(5)
    near = [d for d in DAYS if d not in TEST_DAYS and abs(d - TEST_DAYS[1]) <= GAP]
    change = {d: rng.integers(100, 9000, (SIZE, SIZE, 10)).astype(np.int16) for d in [*TEST_DAYS, *near]}
    hidden = {d: change[d] for d in TEST_DAYS}
    cubes = {"as it was": None, "test dates": hidden, "round one": change}
    return {name: make_cube(work / f"{i}.zarr", s1=False, change=c) for i, (name, c) in enumerate(cubes.items())}


def predictions(cube, dates=TEST_DAYS, **options):
    """Every method's predictions, taken where they are handed to the tally."""
    caught = {}

    class Catching(Tally):
        def add(self, condition, truth, predicted, masks):
            if condition == Case(gap_days=GAP):
                caught.update({m: np.array(v) for m, v in predicted.items()})
            super().add(condition, truth, predicted, masks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "Tally", Catching)
        evaluate(make_model(), cube, dates=dates, gaps=(GAP,), **options)
    return caught


def moved(cubes, **options):
    """Methods whose predictions depend on what is hidden on the test dates."""
    first, second = (predictions(cubes[name], **options) for name in ("as it was", "test dates"))
    assert set(first) == set(second)
    return {m for m in first if not np.array_equal(first[m], second[m])}


def test_no_method_sees_what_is_hidden(cubes):
    found = predictions(cubes["as it was"])
    assert set(found) == {"encoder", *SIMPLE, *INPUTS}
    assert moved(cubes, beside={"other": make_model(seed=3)}, beside_pixels=64, probes=False) == set()


def test_no_method_sees_what_lies_within_the_gap(cubes):
    options = {"dates": TEST_DAYS[1:2], "probes": False}
    first, second = (predictions(cubes[name], **options) for name in ("test dates", "round one"))
    assert set(first) == {"encoder", *SIMPLE}
    for method, values in first.items():
        np.testing.assert_array_equal(values, second[method], err_msg=method)


def leak_into_series(monkeypatch):
    """The baselines get the series with everything in it."""
    monkeypatch.setattr(Observations, "without", lambda self, hidden: self)


def leak_into_features(monkeypatch):
    """Test acquisitions are not emptied, and the encoder may attend to its own target."""
    see, embed = Predictor.see, Predictor.embed
    monkeypatch.setattr(Predictor, "see", lambda self, name, batch, blank=None, **k: see(self, name, batch, **k))
    monkeypatch.setattr(
        Predictor, "embed", lambda self, seen, targets, hidden, **k: embed(self, seen, targets, hidden & False, **k)
    )


@pytest.mark.parametrize("plant, victims", [(leak_into_series, set(SIMPLE)), (leak_into_features, {"encoder"})])
def test_a_planted_leak_is_caught(cubes, monkeypatch, plant, victims):
    plant(monkeypatch)
    assert moved(cubes, probes=False) == victims


def test_a_leaking_baseline_would_look_perfect(cubes, monkeypatch):
    """Why it matters: with the leak the nearest date is the target itself, and errs by nothing."""
    options = {"dates": TEST_DAYS, "gaps": (GAP,), "probes": False}
    honest = evaluate(make_model(), cubes["test dates"], **options)["hidden"]["all"][str(GAP)].methods["nearest"]
    leak_into_series(monkeypatch)
    leaking = evaluate(make_model(), cubes["test dates"], **options)["hidden"]["all"][str(GAP)].methods["nearest"]
    assert leaking.value == 0 < 0.05 < honest.value
