"""`evaluate gpp`: a table of tower-days to a result. Numbers come from tables.py, words from words.py."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from eomm.evaluation.gpp.figures import figures_of
from eomm.evaluation.gpp.models import Method, methods_for
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import YEARS_CHOSEN, Predictions, choose_folds, evaluate_gpp, shown_methods
from eomm.evaluation.gpp.words import conclude, tables
from eomm.evaluation.result import Result
from eomm.store.progress import progress_bar

More = Callable[[Table, GppPlan], Sequence[Method]]


def run(
    table: Table, plan: GppPlan, *, dataset: str = "", more: More = lambda table, plan: []
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
    asked, plan = plan.folds, replace(plan, folds=choose_folds(table, plan))
    if asked is None and plan.folds == "year":
        table = replace(table, lines=(*table.lines, YEARS_CHOSEN))
    methods = [*methods_for(table, plan), *more(table, plan)]
    first = plan.tested[0] if plan.tested else next(iter(table.features))
    main = plan.main or next(m.name for m in methods if list(m.features) == [first])
    with progress_bar("fits") as bar:
        numbers, predictions = evaluate_gpp(table, methods, replace(plan, main=main), progress=bar.counted)
    shown, simulated = shown_methods(numbers, main, numbers["baselines"]), table.simulated
    result = Result(
        kind="gpp",
        dataset=dataset,
        simulated=simulated,
        conclusions=conclude(numbers, simulated=simulated, has_embedding=bool(plan.tested)),
        tables=tables(numbers, shown, simulated=simulated),
        figures=figures_of(numbers, predictions, shown, simulated=simulated),
        numbers=numbers,
    )
    return result, predictions
