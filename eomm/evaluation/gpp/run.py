"""`evaluate gpp`: a table of tower-days to a result. Numbers come from tables.py, words from words.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eomm.errors import UsageError
from eomm.evaluation.gpp.figures import figures_of
from eomm.evaluation.gpp.models import Method, methods_for
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import (
    BUFFER_DAYS,
    YEARS_CHOSEN,
    Final,
    Predictions,
    choose_folds,
    evaluate_gpp,
    shown_methods,
)
from eomm.evaluation.gpp.words import conclude, tables
from eomm.evaluation.result import Result
from eomm.store.progress import progress_bar

MODELS = ("ridge", "boosting")


@dataclass(frozen=True, kw_only=True)
class GppPlan:
    """What is asked of fluxes.

    Attributes:
        tested: features that are under test: embeddings; all other methods are their baselines.
        checks: features that hold the truth: what they score is the most that anything can.
        main: the method compared with each other; None: the first model on the first of `tested`, or of all features.
        models: of MODELS.
        folds: of FOLDS; this and the next four as `evaluate_gpp`. None: by site, or by year where there is one group
            of sites, which is said.
        count: folds of sites.
        final: rows set aside.
        buffer_days: between training and test rows of a site.
        seed: of folds, intervals and models.
    """

    tested: Sequence[str] = ()
    checks: Sequence[str] = ()
    main: str | None = None
    models: Sequence[str] = ("ridge", "boosting")
    folds: str | None = None
    count: int | None = None
    final: Final | None = None
    buffer_days: float = BUFFER_DAYS
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.models) - set(MODELS)):
            raise UsageError(f"model {', '.join(unknown)}: expected of {', '.join(MODELS)}")


More = Callable[[Table, GppPlan], Sequence[Method]]


def run(
    table: Table, plan: GppPlan | None = None, *, dataset: str | None = None, more: More = lambda table, plan: []
) -> tuple[Result, Predictions]:
    """Evaluate a table.

    Args:
        table: what is scored.
        plan: how.
        dataset: what the fluxes are called, in headings.
        more: further methods of a table, such as `experiments/flux_transformer.py` has.

    Returns:
        The result, with every score among its numbers, and what every method said of every row.

    Raises:
        UsageError: names that are not there, or folds that the table cannot be divided into.
    """
    plan = plan or GppPlan()
    if plan.folds is None:
        plan = replace(plan, folds=choose_folds(table, plan.final))
        if plan.folds == "year":
            table = replace(table, lines=(*table.lines, YEARS_CHOSEN))
    known = plan.folds in ("year", "last-year") or bool(plan.final and plan.final.years)
    asked: dict[str, Any] = {"models": plan.models, "tested": plan.tested, "checks": plan.checks}
    methods = [*methods_for(table, site_known=known, **asked), *more(table, plan)]
    first = plan.tested[0] if plan.tested else next(iter(table.features))
    main = plan.main or next(m.name for m in methods if list(m.features) == [first])
    options = {name: getattr(plan, name) for name in ("folds", "count", "final", "buffer_days", "seed")}
    with progress_bar("fits") as bar:
        numbers, predictions = evaluate_gpp(table, methods, main=main, **options, progress=bar.counted)
    shown, simulated = shown_methods(numbers, main, numbers["baselines"]), table.simulated
    result = Result(
        kind="gpp",
        dataset=dataset or "",
        simulated=simulated,
        conclusions=conclude(numbers, simulated=simulated, has_embedding=bool(plan.tested)),
        tables=tables(numbers, shown, simulated=simulated),
        figures=figures_of(numbers, predictions, shown, simulated=simulated),
        numbers=numbers,
    )
    return result, predictions
