"""Hidden targets: whole acquisitions that no method has seen, predicted from the rest of the series.

Reconstructing what is visible is compression, and stands beside PCA under that name only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from eomm.data.cube import Cube, open_cube
from eomm.errors import DataError, UsageError
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.beside import BLOCK_PX, MAIN, PIXELS, check_beside, check_contracts, score_beside
from eomm.evaluation.hidden.examples import choose_pixels
from eomm.evaluation.hidden.figures import figures_of
from eomm.evaluation.hidden.methods import METHODS
from eomm.evaluation.hidden.reconstruction_words import conclude, judge, least, plainly, protocol, tables
from eomm.evaluation.hidden.ridges import INPUTS, PROBED
from eomm.evaluation.hidden.scorer import VISIBLE, Case, Scorer, Wanted
from eomm.evaluation.hidden.tally import Scores
from eomm.evaluation.hidden.task import Plan, make_task, with_records
from eomm.evaluation.result import Result
from eomm.models.directory import Model, load_model, reference_of
from eomm.models.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class HiddenPlan(Plan):
    """What is hidden (`task.Plan`), and what is scored.

    Attributes:
        length: of the embedding, of which only so many leading numbers are used; all when None.
        probes: also fit and score linear probes of the trained and of a random encoder (`ridges`).
        classes: further scores of the pixels in each of these masks of the site, by name.
        beside: other models by name, scored on the same targets in `beside_pixels` pixels (`beside.score_beside`).
        beside_pixels: of the site, in blocks of 8 x 8.
    """

    length: int | None = None
    probes: bool = True
    classes: Mapping[str, Bool[np.ndarray, "y x"]] = field(default_factory=dict)
    beside: Mapping[str, Model] = field(default_factory=dict)
    beside_pixels: int = PIXELS


def evaluate(
    model: Model, cube: Cube, *, manifest: Mapping[str, Any] | None = None, progress: bool = False, **options: Any
) -> Result:
    """Score a model and its baselines on the same hidden targets of a cube.

    All test dates are hidden from every method, always, and with them everything within +-gap days of the current
    target. Other modalities are not hidden. A target pixel counts where it is valid and has at least one visible
    observation. Memory is bounded by a block, not by the cube.

    Args:
        model: with an encoder and a decoder of the reference.
        cube: an opened cube under the model's contracts.
        manifest: of the records trained on, to tell whether the dates were unseen.
        progress: show a bar on standard error.
        options: of `HiddenPlan`.

    Returns:
        Its numbers are `hidden` {region: {gap: Scores}}, `visible` {region: Scores} and `examples`; `seasons` {region:
        {gap: {season: Scores}}}, `classes` {name: {gap: Scores}} and `beside`, None where not asked. Errors are
        absolute, in the modality's `error_unit`; a value is the mean over dates of the mean over pixels and bands.

    Raises:
        UsageError: dates or columns that the cube does not have, a length that the model has not, classes of another
            size than the site, or a model beside it that cannot predict the same.
        ContractError: cube and model follow different contracts, or modalities lie on grids that do not meet.
        DataError: no target pixel can be scored.
    """
    plan = HiddenPlan(**options)
    reference = reference_of(model, plan.reference)
    check_contracts("the model", model, cube, reference)
    check_beside(plan.beside, cube, reference)
    check_classes(plan.classes, cube, reference)
    task = make_task(plan, cube, reference, manifest=manifest)
    cases = tuple(Case(gap_days=g) for g in task.gaps)
    wanted = Wanted(cases=cases, inputs=PROBED if plan.probes else (), seed=plan.seed)
    scorer = Scorer(Predictor(model, reference, length=plan.length), task, wanted)
    points = choose_pixels(task)
    with tqdm(total=task.work, desc="evaluate", unit="block", disable=not progress) as bar:
        classes = {f"class {k}": m for k, m in plan.classes.items()}
        scorer.run(points=points, classes=classes, tick=lambda: bar.update(1))
    beside = None
    if plan.beside:
        models = {MAIN: model, **plan.beside}
        work = len(models) * max(1, plan.beside_pixels // BLOCK_PX**2)
        with tqdm(total=work, desc="beside", unit="block", disable=not progress) as bar:
            beside = score_beside(models, task, wanted, pixels=plan.beside_pixels, tick=lambda: bar.update(1))
    found = {**task.facts, **_scores(scorer, list(plan.classes)), "beside": beside, "examples": points}
    return _result(scorer, found, unseen=task.unseen)


def evaluate_records(
    model: Model | Path | str, cube: Cube | Path | str, records: Path | str, *, progress: bool = False, **options: Any
) -> Result:
    """`evaluate` on what a record set kept from training at the cube's site (`task.with_records`).

    Raises:
        UsageError: the site was trained on and no day was held out; or nothing is clear; and as `evaluate`.
    """
    model = model if isinstance(model, Model) else load_model(model)
    cube = cube if isinstance(cube, Cube) else open_cube(cube)
    options = with_records(cube, reference_of(model, options.get("reference")), records, options)
    return evaluate(model, cube, progress=progress, **options)


def check_classes(classes: Mapping[str, Bool[np.ndarray, "y x"]], cube: Cube, reference: str) -> None:
    """Raise UsageError where a mask is not of the site's size."""
    grid = cube[reference].grid
    for name, mask in classes.items():
        if mask.shape != (grid.height, grid.width):
            raise UsageError(
                f"class {name}: its mask has {mask.shape} pixels, {cube.path} has {grid.height} x {grid.width}; bring "
                "the labels onto the cube's grid"
            )


