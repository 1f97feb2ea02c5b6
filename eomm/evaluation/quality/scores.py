"""Scores whose groups can be drawn anew: outcomes, paired differences, sign flips, Holm's correction.

Rows of one group (a locality's plots, a field's pixels) are not independent, so whole groups are drawn; seeds of a
method are averaged before that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from eomm.errors import UsageError
from eomm.evaluation.bootstrap import RESAMPLES, Statistic, Weights, draws, interval_of, ratio
from eomm.evaluation.result import Better, Difference, Estimate, rounded

FEWEST = 8  # groups for any claim
FLIPPED_BELOW = 20  # groups; fewer are judged by exact sign flips

Score = Callable[[Weights], Float[np.ndarray, " r"]]
Outcomes = Mapping[str, Mapping[str, "Outcome"]]  # by task and method


@dataclass(frozen=True, kw_only=True)
class TaskScore(Estimate):
    """A method's score at a task, and how many predictions it rests on."""

    rows: int


@dataclass(frozen=True, kw_only=True)
class Tested(Difference):
    """By how much a method is better than another, and the two-sided p of no difference; None under 8 groups."""

    p: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a method reached at a task.

    Attributes:
        groups: names, [g]; equal for all methods of a task.
        score: weights of groups [r, g] to scores [r], averaged over seeds; NaN where nothing is left to score.
        rows: how many predictions it rests on.
    """

    groups: Shaped[np.ndarray, " g"]
    score: Score
    rows: int

    @property
    def value(self) -> float:
        """The score of all groups alike."""
        return float(self.score(np.ones((1, len(self.groups))))[0])


def of_sums(group: Shaped[np.ndarray, " n"], moments: Float[np.ndarray, "s n k"], statistic: Statistic) -> Outcome:
    """A statistic of sums over rows, averaged over the first axis, such as seeds."""
    names, index = np.unique(np.asarray(group, str), return_inverse=True)
    sums = np.zeros((len(moments), len(names), moments.shape[-1]))
    np.add.at(sums.swapaxes(0, 1), index, moments.swapaxes(0, 1))
    return Outcome(groups=names, score=lambda w: statistic(w @ sums).mean(0), rows=moments.shape[1])


def mean_of(group: Shaped[np.ndarray, " n"], top: Float[np.ndarray, "*s n"], bottom: Any = 1.0) -> Outcome:
    """A ratio of sums over rows, such as a mean; `top` may have a row per seed."""
    tops = np.atleast_2d(np.asarray(top, np.float64))
    bottoms = np.broadcast_to(np.asarray(bottom, np.float64), tops.shape)
    return of_sums(group, np.stack([tops, bottoms], axis=-1), lambda s: ratio(s[..., 0], s[..., 1]))


def skill(
    group: Shaped[np.ndarray, " n"], error: Float[np.ndarray, "*s n"], spread: Float[np.ndarray, " n"]
) -> Outcome:
    """1 - sum of squared errors / sum of squared deviations."""
    lost = mean_of(group, error, spread)
    return replace(lost, score=lambda w: 1 - lost.score(w))


def balanced_accuracy(
    group: Shaped[np.ndarray, " n"],
    truth: Shaped[np.ndarray, " n"],
    guess: Shaped[np.ndarray, "s n"],
    scored: Bool[np.ndarray, "s n"] | None = None,
) -> Outcome:
    """Mean over classes of the share that was found.

    Args:
        group: of every row.
        truth: class of every row.
        guess: by draw of labels; anything where not scored. A row's draws are averaged before classes are.
        scored: by draw; all when None.
    """
    which = np.ones(guess.shape, bool) if scored is None else scored
    classes = np.unique(truth)
    counts = (truth[None, :, None] == classes) & which[..., None]
    hits = counts & (guess[..., None] == classes)
    moments = np.concatenate([hits, counts], axis=-1).sum(0, dtype=np.float64)[None]
    # a class that was not drawn makes it NaN: no score of fewer classes
    found = of_sums(group, moments, lambda s: ratio(*np.split(s, 2, axis=-1)).mean(-1))
    return replace(found, rows=int(which.any(0).sum()))


def auc(
    group: Shaped[np.ndarray, " n"],
    fold: Shaped[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    output: Float[np.ndarray, " n"],
) -> Outcome:
    """The share of pairs (one true, one false) of one fold that are in order; ties count half.

    Outputs of different folds come from different fits and are never compared. Where each series is its own fold,
    this is the order within series.
    """
    names, index = np.unique(np.asarray(group, str), return_inverse=True)
    wins, pairs = np.zeros((2, len(names), len(names)))
    truth = np.asarray(truth, bool)
    order = np.argsort(fold, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(np.unique(fold, return_inverse=True)[1][order])) + 1):
        for h in np.unique(index[rows]):
            other = np.sort(output[rows[(index[rows] == h) & ~truth[rows]]])
            mine = rows[truth[rows]]
            low, high = (np.searchsorted(other, output[mine], side) for side in ("left", "right"))
            np.add.at(wins[:, h], index[mine], (low + high) / 2)
            np.add.at(pairs[:, h], index[mine], float(len(other)))

    def score(weights: Weights) -> Float[np.ndarray, " r"]:
        return ratio(
            np.einsum("rg,gh,rh->r", weights, wins, weights), np.einsum("rg,gh,rh->r", weights, pairs, weights)
        )

    return Outcome(groups=names, score=score, rows=len(truth))


def averaged(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean over outcomes of one task, such as those of seeds. Raises UsageError where their groups differ."""
    first = outcomes[0]
    for other in outcomes[1:]:
        check_paired(first, other)
    return Outcome(
        groups=first.groups, score=lambda w: np.mean([o.score(w) for o in outcomes], axis=0), rows=first.rows
    )


