"""Tasks without labels of classes: hidden targets, repeatability, near over far, and a step shown at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from eomm.data.points import PointSeries
from eomm.errors import UsageError
from eomm.evaluation.quality.closed import INTERPOLATORS, exponential
from eomm.evaluation.quality.probes import fold_numbers
from eomm.evaluation.quality.reader import TEXT, fit_reader
from eomm.evaluation.quality.scores import Outcome, mean_of
from eomm.evaluation.quality.series import REACH_DAYS, groups_of, hide
from eomm.evaluation.quality.tasks import Task, Trial
from eomm.evaluation.quality.vectors import One, Vectors

GAPS = (0, 10, 30, 60)  # days hidden on both sides of a target
TAUGHT = (0, 0, 3, 10, 20, 30, 45, 60)  # gaps from which the reader learns, at other dates each
FOLDS = 4  # of groups, where places that are scored teach too
FEWEST_LEFT = 4  # visible dates when the widest gap is hidden
NEAR_DAYS, FAR_DAYS = (1, 5), (60, 199)
MEANS_OF, WITHIN_DAYS, LAST_DAYS = 4, 60, 15  # a step: dates on each side, how far they reach, half of the gap between

Shown = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs of a reader, what it adds to, truth


@dataclass(frozen=True, kw_only=True, eq=False)
class Hidden:
    """Targets that no method has seen.

    Attributes:
        series: one for each target, as a method sees it.
        at: [1] the target's position in each.
        truth: [n, band] reflectance.
        group: of each.
    """

    series: list[PointSeries]
    at: list[Int[np.ndarray, "1"]]
    truth: Float[np.ndarray, "n c"]
    group: Shaped[np.ndarray, " n"]


def hidden_targets(series: Sequence[PointSeries], gap_days: int, *, each: int = 3, seed: int = 0) -> Hidden:
    """Dates drawn from every series, the same for every gap. Raises UsageError where none can be hidden."""
    made: list[tuple[PointSeries, int]] = []
    truth, group = [], []
    for number, s in enumerate(series):
        apart = np.abs(s.day[:, None] - s.day[None])
        left = ((apart > max(GAPS)) & (apart <= REACH_DAYS) & s.valid[None]).sum(1)
        may = np.flatnonzero(s.valid & (left >= FEWEST_LEFT))
        rng = np.random.default_rng([seed, number])
        for t in np.sort(rng.permutation(may)[:each]):
            made.append(hide(s, int(t), gap_days))
            truth.append(s.values[t])
            group.append(s.group)
    if not made:
        raise UsageError(f"none of {len(series)} series has {FEWEST_LEFT} dates beside a gap of {max(GAPS)} days")
    return Hidden(
        series=[s for s, _ in made],
        at=[np.array([i]) for _, i in made],
        truth=np.array(truth, np.float64),
        group=np.array(group, str),
    )


def hidden_tasks(labels: str, group: str) -> tuple[Task, ...]:
    """A task for each of GAPS.

    Args:
        labels: what the reader learns from, in words.
        group: what is resampled.
    """
    words = {"metric": "mean absolute error of reflectance", "probe": TEXT, "labels": labels, "group": group}
    return tuple(Task(name=f"hidden, {gap} days", **words, better="lower", primary=False, margin=None) for gap in GAPS)


def hidden_trial(
    tasks: tuple[Task, ...],
    series: Sequence[PointSeries],
    errors: Callable[[Vectors, Sequence[Hidden]], Sequence[Outcome]],
) -> Trial:
    """The tasks of `hidden_tasks` on series, vectors read by `errors`; interpolation in time stands beside them."""
    tests = [hidden_targets(series, gap) for gap in GAPS]
    given = {name: [interpolated_error(one, test) for test in tests] for name, one in INTERPOLATORS.items()}
    return Trial(tasks=tasks, outcomes=lambda v: errors(v, tests), given=given)


def teaching_targets(series: Sequence[PointSeries]) -> list[Hidden]:
    """What a reader learns from: targets of every gap of TAUGHT. Raises UsageError where none can be hidden."""
    return [hidden_targets(series, gap, seed=number) for number, gap in enumerate(TAUGHT)]


def hidden_errors(vectors: Vectors, learn: Sequence[Hidden], tests: Sequence[Hidden]) -> list[Outcome]:
    """Mean absolute error of reflectance that one reader, fitted on all gaps, reads from vectors of hidden targets.

    Every method has the same reader, which adds to the state in bands, and is given beside the vector what anybody
    knows of a hidden date: the time of the year, and how far the nearest visible dates are.
    """
    shown = _shown(vectors, [*learn, *tests])
    read = fit_reader(*_joined(shown[: len(learn)]))
    return [_error(read(*told[:2]), test) for told, test in zip(shown[len(learn) :], tests, strict=True)]


def hidden_errors_across(
    vectors: Vectors, learn: Sequence[Hidden], tests: Sequence[Hidden], *, folds: int = FOLDS
) -> list[Outcome]:
    """As `hidden_errors`, at places that teach too: what reads a group was taught by the other folds of groups alone.

    So no reader is taught where an encoder was trained: there its vectors know what is hidden better than elsewhere,
    and a reader learns to trust them too much. Every fold has as many rows, drawn anew.
    """
    group = np.concatenate([h.group for h in learn])
    names = np.unique(group)
    fold_of = dict(zip(names.tolist(), fold_numbers(names, folds).tolist(), strict=True))
    fold = np.array([fold_of[g] for g in group])
    count = min(int((fold != k).sum()) for k in np.unique(fold))
    shown = _shown(vectors, [*learn, *tests])
    taught, tested = _joined(shown[: len(learn)]), shown[len(learn) :]
    guesses = [np.empty_like(test.truth) for test in tests]
    for k in np.unique(fold):
        rows = np.random.default_rng(int(k)).permutation(np.flatnonzero(fold != k))[:count]
        read = fit_reader(*(part[rows] for part in taught))
        for guess, told, test in zip(guesses, tested, tests, strict=True):
            mine = np.array([fold_of[g] == k for g in test.group])
            guess[mine] = read(*(part[mine] for part in told[:2]))
    return [_error(guess, test) for guess, test in zip(guesses, tests, strict=True)]


def _shown(vectors: Vectors, parts: Sequence[Hidden]) -> list[Shown]:
    """Inputs of the reader, base and truth of each; all vectors are made in one call, as an encoder likes it."""
    rows = np.concatenate(vectors([s for h in parts for s in h.series], [at for h in parts for at in h.at]))
    each = np.split(rows, np.cumsum([len(h.series) for h in parts])[:-1])
    return [
        (np.concatenate([own, when(h)], axis=1).astype(np.float64), state_of(h), h.truth)
        for h, own in zip(parts, each, strict=True)
    ]


def _joined(shown: Sequence[Shown]) -> Shown:
    inputs, bases, truths = (np.concatenate(columns) for columns in zip(*shown, strict=True))
    return inputs, bases, truths


def state_of(hidden: Hidden) -> Float[np.ndarray, "n c"]:
    """The state of the targets in bands, the same whatever its components are."""
    return np.concatenate([exponential(s, at) for s, at in zip(hidden.series, hidden.at, strict=True)])


def when(hidden: Hidden) -> Float[np.ndarray, "n 8"]:
    """Waves of a year and of half of it; days to the nearest visible dates before and after, to 120; their logs."""
    rows = []
    for s, at in zip(hidden.series, hidden.at, strict=True):
        day, seen = int(s.day[at[0]]), s.day[s.valid]
        gaps = [
            day - seen[seen < day].max(initial=day - REACH_DAYS),
            seen[seen > day].min(initial=day + REACH_DAYS) - day,
        ]
        turn = 2 * np.pi * day / 365.2425
        rows.append([*(f(k * turn) for k in (1, 2) for f in (np.cos, np.sin)), *np.minimum(gaps, 120), *np.log1p(gaps)])
    return np.array(rows, np.float64)


def interpolated_error(one: One, test: Hidden) -> Outcome:
    """The same of a function of the visible dates that gives bands itself."""
    return _error(np.concatenate([one(s, at) for s, at in zip(test.series, test.at, strict=True)]), test)


def repeatability(vectors: Vectors, series: Sequence[PointSeries], *, each: int = 3, seed: int = 0) -> Outcome:
    """Distance between vectors of one date from disjoint halves of the other dates, over that of dates 60 days apart.

    The date itself is hidden in both, so that the halves share nothing.
    """
    halves: list[tuple[list[PointSeries], list[np.ndarray]]] = [([], []), ([], [])]
    pairs: list[tuple[int, int]] = []
    group: list[str] = []
    for number, s in enumerate(series):
        for a, b in _far_pairs(s, each, np.random.default_rng([seed, number])):
            first = len(halves[0][0])
            for t in (a, b):
                for half, found in enumerate(halves):
                    one, at = _half(s, t, half)
                    found[0].append(one)
                    found[1].append(np.array([at]))
            pairs.append((first, first + 1))
            group.append(s.group)
    if not pairs:
        raise UsageError(f"none of {len(series)} series has two dates {FAR_DAYS[0]} days apart")
    odd, even = (np.concatenate(vectors(*half)).astype(np.float64) for half in halves)
    a, b = np.array(pairs).T
    near = (_length(odd[a] - even[a]) + _length(odd[b] - even[b])) / 2
    far = (_length(odd[a] - odd[b]) + _length(even[a] - even[b])) / 2
    return mean_of(np.array(group), near, far)


def near_over_far(vectors: Vectors, series: Sequence[PointSeries]) -> Outcome:
    """Median distance of dates 1 to 5 days apart over that of dates 60 to 199 days apart; medians of each group.

    `rows` of the outcome are the pairs of near dates.
    """
    parts = []
    for s, z in zip(series, vectors(series), strict=True):
        i, j, apart = _pairs(s)
        used = np.logical_or(*((apart >= low) & (apart <= high) for low, high in (NEAR_DAYS, FAR_DAYS)))
        i, j, apart = i[used], j[used], apart[used]
        distance = _length((z[i] - z[j]).astype(np.float64))
        parts.append(pd.DataFrame({"group": s.group, "apart": apart, "distance": distance}))
    pairs = pd.concat(parts)
    near, far = (pairs[pairs.apart.between(*days)].groupby("group").distance for days in (NEAR_DAYS, FAR_DAYS))
    kept = near.median().index.intersection(far.median().index)
    if kept.empty:
        raise UsageError(f"no group of {len(series)} series has both near and far pairs of dates")
    found = mean_of(kept.to_numpy(str), near.median()[kept].to_numpy(), far.median()[kept].to_numpy())
    return replace(found, rows=int(near.size()[kept].sum()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A change between two dates: of which series, which dates before it and after it, the nearest first."""

    series: PointSeries
    before: Int[np.ndarray, "4"]
    after: Int[np.ndarray, "4"]


