"""What error a hidden target has, from how many valid acquisitions are near it: fit, read, check."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from eomm.store.fields import Json

KNOTS = 16
Counts = Integer[np.ndarray, "*n"]


def timing(before: Counts, after: Counts, seen: Counts) -> Float[np.ndarray, "*n k"]:
    """What tells of a target's error, from days to the nearest valid acquisition on both sides and their number."""
    near, far = np.minimum(before, after), np.maximum(before, after)
    return np.stack([np.ones(near.shape), np.log1p(near), np.log1p(far), np.log1p(seen)], axis=-1)


def fit_error(before: Counts, after: Counts, seen: Counts, error: Float[np.ndarray, " n"]) -> Json:
    """What `expected_error` needs: a score, linear for the logarithm of the error, and the mean error by score.

    The second is an isotonic regression, so that expected errors are means of errors and rise with the score.

    Args:
        before: days to the nearest valid acquisition before each target.
        after: days to the nearest one after it.
        seen: valid acquisitions in its window, itself not counted.
        error: that was found.
    """
    from scipy.optimize import isotonic_regression  # as below: a second to import, and embedding needs neither

    x = timing(before, after, seen)
    weights = np.linalg.lstsq(x, np.log(np.maximum(error, 1e-6)), rcond=None)[0]
    order = np.argsort(x @ weights, kind="stable")
    score, mean = (x @ weights)[order], isotonic_regression(error[order]).x
    # The ends are not the single best and worst target.
    at = np.unique(np.quantile(score, np.linspace(0.005, 0.995, KNOTS)))
    knots = np.interp(at, score, mean)
    return {"weights": weights.tolist(), "score": at.tolist(), "mean": knots.tolist()}


def expected_error(fit: Mapping[str, Any], before: Counts, after: Counts, seen: Counts) -> Float[np.ndarray, "*n"]:
    """The mean absolute error to expect of a hidden target, in the unit that `fit` was made in."""
    score = timing(before, after, seen) @ np.asarray(fit["weights"])
    return np.asarray(np.interp(score, fit["score"], fit["mean"]))


def check_error(expected: Float[np.ndarray, " n"], found: Float[np.ndarray, " n"]) -> Json:
    """Whether expected errors hold: means of expected and found errors by fifths of the expected, rank correlation."""
    from scipy.stats import spearmanr

    fifths = np.array_split(np.argsort(expected, kind="stable"), 5)
    constant = np.ptp(expected) == 0 or np.ptp(found) == 0
    return {
        "targets": len(found),
        "expected": [float(expected[f].mean()) for f in fifths],
        "found": [float(found[f].mean()) for f in fifths],
        "rank_correlation": 0.0 if constant else float(spearmanr(expected, found).statistic),
    }
