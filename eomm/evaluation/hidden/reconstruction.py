"""Hidden targets: whole acquisitions that no method has seen, predicted from the rest of the series.

Reconstructing what is visible is compression, and stands beside PCA under that name only.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from eomm.data.cube import Cube, open_cube
from eomm.data.grid import to_date
from eomm.data.held_out import dates_unseen, days_to_hide, held_out
from eomm.data.modality import check_contract
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.beside import BLOCK_PX, PIXELS, check_beside, score_beside
from eomm.evaluation.hidden.examples import Example, choose_pixels
from eomm.evaluation.hidden.methods import METHODS
from eomm.evaluation.hidden.reconstruction_words import with_words
from eomm.evaluation.hidden.ridges import INPUTS
from eomm.evaluation.hidden.scoring import Fitted, ScoredSite
from eomm.evaluation.hidden.tally import Tally, by_season
from eomm.evaluation.hidden.task import make_task
from eomm.evaluation.hidden.verdict import judge
from eomm.models.directory import Model, load_model, reference_of
from eomm.models.predict import Predictor

GAPS = (0, 10, 30, 45, 60)


def evaluate(
    model: Model,
    cube: Cube,
    *,
    dates: Sequence[int | str | date] | None = None,
    gaps: Sequence[int] = GAPS,
    columns: tuple[int, int] | None = None,
    reference: str | None = None,
    manifest: Mapping[str, Any] | None = None,
    length: int | None = None,
    probes: bool = True,
    classes: Mapping[str, Bool[np.ndarray, "y x"]] | None = None,
    beside: Mapping[str, Model] | None = None,
    beside_pixels: int = PIXELS,
    block_px: int = 32,
    max_pixels: int = 16_384,
    fit_dates: int = 24,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a model and its baselines on the same hidden targets of a cube.

    All test dates are hidden from every method, always, and with them everything within +-gap days of the current
    target. Other modalities are not hidden. A target pixel counts where it is valid and has at least one visible
    observation. Memory is bounded by a block, not by the cube.

    Args:
        model: with an encoder and a decoder of `reference`.
        cube: an opened cube under the model's contracts.
        dates: test dates that training has not seen; those that `manifest` holds out when None.
        gaps: days hidden on both sides of the target.
        columns: (start, stop) of the block that training has not seen; the manifest's test block when None.
        reference: modality that is hidden; "s2", or the model's only one.
        manifest: of the records trained on, to tell whether the dates were unseen.
        length: of the embedding, of which only so many leading numbers are used; all when None.
        probes: also fit and score linear probes of the trained and of a random encoder (`ridges`).
        classes: further scores of the pixels in each of these masks of the site, by name.
        beside: other models by name, scored on the same targets in `beside_pixels` pixels (`beside.score_beside`).
        beside_pixels: of the site, in blocks of 8 x 8.
        block_px: side of the blocks in which the cube is read.
        max_pixels: larger sites are sampled by blocks, drawn by `seed`.
        fit_dates: training dates that linear baselines are fitted on.
        seed: of samples, intervals and the random encoder.
        progress: show a bar on standard error.

    Returns:
        JSON types: protocol, `hidden` {region: {gap: scores}}, `visible` {region: scores}, `verdict`, `examples`;
        `seasons` {region: {gap: {season: scores}}}, `classes` {name: {gap: scores}} and `beside`, None where not asked.
        Errors are absolute, in the modality's `error_unit`; `mean` is over dates of the mean over pixels and bands.

    Raises:
        UsageError: dates or columns that the cube does not have, a length that the model has not, classes of another
            size than the site, or a model beside it that cannot predict the same.
        ContractError: cube and model follow different contracts, or modalities lie on grids that do not meet.
        DataError: no target pixel can be scored.
    """
    reference = reference_of(model, reference)
    for name, modality in model.modalities.items():
        if name == reference or model.fusion:
            check_contract(cube[name].modality, modality, found_in=str(cube.path), expected_by="the model")
            cube.site_wide(name, reference)
    group, beside, classes = cube[reference], beside or {}, classes or {}
    for name, one in beside.items():
        check_beside(name, one, cube, reference)
    for name, mask in classes.items():
        if mask.shape != (group.grid.height, group.grid.width):
            raise UsageError(
                f"class {name}: its mask has {mask.shape} pixels, {cube.path} has {group.grid.height} x "
                f"{group.grid.width}; bring the labels onto the cube's grid"
            )
    kept_days, kept_columns = held_out(manifest or {}, cube.site, reference)
    task = make_task(group, kept_days if dates is None else dates, gaps, columns or kept_columns)
    size = min(block_px, max(task.height, task.width))
    corners = task.blocks(size, max_pixels, seed=seed)
    site = ScoredSite(Predictor(model, reference, length=length), cube, task, size, seed)

    bar = tqdm(total=2 * len(corners), desc="evaluate", unit="block", disable=not progress)
    fitted = site.fit(corners, fit_dates=fit_dates, probes=probes, tick=lambda: bar.update(1))
    bar.update(len(corners) - bar.n)
    points = choose_pixels(group, task, corners, size)
    tally = Tally(len(task.targets), len(group.modality.bands), seed=seed)
    named = {f"class {k}": mask for k, mask in classes.items()}
    for corner in corners:
        site.score(corner, fitted, tally, points, named)
        bar.update(1)
    bar.close()
    result = _result(site, tally, fitted, points, len(corners) * size**2, manifest, list(named))
    if not beside:
        return with_words(result | {"beside": None})
    with tqdm(total=max(1, beside_pixels // BLOCK_PX**2), desc="beside", unit="block", disable=not progress) as bar:
        options: dict[str, Any] = {"reference": reference, "pixels": beside_pixels, "seed": seed}
        found = score_beside(model, beside, cube, task, **options, tick=lambda: bar.update(1))
    return with_words(result | {"beside": found})


def evaluate_records(
    model: Model | Path | str, cube: Cube | Path | str, records: Path | str, **options: Any
) -> dict[str, Any]:
    """`evaluate` on what a record set kept from training at the cube's site.

    Where the records hold no days out, a site that trained nothing is tested on every third of its clear dates.

    Raises:
        UsageError: the site was trained on and no day was held out; or nothing is clear; and as `evaluate`.
    """
    model = model if isinstance(model, Model) else load_model(model)
    cube = cube if isinstance(cube, Cube) else open_cube(cube)
    manifest = open_records(records).manifest
    if options.get("dates") is None:
        options["dates"] = days_to_hide(cube, reference_of(model, options.get("reference")), manifest, records)
    return evaluate(model, cube, manifest=manifest, **options)


def format_evaluation(result: Mapping[str, Any]) -> str:
    """The result as text for people."""
    head = f"{result['site']}, {result['modality']}: mean absolute error ({result['unit']}) of hidden targets"
    lines = [("SIMULATED. " if result["simulated"] else "") + head]
    for region, by_gap in result["hidden"].items():
        scored = [g for g in by_gap if by_gap[g]["methods"]]
        lines.append(f"{region}; days hidden on both sides: " + " ".join(f"{g:>8}" for g in scored))
        lines += _rows({m: [by_gap[g]["methods"][m] for g in scored] for m in result["methods"]}, "mean")
        lines.append("  medians of pixel-dates")
        shown = [m for m in result["methods"] if m in (result["main"], *SIMPLE)]
        lines += _rows({m: [by_gap[g]["methods"][m] for g in scored] for m in shown}, "median")
    lines += _parts(result)
    if found := result["beside"]:
        for region, by_gap in found["hidden"].items():
            scored = [g for g in by_gap if by_gap[g]["methods"]]
            lines.append(f"beside other models, {region}, the same targets in {found['pixels_read']} pixels")
            lines += _rows({m: [by_gap[g]["methods"][m] for g in scored] for m in found["methods"]}, "mean")
    visible = result["visible"]["all"]["methods"]
    if visible:
        lines.append(
            f"compression (visible centre): encoder {visible['encoder']['mean']:.4f}, "
            f"PCA with {result['components']['pca']} components {visible['pca']['mean']:.4f}"
        )
    says = {True: "the score counts", False: "the score does not count", None: "unknown whether the score counts"}
    verdict = result["verdict"]
    lines.append(f"{says[verdict['counts']]}: {'; '.join(verdict['reasons'])}")
    return "\n".join(lines)


def _rows(estimates: Mapping[str, Sequence[Mapping[str, Any]]], which: str) -> list[str]:
    return [f"  {m:<14}" + " " * 18 + " ".join(f"{e[which]:8.4f}" for e in of) for m, of in estimates.items()]


def _parts(result: Mapping[str, Any]) -> list[str]:
    """Seasons and classes at the middle gap: the model beside the best of what learns nothing."""
    main, best = result["main"], result["verdict"]["best_interpolation"]
    gap = str(sorted(result["gaps"])[len(result["gaps"]) // 2])
    parts = {**result["seasons"]["all"][gap], **{f"class {c}": by[gap] for c, by in result["classes"].items()}}
    lines = [f"by season and class, {gap} days hidden on both sides: {main}, {best}"]
    for name, part in parts.items():
        if part["methods"]:
            both = (f"{part['methods'][m]['mean']:.4f}" for m in (main, best))
            lines.append(f"  {name:<14} {part['dates']:>3} dates" + " " * 8 + " ".join(f"{x:>8}" for x in both))
    return lines if len(lines) > 1 else []


def _result(
    site: ScoredSite,
    tally: Tally,
    fitted: Fitted,
    points: Sequence[Example],
    pixels: int,
    manifest: Mapping[str, Any] | None,
    classes: Sequence[str],
) -> dict[str, Any]:
    task, predictor = site.task, site.predictor
    methods = [*predictor.methods, *SIMPLE, *(INPUTS if fitted.ridges else ())]
    main = "fused" if predictor.model.fusion else "encoder"
    regions = ["all"] + (["unseen block"] if task.columns else [])
    days = [int(d) for d in task.day[task.targets]]
    hidden = {r: {str(g): tally.summary(r, str(g), methods, against=main) for g in task.gaps} for r in regions}
    if not any(s["pixels"] for s in hidden["all"].values()):
        raise DataError(f"{site.cube.path}: no pixel of the test dates is valid and seen at another date")
    unseen = dates_unseen(manifest, site.cube.site, days, predictor.reference)
    verdict = judge(tally, task.gaps, main, probed=bool(fitted.ridges), unseen=unseen)
    return {
        "eomm:kind": "evaluation of reconstruction",
        "site": site.cube.site,
        "simulated": bool(site.cube.provenance.get("simulated", False)),
        "modality": predictor.reference,
        "contract": site.modality.contract_hash,
        "unit": site.modality.error_unit[0],
        "bands": list(site.modality.band_names),
        "model": predictor.model.hash,
        "main": main,
        "methods": {m: METHODS[m] for m in methods},
        "days": days,
        "dates": [str(to_date(d)) for d in days],
        "dates_unseen": unseen,
        "gaps": list(task.gaps),
        "columns": list(task.columns) if task.columns else None,
        "pixels_read": min(pixels, task.height * task.width),
        "pixels_of_site": task.height * task.width,
        "components": {"pca": len(fitted.pca.components), "embedding": predictor.length},
        "hidden": hidden,
        "seasons": {
            r: {str(g): by_season(tally, r, str(g), methods, days, against=main) for g in task.gaps} for r in regions
        },
        "classes": {
            c.removeprefix("class "): {str(g): tally.summary(c, str(g), methods, against=main) for g in task.gaps}
            for c in classes
        },
        "visible": {r: tally.summary(r, "visible", ["encoder", "pca"], against="encoder") for r in regions},
        "summary": _summary(hidden, task.gaps, main, verdict),
        "verdict": verdict,
        "examples": [p.to_dict() for p in points],
    }


def _summary(hidden: Any, gaps: Sequence[int], main: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that a table of runs wants, each beside its best simple baseline."""
    best = verdict["best_interpolation"]
    rows = {str(g): hidden["all"][str(g)]["methods"] for g in gaps if hidden["all"][str(g)]["methods"]}
    hidden_mae = {
        g: {main: m[main]["mean"], "linear": m["linear"]["mean"], best: m[best]["mean"]} for g, m in rows.items()
    }
    return {"hidden_mae": hidden_mae, "counts": verdict["counts"]}