def steps_at(series: Sequence[PointSeries], label: str) -> list[Step]:
    """Labelled events with four clear dates on each side; those dated on a clear acquisition are left out."""
    found = []
    for s in series:
        for day in np.asarray(s.labels[label], np.int64):
            if day not in s.day[s.valid] and (step := step_of(s, int(day))) is not None:
                found.append(step)
    return found


def step_of(series: PointSeries, day: int) -> Step | None:
    """The four valid dates on each side of a day without one, see `step_between`."""
    return step_between(series, int((series.day[series.valid] < day).sum()))


def step_between(series: PointSeries, count: int) -> Step | None:
    """The last four of the first `count` valid dates, and the next four; None where they are too far apart.

    The nearest two may be 30 days apart, and four may reach 60 days from there.
    """
    where = np.flatnonzero(series.valid)
    before, after = where[max(0, count - MEANS_OF) : count][::-1], where[count : count + MEANS_OF]
    if len(before) < MEANS_OF or len(after) < MEANS_OF:
        return None
    day = series.day
    reach = max(day[before[0]] - day[before[-1]], day[after[-1]] - day[after[0]])
    near = day[after[0]] - day[before[0]] <= 2 * LAST_DAYS
    return Step(series=series, before=before, after=after) if near and reach <= WITHIN_DAYS else None


