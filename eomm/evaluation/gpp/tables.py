"""`evaluate gpp`: every method on the same tower-days, by folds that share no site, no year, or neither.

Rows set aside by `Final` are predicted once, at the end, by models fitted on all others; no choice looks at them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from eomm.errors import UsageError
from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.folds import Fold, check_no_leak, cross_folds, days_apart, group_folds, last_year_fold
from eomm.evaluation.gpp.flux_files import UNIT
from eomm.evaluation.gpp.models import KIND_CLIMATOLOGY, SITE_CLIMATOLOGY, Method
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.scores import Targets, by_label, differences, make_targets, score, split_variance

FOLDS = {
    "site": "whole sites (with their neighbours) left out",
    "year": "whole years left out, sites known",
    "both": "sites and years left out at once",
    "last-year": "the last year of each site, models fitted on all sites' years before their last",
}
YEARS_CHOSEN = (
    "Folds are by year (--folds year), since all rows are of one group of sites: no other is there to test on, so that "
    "nothing is said of unseen sites"
)
BUFFER_DAYS = 90.0  # between training and test rows of one site: a window's length


@dataclass(frozen=True, kw_only=True)
class Final:
    """What no choice may use: all rows of these sites (and of their groups), and of these years."""

    sites: Sequence[str] = ()
    years: Sequence[int] = ()

    def rows(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Which rows belong to an unseen site, and which to an unseen year. Raises UsageError for one without rows."""
        if lost := sorted(set(self.sites) - set(table.site)):
            raise UsageError(f"test site {', '.join(lost)} has no rows; there are {', '.join(np.unique(table.site))}")
        if lost_years := sorted(set(self.years) - set(table.year.tolist())):
            raise UsageError(f"test year {lost_years} has no rows; there are {sorted(set(table.year.tolist()))}")
        groups = np.unique(table.group[np.isin(table.site, list(self.sites))])
        return np.isin(table.group, groups), np.isin(table.year, list(self.years))


@dataclass(frozen=True)
class Predictions:
    """What every method predicted, NaN where a row was not tested.

    Attributes:
        targets: measured, and the views that are scored.
        methods: by name, [row], in the folds.
        final: the same of rows set aside.
    """

    targets: Targets
    methods: Mapping[str, Float[np.ndarray, " n"]]
    final: Mapping[str, Float[np.ndarray, " n"]]

    def every(self, name: str) -> Float[np.ndarray, " n"]:
        """Of a method, in the folds and set aside."""
        return np.where(np.isfinite(self.methods[name]), self.methods[name], self.final[name])


def evaluate_gpp(
    table: Table,
    methods: Sequence[Method],
    *,
    main: str,
    folds: str = "site",
    count: int | None = None,
    final: Final | None = None,
    buffer_days: float = BUFFER_DAYS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Mapping[str, Any], Predictions]:
    """Score every method, each beside the others on the same rows.

    Args:
        table: rows; those without a target are seen by windows alone.
        methods: to score; the table has their features.
        main: the method that is compared with each of the others.
        folds: one of FOLDS.
        count: folds of sites; None for one per group of sites.
        final: rows set aside.
        buffer_days: training rows of a tested site nearer in time than this are left out.
        seed: of folds and intervals.
        progress: called with (done, total) fits.

    Returns:
        The numbers of a result (scores of each method, differences to `main`, by site and plant type, variance), and
        the predictions behind it.

    Raises:
        UsageError: too few groups, years or rows for such folds; `main` is no method.
        ContractError: folds leak, which would be a defect here.
    """
    if main not in (names := [m.name for m in methods]):
        raise UsageError(f"main method {main!r}: expected one of {', '.join(names)}")
    baselines = [m.name for m in methods if m.baseline]
    unseen = (final or Final()).rows(table)
    develop = table.scored & ~unseen[0] & ~unseen[1]
    parts = make_folds(table, np.flatnonzero(develop), folds, count=count, buffer_days=buffer_days, seed=seed)
    last = _final_fold(table, develop, unseen, buffer_days) if final else None
    done, total = 0, len(methods) * (len(parts) + bool(last))
    predicted = {m.name: np.full(len(table), math.nan) for m in methods}
    held = {m.name: np.full(len(table), math.nan) for m in methods}
    for method in methods:
        for part, into in [*((p, predicted) for p in parts), *([(last, held)] if last else [])]:
            into[method.name][part.test] = method.model(table, part)
            done += 1
            if progress:
                progress(done, total)
    targets = make_targets(table.site, table.day, np.where(table.scored, table.gpp, np.nan), table.scored)
    result: dict[str, Any] = {
        "unit": UNIT,
        "main": main,
        "folds": {"kind": folds, "about": FOLDS[folds], "count": len(parts), "buffer_days": buffer_days},
        "sources": list(table.lines),
        "baselines": baselines,
        **_score(table, targets, predicted, main, baselines, seed),
    }
    if last:
        result["final"] = {
            name: {"fitted_rows": len(last.train), **_score(table, targets, _only(held, rows), main, baselines, seed)}
            for name, rows in _cells(table, unseen).items()
            if rows.any()
        }
    return result, Predictions(targets, predicted, held)


