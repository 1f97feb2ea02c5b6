"""`eomm.fit`: embeddings with labels, or with fluxes of towers, to a head on disk. The command line calls it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from eomm.errors import UsageError
from eomm.evaluation.bootstrap import words
from eomm.evaluation.gpp.features import QUALITY
from eomm.evaluation.gpp.flux_files import TARGETS, read_flux
from eomm.evaluation.gpp.flux_sites import read_towers
from eomm.heads.fitting import LEVEL, check_form, fit_head
from eomm.heads.fluxes import flux_samples, flux_table
from eomm.heads.head import Head, save_head
from eomm.heads.labels import label_samples
from eomm.store.folders import check_free, entered

SIMULATED = "SIMULATED data: nothing here says how well it works outside the simulator."


def fit(
    embedding: Path | str | Sequence[Path | str],
    *,
    out: Path | str,
    form: str,
    labels: Path | str | Sequence[Path | str] = (),
    dates: Sequence[date] = (),
    target: str | None = None,
    column: str | None = None,
    regression: bool = False,
    unit: str | None = None,
    ignore: Sequence[str] = (),
    classes: Mapping[str, str] | None = None,
    min_pixels: int = 1,
    groups: str = "fields",
    block_px: int = 32,
    buffer_px: float = 9,
    fluxes: Path | str | Sequence[Path | str] = (),
    site_info: Sequence[Path | str] = (),
    extract: str = "window:3",
    quality: float = QUALITY,
    folds: str | None = None,
    length: int | None = None,
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
        dates: of labels: whose vectors to fit on; the date with most labelled pixels when empty.
        target: of labels: what they are called; of fluxes: the column, GPP_NT_VUT_REF when None.
        column: of labels: NetCDF variable, property or column.
        regression: labels are numbers.
        unit: of numbers; of fluxes None for what the file beside them says.
        ignore: labels that count as none.
        classes: names by label; others count as none.
        min_pixels: smaller fields are left out.
        groups: of labels, what is held out whole: fields, blocks or sites.
        block_px: side of blocks.
        buffer_px: labelled pixels nearer to a tested one than this are not fitted on.
        site_info: of fluxes: where towers stand.
        extract: of fluxes: which pixels (`eomm.evaluation.gpp.features.Inputs`).
        quality: of fluxes: least share of good half-hours.
        folds: of fluxes: site, year or both; None: site, or year where there is one group of sites.
        length: leading numbers of the vectors.
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
        check_form(form, has_classes=False)
        pattern = _only(embedding)
        series = [read_flux(p, target=target or TARGETS[0], unit=unit) for p in _paths(fluxes)]
        table = flux_table(pattern, series, read_towers(_paths(site_info)), extract=extract, quality=quality)
        stores = list(dict.fromkeys(Path(pattern.format(site=s)) for s in np.unique(table.site)))
        samples = flux_samples(table, stores, extract=extract, folds=folds, length=length, seed=seed)
        head = fit_head(samples, form, level=level, seed=seed, table=table, progress=progress)
    else:
        check_form(form, has_classes=not regression)
        samples = label_samples(
            _paths(embedding),
            _paths(labels),
            dates=dates,
            target=target,
            column=column,
            regression=regression,
            unit=unit or "",
            ignore=ignore,
            classes=classes,
            min_pixels=min_pixels,
            groups=groups,
            block_px=block_px,
            buffer_px=buffer_px,
            length=length,
            seed=seed,
        )
        head = fit_head(samples, form, level=level, seed=seed, progress=progress)
    save_head(head, out, overwrite=overwrite)
    return head


def _paths(given: Path | str | Sequence[Path | str]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(p) for p in given]


def _only(given: Path | str | Sequence[Path | str]) -> str:
    paths = _paths(given)
    if len(paths) != 1:
        raise UsageError(
            f"{len(paths)} embeddings for fluxes; expected one path, in which {{site}} stands for the tower"
        )
    return str(paths[0])


def report(head: Head) -> dict[str, Any]:
    """What a fit gave, as JSON types."""
    words = {"note": head.note, "worth": head.worth, "interval_in_words": head.interval_words}
    return {"head": head.hash, **head.describe(), "limit": head.seen.limit, **words}


def format_report(result: Mapping[str, Any]) -> str:
    """The same for people."""
    unit = f" in {result['unit']}" if result["unit"] else ""
    fitted = result["fitted"]
    lines = [SIMULATED] * result["contract"]["simulated"]
    lines += [f"{result['target']}{unit} by {result['form']}: {fitted['rows']} rows; held out: {fitted['held_out']}"]
    scores = result["scores"] if fitted["on"] == "fluxes" else {"": result["scores"]}
    for name, found in scores.items():
        told = ", ".join(f"{k.replace('_', ' ')} {words(v, few='')}" for k, v in found.items())
        lines.append(f"  {name}: {told}" if name else f"  {told}")
    if any(v["interval"] is None for found in scores.values() for v in found.values()):
        lines.append("  no interval stands beside these scores: too few groups were held out")
    lines.append(f"  {result['interval_in_words']}")
    lines.append(f"  no prediction where vectors are farther than {result['limit']:.2f} from those seen")
    return "\n".join([*lines, f"  {result['note']}", *([f"  {result['worth']}"] if result["worth"] else [])])
