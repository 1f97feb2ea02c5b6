"""Tasks with a label per date: whether an event lies just behind it, and what another sensor saw at that date."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from eomm.data.points import PointSeries
from eomm.errors import UsageError
from eomm.evaluation.quality.labelled import day_of_year, within
from eomm.evaluation.quality.probes import fold_numbers, left_out, logistic, ridge
from eomm.evaluation.quality.scores import Outcome, auc, skill
from eomm.evaluation.quality.series import groups_of
from eomm.evaluation.quality.vectors import Vectors

SINCE_DAYS = 12  # an event lies so many days back at most
UNSURE_DAYS = 3  # of an event's date
FIRST_DOY, LAST_DOY = 91, 290


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """Dates with a truth each.

    Attributes:
        series: with events.
        at: positions of the scored dates of each.
        truth: of all of them, one after the other.
        group: of all.
        number: of their series, of all.
    """

    series: Sequence[PointSeries]
    at: list[Int[np.ndarray, " _"]]
    truth: Bool[np.ndarray, " m"]
    group: Shaped[np.ndarray, " m"]
    number: Int[np.ndarray, " m"]


def events_of(series: Sequence[PointSeries], label: str, *, unsure: str) -> Events:
    """Valid dates from April to mid-October, and whether an event lies at most 12 days behind each.

    Args:
        series: those without an event are left out.
        label: the name of the list of days of events.
        unsure: "clear": an event dated on a clear acquisition may have been read off that image; dates that it could
            decide are left out. "near": dates within 3 days of any event are left out. "none": nothing is left out.

    Raises:
        UsageError: another word, or no date is left.
    """
    if unsure not in ("clear", "near", "none"):
        raise UsageError(f"unsure events {unsure!r}; expected clear, near or none")
    kept, places, truths = [], [], []
    for s in series:
        days = np.asarray(s.labels[label], np.int64)
        if not len(days):
            continue
        since = s.day[:, None].astype(np.int64) - days[None]
        doy = day_of_year(s.day)
        use = s.valid & (doy >= FIRST_DOY) & (doy <= LAST_DOY)
        if unsure == "clear":
            clear: set[int] = set(s.day[s.valid].tolist())
            doubtful = np.array([int(d) in clear for d in days])
            use &= ~((since >= -UNSURE_DAYS) & (since <= SINCE_DAYS + UNSURE_DAYS) & doubtful).any(1)
        elif unsure == "near":
            use &= ~(np.abs(since) <= UNSURE_DAYS).any(1)
        where = np.flatnonzero(use)
        kept.append(s)
        places.append(where)
        truths.append(np.any((since[where] >= 0) & (since[where] <= SINCE_DAYS), axis=1))
    if not kept or not sum(map(len, places)):
        raise UsageError(f"{label}: no date of {len(series)} series can be scored; give series with events")
    counts = [len(p) for p in places]
    return Events(
        series=kept,
        at=places,
        truth=np.concatenate(truths),
        group=np.repeat(groups_of(kept), counts),
        number=np.repeat(np.arange(len(kept)), counts),
    )


def just_happened(vectors: Vectors, events: Events, *, folds: int = 5) -> tuple[Outcome, Outcome]:
    """Order of dates by a linear probe, groups held out: among dates of a fold, and among dates of one series (AUC)."""
    made = vectors(events.series)
    x = np.concatenate([z[at] for z, at in zip(made, events.at, strict=True)]).astype(np.float64)
    y, fold = events.truth.astype(int), fold_numbers(events.group, folds)
    found = np.empty(len(y))
    for train, test in left_out(fold):
        found[test] = logistic(x[train], y[train], events.group[train])(x[test])[1]
    among = auc(events.group, fold, events.truth, found)
    return among, auc(events.group, events.number, events.truth, found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What another sensor saw of dates of series.

    Attributes:
        series: of pixels.
        at: one date each; a series may occur several times.
        values: [n, k] what was seen.
        group: what is resampled.
        fold: rows of one fold are predicted by a fit on the others.
        tested: which rows are scored.
        learned: which rows may be fitted on.
    """

    series: Sequence[PointSeries]
    at: Int[np.ndarray, " n"]
    values: Float[np.ndarray, "n k"]
    group: Shaped[np.ndarray, " n"]
    fold: Shaped[np.ndarray, " n"]
    tested: Bool[np.ndarray, " n"]
    learned: Bool[np.ndarray, " n"]

    def take(self, rows: Int[np.ndarray, " m"]) -> "Seen":
        """Some of the rows."""
        arrays = {n: getattr(self, n)[rows] for n in ("at", "values", "group", "fold", "tested", "learned")}
        return Seen(series=[self.series[i] for i in rows.tolist()], **arrays)


