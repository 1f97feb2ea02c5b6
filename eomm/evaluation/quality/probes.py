"""The probes of the quality bench: logistic regression, nearest neighbours, ridge, all scikit-learn's."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier

from eomm.errors import UsageError

PENALTIES = (0.03, 0.3, 3.0)  # C of the logistic regression
ALPHAS = tuple(np.logspace(-3, 4, 8))  # of the ridge
INNER_FOLDS = 3
NEIGHBOURS = 3

Rows = Float[np.ndarray, "n f"]
Labels = Shaped[np.ndarray, " n"]


def fold_numbers(group: Labels, count: int, *, seed: int = 0) -> Int[np.ndarray, " n"]:
    """A fold for every row, whole groups together, drawn by seed. Raises UsageError where there is one group."""
    names, index = np.unique(np.asarray(group, str), return_inverse=True)
    if len(names) < 2:
        raise UsageError(f"one group ({names[0]}) cannot be divided into folds; give more groups")
    return (np.random.default_rng(seed).permutation(len(names)) % min(count, len(names)))[index]


def left_out(fold: Shaped[np.ndarray, " n"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of every fold."""
    for k in np.unique(fold):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


class Standard:
    """Rows with mean 0 and, over all columns, a mean variance of 1 on training rows; relations of columns stay."""

    def __init__(self, x: Rows):
        self.mean, self.scale = x.mean(0), np.sqrt(x.var(0).mean()) + 1e-9
        self.basis: np.ndarray | None = None
        if len(x) < x.shape[1]:  # nothing outside the span of the training rows matters to a penalised linear model
            self.basis = np.linalg.svd((x - self.mean) / self.scale, full_matrices=False)[2].T

    def __call__(self, x: Rows) -> Float[np.ndarray, "n k"]:
        """Rows as probes see them."""
        z = (x - self.mean) / self.scale
        return z if self.basis is None else z @ self.basis


def logistic(x: Rows, y: Labels, group: Labels) -> Callable[[Rows], tuple[Labels, np.ndarray]]:
    """Logistic regression, classes weighted alike, penalty chosen on groups left out of the training rows.

    Returns:
        Rows to (classes, decision values).
    """
    standard = Standard(x)
    z, best = standard(x), (-1.0, PENALTIES[0])
    fold = fold_numbers(group, INNER_FOLDS)
    for penalty in PENALTIES:
        found = [
            mean_recall(y[test], _fit(z[train], y[train], penalty).predict(z[test]))
            for train, test in left_out(fold)
            if len(np.unique(y[train])) > 1 and set(y[test]) <= set(y[train])
        ]
        if found:
            best = max(best, (float(np.mean(found)), penalty))
    model = _fit(z, y, best[1])
    return lambda rows: (model.predict(standard(rows)), model.decision_function(standard(rows)))


def neighbours(x: Rows, y: Labels) -> Callable[[Rows], Labels]:
    """Vote of the three nearest training rows by Euclidean distance, as they are."""
    model = KNeighborsClassifier(min(NEIGHBOURS, len(x))).fit(x, y)
    return lambda rows: np.asarray(model.predict(rows))


def ridge(x: Rows, y: Float[np.ndarray, "n k"]) -> Callable[[Rows], Float[np.ndarray, "n k"]]:
    """Ridge regression, columns alike, penalty chosen by leave-one-out within the training rows.

    Raises UsageError where fewer than two rows can be learned from.
    """
    if len(x) < 2:
        raise UsageError(f"{len(x)} rows to learn from; give more groups, or other folds")
    mean, scale = x.mean(0), np.where(x.std(0) > 1e-9, x.std(0), 1.0)
    model = RidgeCV(alphas=ALPHAS).fit((x - mean) / scale, y)
    return lambda rows: np.asarray(model.predict((rows - mean) / scale)).reshape(len(rows), -1)


def mean_recall(truth: Labels, guess: Labels) -> float:
    """Balanced accuracy: the mean over classes of the share that was found."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))


def _fit(x: Rows, y: Labels, penalty: float) -> LogisticRegression:
    model = LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=60, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a penalised fit short of its optimum is still a fit
        return model.fit(x, y)