def _scores(scorer: Scorer, classes: Sequence[str]) -> dict[str, Any]:
    """What was scored, and the scores of every region, gap, season and class. Raises DataError where nothing was."""
    task, predictor, tally, modality = scorer.task, scorer.predictor, scorer.tally, scorer.modality
    main = "fused" if predictor.model.fusion else "encoder"
    methods = [*predictor.methods, *SIMPLE, *(INPUTS if scorer.wanted.inputs else ())]
    cases = {str(c.gap_days): c for c in scorer.wanted.cases}
    own = {m: (tally, m) for m in methods}

    def scores(region: str) -> dict[str, Scores]:
        return {g: tally.summary(region, c, own, against=main) for g, c in cases.items()}

    def seasons(region: str) -> dict[str, dict[str, Scores]]:
        return {g: tally.by_season(region, c, own, task.days, against=main) for g, c in cases.items()}

    hidden = {r: scores(r) for r in task.names}
    if not any(s.pixels for s in hidden["all"].values()):
        raise DataError(f"{scorer.cube.path}: no pixel of the test dates is valid and seen at another date")
    both = {m: (tally, m) for m in ("encoder", "pca")}
    return {
        "contract": modality.contract_hash,
        "bands": list(modality.band_names),
        "model": predictor.model.hash,
        "main": main,
        "methods": {m: METHODS[m] for m in methods},
        "gaps": list(task.gaps),
        "pixels_of_site": task.shape[0] * task.shape[1],
        "components": {"pca": len(scorer.pca.components) if scorer.pca else 0, "embedding": predictor.length},
        "hidden": hidden,
        "seasons": {r: seasons(r) for r in task.names},
        "classes": {k: scores(f"class {k}") for k in classes},
        "visible": {r: tally.summary(r, VISIBLE, both, against="encoder") for r in task.names},
    }


def _result(scorer: Scorer, numbers: dict[str, Any], *, unseen: bool | None) -> Result:
    main, tally = numbers["main"], scorer.tally

    def over_gaps(method: str) -> np.ndarray:
        return np.mean([tally.per_date("all", c, method) for c in scorer.wanted.cases], axis=0)

    best = least({m: tally.estimate(over_gaps(m)).value for m in SIMPLE})
    verdict = judge(tally, over_gaps, probed=bool(scorer.wanted.inputs), unseen=unseen)
    rows = {g: s.methods for g, s in numbers["hidden"]["all"].items() if s.methods}
    numbers |= {
        "best_interpolation": best,
        "difference_to_best_interpolation": tally.difference(over_gaps(main), over_gaps(best)),
        "summary": {
            "hidden_mae": {g: {n: m[n].value for n in (main, "linear", best)} for g, m in rows.items()},
            "counts": verdict.holds,
        },
    }
    return Result(
        kind="reconstruction",
        dataset=scorer.cube.site,
        simulated=scorer.cube.simulated,
        headline=plainly(numbers, verdict),
        conclusions=conclude(numbers),
        verdicts=(verdict,),
        tables=tables(numbers),
        figures=figures_of(numbers, scorer.cube[numbers["modality"]]),
        protocol=protocol(numbers),
        numbers=numbers,
    )
