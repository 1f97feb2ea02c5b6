"""Tasks with one label per series: a class carried over or held out by group, few labels a class, a value by field."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata

from eomm.data.points import PointSeries
from eomm.errors import UsageError
from eomm.evaluation.quality.probes import fold_numbers, left_out, logistic, neighbours, ridge
from eomm.evaluation.quality.scores import Outcome, balanced_accuracy, mean_of
from eomm.evaluation.quality.series import groups_of
from eomm.evaluation.quality.vectors import Vectors

PARTS = ((60, 120), (121, 181), (182, 243), (244, 304))  # days of the year: two months each from March on
YEAR_DAYS = 365.2425
FEW, DRAWS = 5, 20  # labels a class, and how often they are drawn

Labels = Shaped[np.ndarray, " n"]


def seasons(vectors: Vectors, series: Sequence[PointSeries]) -> Float[np.ndarray, "n f"]:
    """Mean vectors of the valid dates in four parts of the year, side by side; of all dates where one has none."""
    at = [np.flatnonzero(s.valid) for s in series]
    out = []
    for s, where, z in zip(series, at, vectors(series), strict=True):
        doy = day_of_year(s.day[where])
        parts = [(doy >= a) & (doy <= b) for a, b in PARTS]
        own = z[where].astype(np.float64)
        out.append(np.concatenate([own[p].mean(0) if p.any() else own.mean(0) for p in parts]))
    return np.array(out)


def day_of_year(day: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """0 to 365, within a day."""
    return (day - (day / YEAR_DAYS).astype(int) * YEAR_DAYS).astype(int)


def carried_over(vectors: Vectors, learn: Sequence[PointSeries], test: Sequence[PointSeries], label: str) -> Outcome:
    """Balanced accuracy on one region of a probe that saw the labels of another."""
    y, truth = labels_of(learn, label), labels_of(test, label)
    if missing := set(truth) - set(y):
        raise UsageError(f"{label}: classes {sorted(missing)} are tested and not learned; leave them out")
    predict = logistic(seasons(vectors, learn), y, groups_of(learn))
    return balanced_accuracy(groups_of(test), truth, predict(seasons(vectors, test))[0][None])


def held_out(vectors: Vectors, series: Sequence[PointSeries], label: str, *, folds: int = 5) -> Outcome:
    """Balanced accuracy where whole groups are held out."""
    x, y, group = seasons(vectors, series), labels_of(series, label), groups_of(series)
    guess = np.empty_like(y)
    for train, test in left_out(fold_numbers(group, folds)):
        guess[test] = logistic(x[train], y[train], group[train])(x[test])[0]
    return balanced_accuracy(group, y, guess[None])


def few_labels(vectors: Vectors, series: Sequence[PointSeries], label: str) -> tuple[Outcome, Outcome]:
    """Balanced accuracy with five labels a class, over 20 draws of them; linear probe, three nearest neighbours.

    Raises UsageError where a class has no more than five series: nothing of it would be tested.
    """
    x, y, group = seasons(vectors, series), labels_of(series, label), groups_of(series)
    names, counts = np.unique(y, return_counts=True)
    if (counts <= FEW).any() or len(names) < 2:
        raise UsageError(
            f"{label}: {dict(zip(names.tolist(), counts.tolist(), strict=True))}; every class needs {FEW + 1}"
        )
    guesses = np.empty((2, DRAWS, len(y)), y.dtype)
    scored = np.zeros((DRAWS, len(y)), bool)
    for seed in range(DRAWS):
        rng = np.random.default_rng([seed, 5])
        train = np.concatenate([rng.choice(np.flatnonzero(y == c), FEW, replace=False) for c in names])
        held = np.isin(group, group[train])  # a group is learned from or tested, never both
        scored[seed] = ~held
        guesses[0, seed] = logistic(x[train], y[train], group[train])(x)[0]
        guesses[1, seed] = neighbours(x[train], y[train])(x)
    return balanced_accuracy(group, y, guesses[0], scored), balanced_accuracy(group, y, guesses[1], scored)


def rank_within(
    vectors: Vectors,
    series: Sequence[PointSeries],
    label: str,
    *,
    fold: Shaped[np.ndarray, " n"],
    tested: Bool[np.ndarray, " n"],
) -> Outcome:
    """Rank correlation within groups of a value with what a ridge says of it, the mean over groups.

    Vectors and values are differences from their group's means: what tells groups apart earns nothing.

    Args:
        vectors: scored.
        series: with a value each.
        label: the value's name.
        fold: a group is predicted by a fit on the other folds.
        tested: groups of these series are scored; all are learned from.
    """
    x, y, group = seasons(vectors, series), labels_of(series, label).astype(float), groups_of(series)
    x, y = within(x, group), within(y[:, None], group)[:, 0]
    found = np.full(len(y), np.nan)
    for train, test in left_out(fold):
        if tested[test].any():
            found[test] = ridge(x[train], y[train, None])(x[test])[:, 0]
    names = np.unique(group[tested])
    rho = [spearman(y[group == g], found[group == g]) for g in names]
    return mean_of(names, np.array(rho))


def within(x: Float[np.ndarray, "n f"], group: Labels) -> Float[np.ndarray, "n f"]:
    """Differences from the means of groups."""
    names, index = np.unique(group, return_inverse=True)
    total = np.zeros((len(names), x.shape[1]))
    np.add.at(total, index, x)
    return x - (total / np.bincount(index)[:, None])[index]


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Rank correlation; 0 where one of the two does not vary."""
    p, q = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    size = np.sqrt((p**2).sum() * (q**2).sum())
    return float((p * q).sum() / size) if size > 0 else 0.0


def labels_of(series: Sequence[PointSeries], label: str) -> Labels:
    """A label of each. Raises UsageError where one has none."""
    try:
        return np.array([s.labels[label] for s in series])
    except KeyError as e:
        raise UsageError(f"label {label!r}: a series has {sorted(series[0].labels)}; choose one that all have") from e
