"""Scores of predictions from sums over groups, so that intervals cost nothing: see evaluation/bootstrap.py."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from eomm.evaluation.bootstrap import ratio

CLASSIFICATION = ("balanced_accuracy", "macro_f1", "accuracy", "miou")
REGRESSION = ("r2", "rmse")
BETTER = {"rmse": "lower"}  # of all others more is better

Sums = Float[np.ndarray, "*r k"]
Metric = Callable[[Sums], Float[np.ndarray, "*r"]]


def confusion(
    truth: Int[np.ndarray, " n"], guess: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"], groups: int, classes: int
) -> Float[np.ndarray, "g k"]:
    """Per group, how many rows of each class (first) were called which (second), flattened."""
    cell = (group * classes + truth) * classes + guess
    return np.bincount(cell, minlength=groups * classes**2).reshape(groups, -1).astype(np.float64)


def squares(
    truth: Float[np.ndarray, " n"], guess: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], groups: int
) -> Float[np.ndarray, "g 4"]:
    """Per group: rows, squared errors, sum and squares of the truth."""
    columns = (np.ones(len(truth)), (guess - truth) ** 2, truth, truth**2)
    return np.stack([np.bincount(group, weights=c, minlength=groups) for c in columns], axis=1)


def metrics(classes: int, seeds: int) -> Mapping[str, Metric]:
    """By name, the score of sums over groups, averaged over seeds, whose sums stand one after the other.

    NaN where a class has no row: a resample without it says nothing about it.
    """
    known: dict[str, Metric] = {"r2": _r2, "rmse": _rmse}
    if classes:
        known = {"balanced_accuracy": _recall, "macro_f1": _f1, "accuracy": _accuracy, "miou": _iou}
    shape = (seeds, classes, classes) if classes else (seeds, 4)
    return {name: _over_seeds(one, shape) for name, one in known.items()}


def _over_seeds(metric: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> Metric:
    return lambda sums: metric(sums.reshape(*sums.shape[:-1], *shape)).mean(axis=-1)


def _hits(c: np.ndarray) -> np.ndarray:
    return np.diagonal(c, axis1=-2, axis2=-1)


def _recall(c: np.ndarray) -> np.ndarray:
    return ratio(_hits(c), c.sum(-1)).mean(-1)


def _f1(c: np.ndarray) -> np.ndarray:
    present = np.where(c.sum(-1) > 0, 0.0, np.nan)
    return (ratio(2 * _hits(c), c.sum(-1) + c.sum(-2)) + present).mean(-1)


def _iou(c: np.ndarray) -> np.ndarray:
    present = np.where(c.sum(-1) > 0, 0.0, np.nan)
    return (ratio(_hits(c), c.sum(-1) + c.sum(-2) - _hits(c)) + present).mean(-1)


def _accuracy(c: np.ndarray) -> np.ndarray:
    return ratio(_hits(c).sum(-1), c.sum((-1, -2)))


def _r2(s: np.ndarray) -> np.ndarray:
    count, error, total, square = np.moveaxis(s, -1, 0)
    return 1 - ratio(error, square - ratio(total**2, count))


def _rmse(s: np.ndarray) -> np.ndarray:
    return np.sqrt(ratio(s[..., 1], s[..., 0]))