def check_paired(first: Outcome, second: Outcome) -> None:
    """Raise UsageError unless both were scored on the same groups."""
    if first.groups.tolist() != second.groups.tolist():
        raise UsageError("two outcomes of a task rest on different groups; score every method on the same rows")


def estimate(outcome: Outcome, *, resamples: int = RESAMPLES) -> TaskScore:
    """The score of all groups alike, and its 95 % interval from 8 groups on."""
    count = len(outcome.groups)
    interval = _interval(outcome.score(draws(count, resamples=resamples)), count)
    return TaskScore(value=rounded(outcome.value), interval=interval, groups=count, rows=outcome.rows)


def compare(first: Outcome, second: Outcome, *, better: Better, resamples: int = RESAMPLES) -> Tested:
    """By how much the first is better than the second on the same groups.

    Args:
        first: of the method.
        second: of the method it is compared with.
        better: of scores; differences are turned so that more is better.
        resamples: of groups.

    Returns:
        Interval and p from 8 groups on; p is of exact sign flips under 20 groups, else of the resampled differences.
    """
    check_paired(first, second)
    sign, count = {"higher": 1.0, "lower": -1.0}[better], len(first.groups)

    def gain(weights: Weights) -> Float[np.ndarray, " r"]:
        return sign * (first.score(weights) - second.score(weights))

    drawn, p = gain(draws(count, resamples=resamples)), None
    if count >= FLIPPED_BELOW:
        kept = drawn[np.isfinite(drawn)]
        p = min(1.0, (2 * min((kept <= 0).sum(), (kept >= 0).sum()) + 1) / (len(kept) + 1))
    elif count >= FEWEST:
        p = sign_flip(pseudo_values(gain, count))
    value = rounded(float(gain(np.ones((1, count)))[0]))
    return Tested(value=value, interval=_interval(drawn, count), groups=count, p=p)


def pseudo_values(score: Score, count: int, *, step: float = 1e-4) -> Float[np.ndarray, " g"]:
    """What each group adds to a score: the score plus, times the number of groups, its slope in the group's weight.

    For a mean over groups these are the groups' own values (the infinitesimal jackknife); their mean is the score.
    """
    up, down = (score(np.ones((count, count)) + s * np.eye(count)) for s in (step, -step))
    whole = score(np.ones((1, count)))[0]
    return np.asarray(whole + count * (up - down) / (2 * step))


def sign_flip(values: Float[np.ndarray, " g"]) -> float:
    """Two-sided p of a mean of 0, over all 2^g ways to turn signs. Raises UsageError from 24 groups on."""
    count = len(values)
    if count >= 24:
        raise UsageError(f"{count} groups have too many sign flips; draw groups instead")
    sums = np.zeros(1)
    for v in values:
        sums = np.concatenate([sums + v, sums - v])
    seen = abs(values.sum())
    return float(np.mean(np.abs(sums) >= seen - 1e-9 * max(1.0, seen)))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p of several tests; None, which claims nothing, stays and is not counted."""
    known = [i for i, value in enumerate(p) if value is not None]
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: float(p[i]))):  # type: ignore[arg-type]
        highest = max(highest, min(1.0, float(p[i]) * (len(known) - rank)))  # type: ignore[arg-type]
        adjusted[i] = highest
    return adjusted


def _interval(drawn: Float[np.ndarray, " r"], groups: int) -> tuple[float, float] | None:
    """None under 8 groups, or where most draws leave nothing to score."""
    return interval_of(drawn, groups) if groups >= FEWEST and np.isfinite(drawn).mean() >= 0.5 else None