def only(
    seen: Seen,
    rows: Bool[np.ndarray, " n"],
    *,
    tested: Bool[np.ndarray, " n"],
    learned: Bool[np.ndarray, " n"],
    fold: Shaped[np.ndarray, " n"] | None = None,
) -> Seen:
    """Some rows, with other choices of what is scored, fitted on and held out together."""
    changed = replace(seen, tested=tested, learned=learned, fold=seen.fold if fold is None else fold)
    return changed.take(np.flatnonzero(rows))


def seen_by_another(vectors: Vectors, seen: Seen) -> Outcome:
    """1 - squared error of a ridge over squared deviation, columns in units of their deviation (R2)."""
    return _predicted(_rows(vectors, seen), seen.values, seen)


def anomalies_seen(
    vectors: Vectors, seen: Seen, *, cell: Shaped[np.ndarray, " n"], date: Shaped[np.ndarray, " n"]
) -> Outcome:
    """The same of anomalies of coarser cells: means over a cell's pixels, less the date's and less the cell's mean.

    Args:
        vectors: scored.
        seen: of pixels; a cell's pixels at one date have one group and fold.
        cell: of every row.
        date: of every row.
    """
    key = np.stack([np.unique(cell, return_inverse=True)[1], np.unique(date, return_inverse=True)[1]])
    pairs, first, index = np.unique(key, axis=1, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    x, y = (_without_means(_averaged(rows, index), pairs) for rows in (_rows(vectors, seen), seen.values))
    return _predicted(x, y, seen.take(first))


def _rows(vectors: Vectors, seen: Seen) -> Float[np.ndarray, "n d"]:
    distinct = list({id(s): s for s in seen.series}.values())
    made = {id(s): z for s, z in zip(distinct, vectors(distinct), strict=True)}
    return np.stack([made[id(s)][i] for s, i in zip(seen.series, seen.at, strict=True)]).astype(np.float64)


def _predicted(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n k"], seen: Seen) -> Outcome:
    error, spread = np.zeros(len(y)), np.zeros(len(y))
    for train, test in left_out(seen.fold):
        if not seen.tested[test].any():
            continue
        train = train[seen.learned[train]]
        mean, scale = y[train].mean(0), y[train].std(0) + 1e-9
        guess = ridge(x[train], (y[train] - mean) / scale)(x[test])
        truth = (y[test] - mean) / scale
        error[test], spread[test] = ((truth - guess) ** 2).sum(1), (truth**2).sum(1)
    return skill(seen.group[seen.tested], error[seen.tested], spread[seen.tested])


def _averaged(rows: Float[np.ndarray, "n d"], index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "m d"]:
    total = np.zeros((index.max() + 1, rows.shape[1]))
    np.add.at(total, index, rows)
    return total / np.bincount(index)[:, None]


def _without_means(rows: Float[np.ndarray, "m d"], pairs: Int[np.ndarray, "2 m"]) -> Float[np.ndarray, "m d"]:
    """Less the means of cells and of dates, by turns until nothing is left of either (cells may lack dates)."""
    for _ in range(20):
        rows = within(within(rows, pairs[0]), pairs[1])
    return rows