def step_at_once(vectors: Vectors, steps: Sequence[Step]) -> Outcome:
    """Change from the last date before to the first after, along the change of the means of four, over that change."""
    if not steps:
        raise UsageError("no step has four clear dates on each side; give longer series")
    distinct = list({id(s.series): s.series for s in steps}.values())
    made = {id(s): z.astype(np.float64) for s, z in zip(distinct, vectors(distinct), strict=True)}
    once, whole = [], []
    for step in steps:
        z = made[id(step.series)]
        change = z[step.after].mean(0) - z[step.before].mean(0)
        size = float(np.sqrt((change**2).sum()))
        once.append(float((z[step.after[0]] - z[step.before[0]]) @ change) / max(size, 1e-12))
        whole.append(size)
    return mean_of(groups_of([s.series for s in steps]), np.array(once), np.array(whole))


def _error(guess: Float[np.ndarray, "n c"], test: Hidden) -> Outcome:
    return mean_of(test.group, np.abs(guess - test.truth).mean(1))


def _far_pairs(series: PointSeries, each: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    i, j, apart = _pairs(series)
    may = np.flatnonzero((apart >= FAR_DAYS[0]) & (apart <= FAR_DAYS[1]))
    return [(int(i[k]), int(j[k])) for k in rng.permutation(may)[:each]]


def _pairs(series: PointSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the two dates of every pair of valid ones, and how many days lie between."""
    where = np.flatnonzero(series.valid)
    i, j = (where[k] for k in np.triu_indices(len(where), 1))
    return i, j, series.day[j] - series.day[i]


def _half(series: PointSeries, target: int, half: int) -> tuple[PointSeries, int]:
    """Every second valid date besides the target, which stays without values."""
    hidden, at = hide(series, target, 0)
    others = np.flatnonzero(hidden.valid)[half::2]
    which = np.sort(np.append(others, at))
    return hidden.keep(which), int(np.searchsorted(which, at))


def _length(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    return np.asarray(np.sqrt((rows**2).sum(-1)))
