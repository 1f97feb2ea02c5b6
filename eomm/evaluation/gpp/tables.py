"""`evaluate gpp`: every method on the same tower-days, by folds that share no site, no year, or neither.

Rows set aside by `Final` are predicted once, at the end, by models fitted on all others; no choice looks at them.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from eomm.data.grid import to_date
from eomm.errors import UsageError
from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.folds import Fold, check_no_leak, cross_folds, days_apart, group_folds, last_year_fold
from eomm.evaluation.gpp.flux_files import UNIT
from eomm.evaluation.gpp.models import KIND_CLIMATOLOGY, SITE_CLIMATOLOGY, Method
from eomm.evaluation.gpp.plan import FOLDS, GppPlan
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.scores import Targets, by_label, differences, make_targets, score, split_variance

YEARS_CHOSEN = (
    "Folds are by year (--folds year), since all rows are of one group of sites: no other is there to test on, so that "
    "nothing is said of unseen sites"
)


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

    def frame(self, table: Table) -> pd.DataFrame:
        """A row for each tested tower-day of the table.

        Columns are `site`, `date`, `group`, `kind`, `tested` ("folds", or "final" for rows set aside), `measured` (g C
        m-2 d-1), and each method by its name: what it said while the row was held out, empty where it could not.
        """
        every = {name: self.every(name) for name in self.methods}
        final = np.any([np.isfinite(p) for p in self.final.values()], axis=0)
        rows = np.flatnonzero(np.any([np.isfinite(p) for p in every.values()], axis=0))
        known = {
            "site": table.site[rows],
            "date": [to_date(d) for d in table.day[rows].tolist()],
            "group": table.group[rows],
            "kind": table.kind[rows],
            "tested": np.where(final[rows], "final", "folds"),
            "measured": table.gpp[rows],
        }
        return pd.DataFrame({**known, **{name: p[rows] for name, p in every.items()}})


def evaluate_gpp(
    table: Table,
    methods: Sequence[Method],
    plan: GppPlan,
    *,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Mapping[str, Any], Predictions]:
    """Score every method, each beside the others on the same rows.

    Args:
        table: rows; those without a target are seen by windows alone.
        methods: to score; the table has their features.
        plan: the main method, folds, and rows set aside; by site where it says no folds.
        progress: called with (done, total) fits.

    Returns:
        The numbers of a result (scores of each method, differences to the main one, by site and plant type, variance),
        and the predictions behind it.

    Raises:
        UsageError: too few groups, years or rows for such folds; the main method is none.
        ContractError: folds leak, which would be a defect here.
    """
    if plan.main not in (names := [m.name for m in methods]):
        raise UsageError(f"main method {plan.main!r}: expected one of {', '.join(names)}")
    unseen, kind = plan.final.rows(table), plan.folds or "site"
    aside = unseen[0] | unseen[1]
    parts = make_folds(table, np.flatnonzero(table.scored & ~aside), plan)
    last = [_final_fold(table, unseen, plan.buffer_days)] if aside.any() else []
    said = {name: np.full((2, len(table)), math.nan) for name in names}  # in the folds, and of rows set aside
    fits = list(itertools.product(methods, [*((p, 0) for p in parts), *((p, 1) for p in last)]))
    for done, (method, (part, which)) in enumerate(fits, 1):
        said[method.name][which, part.test] = method.model(table, part)
        progress(done, len(fits))
    targets = make_targets(table)
    predictions = Predictions(targets, *({name: own[k] for name, own in said.items()} for k in (0, 1)))
    baselines = [m.name for m in methods if m.baseline]
    score_of = partial(_score, table, targets, baselines=baselines, plan=plan)
    result: dict[str, Any] = {
        "unit": UNIT,
        "main": plan.main,
        "folds": {"kind": kind, "about": FOLDS[kind], "count": len(parts), "buffer_days": plan.buffer_days},
        "sources": list(table.lines),
        "baselines": baselines,
        **score_of(predictions.methods),
    }
    if last:
        result["final"] = {
            name: {"fitted_rows": len(last[0].train), **score_of(_only(predictions.final, rows))}
            for name, rows in _cells(table, unseen).items()
            if rows.any()
        }
    return result, predictions


def choose_folds(table: Table, plan: GppPlan) -> str:
    """The plan's, else by site; of one group of sites, which cannot be divided, by year."""
    if plan.folds:
        return plan.folds
    unseen = plan.final.rows(table)
    groups = np.unique(table.group[table.scored & ~unseen[0] & ~unseen[1]])
    return "year" if len(groups) == 1 else "site"


def make_folds(table: Table, rows: np.ndarray, plan: GppPlan) -> list[Fold]:
    """Folds of some rows of a table, checked for leaks; row numbers are the table's. Raises UsageError."""
    part, kind = table.take(rows), plan.folds or "site"
    _check_divisible(part, kind)
    near = days_apart(part.day, plan.buffer_days, part.site)
    apart: dict[str, Shaped[np.ndarray, " n"]]
    if kind == "site":
        folds = group_folds(part.group, count=plan.count, seed=plan.seed)
        apart = {"site": part.site, "group": part.group}
    elif kind == "year":
        folds, apart = group_folds(part.year, buffer=near), {"year": part.year}
    elif kind == "both":
        folds = cross_folds(part.group, part.year, count=plan.count, seed=plan.seed)
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


def _final_fold(table: Table, unseen: tuple[np.ndarray, np.ndarray], buffer_days: float) -> Fold:
    aside = unseen[0] | unseen[1]
    train, test = np.flatnonzero(table.scored & ~aside), np.flatnonzero(table.scored & aside)
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
    table: Table,
    targets: Targets,
    predicted: Mapping[str, np.ndarray],
    *,
    baselines: Sequence[str],
    plan: GppPlan,
) -> dict[str, Any]:
    """Everything about one set of tested rows; intervals draw groups of sites."""
    main = str(plan.main)
    draws, tested = Resampling(table.group, seed=plan.seed), np.isfinite(predicted[main])
    shown = {n: p for n, p in predicted.items() if np.isfinite(p).any()}
    others = {n: p for n, p in shown.items() if n != main}
    part: dict[str, Any] = {
        "rows": int(tested.sum()),
        "sites": len(np.unique(table.site[tested])),
        "groups": len(np.unique(table.group[tested])),
        "years": np.unique(table.year[tested]).tolist(),
        "methods": {n: score(targets, p, draws) for n, p in shown.items()},
        "difference": differences(targets, predicted[main], others, draws),
        "variance": {n: split_variance(targets, p) for n, p in shown.items()},
    }
    if main in shown:
        names = shown_methods(part, main, baselines)
        for key, label, unit in (("by_kind", table.kind, table.group), ("by_site", table.site, table.day // 30)):
            part[key] = {n: by_label(targets, shown[n], label, unit) for n in names}
    return part
