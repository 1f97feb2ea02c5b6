"""`evaluate gpp` from files to a result on disk: read, evaluate, say, draw. The command line calls `run`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eomm.data.tables import write_frame
from eomm.errors import UsageError
from eomm.evaluation.gpp.figures import figure_files, save_figures
from eomm.evaluation.gpp.models import Method, methods_for
from eomm.evaluation.gpp.predictions import prediction_rows
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import (
    BUFFER_DAYS,
    YEARS_CHOSEN,
    Final,
    choose_folds,
    evaluate_gpp,
    shown_methods,
)
from eomm.evaluation.gpp.words import conclude, tables
from eomm.store.folders import check_free_file, write_json
from eomm.store.progress import progress_bar

MODELS = ("ridge", "boosting", "transformer", "published")


def run(
    table: Table,
    *,
    tested: Sequence[str] = (),
    checks: Sequence[str] = (),
    main: str | None = None,
    models: Sequence[str] = ("ridge", "boosting"),
    folds: str | None = None,
    count: int | None = None,
    final: Final | None = None,
    buffer_days: float = BUFFER_DAYS,
    seed: int = 0,
    commands: Sequence[str] = (),
    dataset: str | None = None,
    out: Path | None = None,
    predicted: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Evaluate a table and write the result.

    Args:
        table: what is scored.
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
        commands: that repeat the result.
        dataset: what the fluxes are called, in headings.
        out: JSON file; figures lie beside it as PNG. None: neither.
        predicted: CSV or Parquet for what every method said of every row (`predictions.py`). None: none.
        overwrite: replace them.

    Returns:
        What the JSON holds: "kind", "simulated", "conclusions", "tables", "figures", "commands", and every score.

    Raises:
        UsageError: a file to write exists, or names that are not there.
    """
    files = [*filter(None, (out, predicted)), *(figure_files(out).values() if out else ())]
    for file in files:
        check_free_file(file, overwrite=overwrite)
    if unknown := sorted(set(models) - set(MODELS)):
        raise UsageError(f"model {', '.join(unknown)}: expected of {', '.join(MODELS)}")
    if folds is None:
        folds = choose_folds(table, final)
        if folds == "year":
            table = replace(table, lines=(*table.lines, YEARS_CHOSEN))
    methods = _methods(table, tested, checks, models, folds, final, seed)
    first = tested[0] if tested else next(iter(table.features))
    main = main or next(m.name for m in methods if list(m.features) == [first])
    with progress_bar("fits") as bar:
        result, predictions = evaluate_gpp(
            table, methods, main=main, folds=folds, count=count, final=final, buffer_days=buffer_days, seed=seed,
            progress=bar.counted,
        )  # fmt: skip
    shown = shown_methods(result, main, result["baselines"])
    found = {
        "kind": "gpp",
        "simulated": table.simulated,
        "dataset": dataset,
        "conclusions": conclude(result, has_embedding=bool(tested)),
        "tables": tables(result, shown),
        "figures": save_figures(result, predictions, shown, out) if out else [],
        "commands": list(commands),
        **result,
    }
    if out:
        write_json(out, found)
    if predicted:
        write_frame(prediction_rows(table, predictions), predicted)
    return found


def _methods(
    table: Table,
    tested: Sequence[str],
    checks: Sequence[str],
    models: Sequence[str],
    folds: str,
    final: Final | None,
    seed: int,
) -> list[Method]:
    known = folds in ("year", "last-year") or bool(final and final.years)
    simple = [m for m in models if m in ("ridge", "boosting")]
    methods = methods_for(table, site_known=known, models=simple, tested=tested, checks=checks)
    if series := [m for m in models if m not in simple]:
        from eomm.evaluation.gpp.transformer import transformers_for

        methods += transformers_for(table, variants=series, tested=tested, checks=checks, seed=seed)
    return methods
