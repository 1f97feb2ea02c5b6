"""What probes learn, and how what they learn is counted."""

import numpy as np
import pytest

from eomm.evaluation.folds import Fold
from eomm.evaluation.probes.fit import PENALTIES, ProbeTask, _fit_logistic, fit_head, fit_probe, fit_scaler, reduce
from eomm.evaluation.probes.rows import draw, even
from eomm.evaluation.probes.score import confusion, metrics, squares


def blobs(rng, n=200, f=6, gap=3.0):
    y = np.arange(n) % 2
    x = rng.normal(size=(n, f)).astype(np.float32)
    x[:, 0] += gap * y
    return x, y


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_probes_learn_what_can_be_learned(kind):
    rng = np.random.default_rng(0)
    x, y = blobs(rng)
    predict, _ = fit_probe(kind, x, y, np.arange(200) % 8, ProbeTask(2))
    fresh, truth = blobs(rng)
    assert (np.argmax(predict(fresh), 1) == truth).mean() > 0.85
    line = (2 * x[:, 1] + 1).astype(np.float64)
    predict, _ = fit_probe(kind, x, line, np.arange(200) % 8, ProbeTask(0))
    assert np.corrcoef(predict(fresh)[:, 0], fresh[:, 1])[0, 1] > (0.99 if kind == "linear" else 0.6)


def test_logistic_fits_equal_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(10)
    x = (rng.normal(size=(120, 5)) * [1, 2, 0.1, 1, 1]).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=120) > 0.8).astype(int) + (x[:, 1] > 2)
    weight = (1 / np.bincount(y))[y] / 3
    for penalty, predict in zip(PENALTIES, _fit_logistic(x, y, task=ProbeTask(3)), strict=True):
        reference = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x, y, sample_weight=weight)
        logits = predict(x)
        found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found, reference.predict_proba(x), atol=5e-3)


def test_more_columns_than_rows_lose_nothing():
    rng = np.random.default_rng(1)
    x, fresh = rng.normal(size=(20, 70)).astype(np.float32), rng.normal(size=(5, 70)).astype(np.float32)
    scaler = fit_scaler(x)
    assert scaler.basis is not None and scaler(x).shape[1] <= 20
    z, w = (x - scaler.mean) / scaler.scale, (fresh - scaler.mean) / scaler.scale
    np.testing.assert_allclose(scaler(fresh) @ scaler(x).T, w @ z.T, rtol=1e-3, atol=1e-3)


def test_pca_is_fitted_on_what_it_is_given():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 8))).astype(np.float32)
    short = reduce(x, 2)(x)
    design = np.concatenate([short, np.ones((300, 1))], axis=1)
    assert np.abs(design @ np.linalg.lstsq(design, x, rcond=None)[0] - x).max() < 1e-3


def test_principal_components_keep_their_weight():
    """The first column tells the class, forty others are weak noise, which one variance for all would make strong."""
    rng = np.random.default_rng(11)
    y, group = np.arange(240) % 2, np.arange(240) % 6
    x = (0.05 * rng.normal(size=(240, 41))).astype(np.float32)
    x[:, 0] += y + 0.3 * rng.normal(size=240)
    right = {}
    for by_column in (True, False):
        predict, _ = fit_probe("knn", x[:120], y[:120], group[:120], ProbeTask(2), by_column=by_column)
        right[by_column] = (np.argmax(predict(x[120:]), 1) == y[120:]).mean()
    assert right[True] < 0.8 < 0.9 < right[False]


def test_the_head_sees_the_surroundings():
    """The class of a pixel is the sign of its left neighbour: nothing but a convolution can tell."""
    rng = np.random.default_rng(3)
    image = rng.choice([-1.0, 1.0], (30, 30, 1)).astype(np.float32)
    row, col = (a.ravel() for a in np.mgrid[:30, 1:30])
    at = np.stack([np.zeros_like(row), row, col], axis=1)
    y = (image[row, col - 1, 0] > 0).astype(int)
    train = row < 20
    predict = fit_head([image], at[train], y[train], ProbeTask(2), seed=0)
    assert (np.argmax(predict(at[~train]), 1) == y[~train]).mean() > 0.95
    pixel, _ = fit_probe("linear", image[row, col][train], y[train], row[train], ProbeTask(2))
    assert (np.argmax(pixel(image[row, col][~train]), 1) == y[~train]).mean() < 0.65


def test_metrics_equal_those_of_scikit_learn():
    from sklearn import metrics as reference

    rng = np.random.default_rng(4)
    truth, guess, group = rng.integers(0, 3, 400), rng.integers(0, 3, 400), rng.integers(0, 7, 400)
    sums = confusion(truth, guess, group, 7, 3).sum(0)
    found = {n: float(m(sums)) for n, m in metrics(3, 1).items()}
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["miou"] == pytest.approx(reference.jaccard_score(truth, guess, average="macro"))
    y, z = rng.normal(size=400), rng.normal(size=400)
    sums = squares(y, z, group, 7).sum(0)
    found = {n: float(m(sums)) for n, m in metrics(0, 1).items()}
    assert found["r2"] == pytest.approx(reference.r2_score(y, z))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(y, z))


def test_a_resample_without_a_class_says_nothing():
    sums = confusion(np.array([0, 0]), np.array([0, 1]), np.array([0, 0]), 1, 2).sum(0)
    assert all(np.isnan(float(m(sums))) for n, m in metrics(2, 1).items() if n != "accuracy")


def test_draws_are_shares_of_every_class():
    y = np.repeat([0, 1, 2], [700, 200, 5])
    fold = Fold(name="f", train=np.arange(905), test=np.arange(0))
    rows = draw(fold, y, 0.1, 3, classes=3)
    assert np.bincount(y[rows]).tolist() == [70, 20, 1]
    np.testing.assert_array_equal(rows, draw(fold, y, 0.1, 3, classes=3))
    assert set(rows) != set(draw(fold, y, 0.1, 4, classes=3))


def test_large_sites_are_thinned_in_turns():
    group = np.repeat([0, 1, 2], [500, 40, 3])
    assert np.bincount(group[even(group, 83)]).tolist() == [40, 40, 3]
    assert even(group, 10_000).all()