def choose_folds(table: Table, final: Final | None = None) -> str:
    """Of FOLDS, where nobody says which: by site; of one group of sites, which cannot be divided, by year."""
    unseen = (final or Final()).rows(table)
    groups = np.unique(table.group[table.scored & ~unseen[0] & ~unseen[1]])
    return "year" if len(groups) == 1 else "site"


def make_folds(
    table: Table, rows: np.ndarray, kind: str, *, count: int | None, buffer_days: float, seed: int
) -> list[Fold]:
    """Folds of some rows of a table, checked for leaks; row numbers are the table's. Raises UsageError."""
    if kind not in FOLDS:
        raise UsageError(f"folds {kind!r}: expected one of {', '.join(FOLDS)}")
    part = table.take(rows)
    _check_divisible(part, kind)
    near = days_apart(part.day, buffer_days, part.site)
    apart: dict[str, Shaped[np.ndarray, " n"]]
    if kind == "site":
        folds, apart = group_folds(part.group, count=count, seed=seed), {"site": part.site, "group": part.group}
    elif kind == "year":
        folds, apart = group_folds(part.year, buffer=near), {"year": part.year}
    elif kind == "both":
        folds = cross_folds(part.group, part.year, count=count, seed=seed)
        apart = {"site": part.site, "group": part.group, "year": part.year}
    else:
        folds = [last_year_fold(part.site, part.year, buffer=near)]
        apart = {"year of a site": np.char.add(np.char.add(part.site, " "), part.year.astype(str))}
    for fold in folds:
        check_no_leak(fold, groups=apart, buffer=near)
    return [Fold(name=f.name, train=rows[f.train], test=rows[f.test]) for f in folds]


def _check_divisible(part: Table, kind: str) -> None:
    """Raise UsageError where there is one group of sites, or one year, to be left out; names the other folds."""
    labels = {"site": ("group of sites", np.unique(part.group)), "year": ("year", np.unique(part.year))}
    if kind not in labels or len(labels[kind][1]) > 1:
        return
    (what, names), (other, (_, others)) = labels.pop(kind), labels.popitem()
    instead = f"leave out a whole {other} at a time (--folds {other})" if len(others) > 1 else "more sites or years"
    raise UsageError(f"one {what} ({names[0]}) cannot be divided into folds; give more of them, or {instead}")


def _final_fold(table: Table, develop: np.ndarray, unseen: tuple[np.ndarray, np.ndarray], buffer_days: float) -> Fold:
    train, test = np.flatnonzero(develop), np.flatnonzero(table.scored & (unseen[0] | unseen[1]))
    near = days_apart(table.day, buffer_days, table.site)
    train = train[~near.near(train, test)]
    if not len(train):
        raise UsageError("the final test leaves no rows to fit on; set fewer sites and years aside")
    fold = Fold(name="final test", train=train, test=test)
    groups = np.where(unseen[0], table.group, "")  # an unseen site must not be trained on; known ones may, other years
    years = np.where(unseen[1], table.year, 0)
    for label, mine in ((groups, unseen[0]), (years, unseen[1])):
        check_no_leak(Fold(name=fold.name, train=train, test=test[mine[test]]), groups={"set aside": label})
    return check_no_leak(fold, buffer=near)


def _cells(table: Table, unseen: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    site, year = unseen
    return {
        "unseen sites": table.scored & site & ~year,
        "unseen years": table.scored & ~site & year,
        "unseen sites and years": table.scored & site & year,
    }


def _only(predicted: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.where(rows, p, np.nan) for name, p in predicted.items()}


def shown_methods(part: Mapping[str, Any], main: str, baselines: Sequence[str]) -> list[str]:
    """The methods that figures and tables by site show: the main one, the best other baseline, climatologies."""
    others = [n for n in baselines if n in part["methods"] and n != main]
    best = sorted(others, key=lambda n: part["methods"][n]["all"]["rmse"].value)[:1]
    seasons = [n for n in (SITE_CLIMATOLOGY, KIND_CLIMATOLOGY) if n in others]
    return list(dict.fromkeys([main, *best, *seasons]))


def _score(
    table: Table, targets: Targets, predicted: Mapping[str, np.ndarray], main: str, baselines: Sequence[str], seed: int
) -> dict[str, Any]:
    """Everything about one set of tested rows; intervals draw groups of sites."""
    draws = Resampling(table.group, seed=seed)
    tested = np.isfinite(predicted[main])
    shown = {n: p for n, p in predicted.items() if np.isfinite(p).any()}
    part: dict[str, Any] = {
        "rows": int(tested.sum()),
        "sites": len(np.unique(table.site[tested])),
        "groups": len(np.unique(table.group[tested])),
        "years": [int(y) for y in np.unique(table.year[tested])],
        "methods": {n: score(targets, p, draws) for n, p in shown.items()},
        "difference": differences(targets, predicted[main], {n: p for n, p in shown.items() if n != main}, draws),
        "variance": {n: split_variance(targets, p) for n, p in shown.items()},
    }
    if main in shown:
        month = table.day // 30
        names = shown_methods(part, main, baselines)
        part["by_kind"] = {n: by_label(targets, shown[n], table.kind, table.group) for n in names}
        part["by_site"] = {n: by_label(targets, shown[n], table.site, month) for n in names}
    return part
