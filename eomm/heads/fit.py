"""`eomm.fit`: embeddings with labels, or with fluxes of towers, to a head on disk. The command line calls it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eomm.errors import UsageError
from eomm.evaluation import say
from eomm.evaluation.gpp.flux_files import TARGETS, read_flux
from eomm.evaluation.gpp.flux_sites import read_towers
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.result import Estimate
from eomm.heads.fitting import LEVEL, check_form, fit_head
from eomm.heads.fluxes import flux_samples, flux_table
from eomm.heads.head import Head, save_head
from eomm.heads.labels import label_samples
from eomm.heads.options import FluxOptions, LabelOptions
from eomm.heads.samples import Samples
from eomm.store.fields import Json
from eomm.store.folders import check_free, entered

SIMULATED = "SIMULATED data: nothing here says how well it works outside the simulator."


def fit(
    embedding: Path | str | Sequence[Path | str],
    *,
    out: Path | str,
    form: str,
    labels: Path | str | Sequence[Path | str] = (),
    fluxes: Path | str | Sequence[Path | str] = (),
    options: LabelOptions | FluxOptions | None = None,
    level: float = LEVEL,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Head:
    """Fit a head on labels or fluxes, score it while whole groups are held out, and save it.

    Args:
        embedding: stores by one model: for labels one for each file, for fluxes one path in which `{site}` stands for
            the tower's name (one tower needs none).
        out: folder of the head.
        form: "ridge" for numbers, "logistic" for classes, "boosting" for either.
        labels: rasters, polygons or points, as `eomm evaluate probes` reads them; or
        fluxes: daily files of towers, as `eomm evaluate gpp` reads them.
        options: of the one or of the other.
        level: of the interval.
        seed: of folds and what is drawn.
        overwrite: replace an earlier head.
        progress: called with (done, total) fits.

    Returns:
        The head, as `eomm.predict` takes it.

    Raises:
        ContractError: stores of different models, or simulated beside real.
        DataError: a file is missing or damaged.
        UsageError: options that do not fit, too few groups, or `out` exists.
    """
    out = entered(out)
    check_free(out, overwrite=overwrite, kind="head")
    if bool(labels) == bool(fluxes):
        raise UsageError("give labels or fluxes, one of them: what else should be fitted?")
    if fluxes:
        chosen = options or FluxOptions()
        if not isinstance(chosen, FluxOptions):
            raise UsageError("fluxes are read by FluxOptions; these are of labels")
        check_form(form, has_classes=False)
        table, samples = _of_fluxes(_only(embedding), _paths(fluxes), chosen, seed)
        head = fit_head(samples, form, level=level, seed=seed, table=table, progress=progress)
    else:
        how = options or LabelOptions()
        if not isinstance(how, LabelOptions):
            raise UsageError("labels are read by LabelOptions; these are of fluxes")
        check_form(form, has_classes=not how.regression)
        samples = label_samples(_paths(embedding), _paths(labels), how, seed=seed)
        head = fit_head(samples, form, level=level, seed=seed, progress=progress)
    save_head(head, out, overwrite=overwrite)
    return head


def _of_fluxes(pattern: str, fluxes: Sequence[Path], options: FluxOptions, seed: int) -> tuple[Table, Samples]:
    series = [read_flux(p, target=options.target or TARGETS[0], unit=options.unit) for p in fluxes]
    table = flux_table(pattern, series, read_towers(_paths(options.site_info)), options)
    stores = list(dict.fromkeys(Path(pattern.format(site=s)) for s in np.unique(table.site)))
    return table, flux_samples(table, stores, options, seed=seed)


def _paths(given: Path | str | Sequence[Path | str]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(p) for p in given]


def _only(given: Path | str | Sequence[Path | str]) -> str:
    paths = _paths(given)
    if len(paths) != 1:
        raise UsageError(
            f"{len(paths)} embeddings for fluxes; expected one path, in which {{site}} stands for the tower"
        )
    return str(paths[0])


def report(head: Head) -> Json:
    """What a fit gave, as JSON types."""
    words = {"note": head.note, "worth": head.worth, "interval_in_words": head.interval_words}
    return {"head": head.hash, **head.describe(), "limit": head.seen.limit, **words}


def _figure(found: Mapping[str, Any]) -> str:
    return say.figure(Estimate.from_json(found), few="")


def format_report(result: Mapping[str, Any]) -> str:
    """The same for people."""
    unit = f" in {result['unit']}" if result["unit"] else ""
    fitted = result["fitted"]
    lines = [SIMULATED] * result["contract"]["simulated"]
    lines += [f"{result['target']}{unit} by {result['form']}: {fitted['rows']} rows; held out: {fitted['held_out']}"]
    scores = result["scores"] if fitted["on"] == "fluxes" else {"": result["scores"]}
    for name, found in scores.items():
        told = ", ".join(f"{k.replace('_', ' ')} {_figure(v)}" for k, v in found.items())
        lines.append(f"  {name}: {told}" if name else f"  {told}")
    if any(v["interval"] is None for found in scores.values() for v in found.values()):
        lines.append("  no interval stands beside these scores: too few groups were held out")
    lines.append(f"  {result['interval_in_words']}")
    lines.append(f"  no prediction where vectors are farther than {result['limit']:.2f} from those seen")
    return "\n".join([*lines, f"  {result['note']}", *([f"  {result['worth']}"] if result["worth"] else [])])
