"""Other models beside the one evaluated, on the same hidden targets: paired, of as few pixels as the slowest allows.

The published model costs 6.9e9 multiply-adds per pixel-date, so that a whole site is out of reach of a laptop.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from eomm.data.cube import Cube
from eomm.data.held_out import dates_unseen
from eomm.data.modality import check_contract
from eomm.errors import UsageError
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.scorer import Scorer, Wanted
from eomm.evaluation.hidden.task import HiddenTask
from eomm.models.directory import Model
from eomm.models.predict import Predictor

PIXELS = 128  # two blocks; a minute and a half per gap for the published model on two cores
BLOCK_PX = 8
MAIN = "this model"


def score_beside(
    models: Mapping[str, Model],
    task: HiddenTask,
    wanted: Wanted,
    *,
    pixels: int = PIXELS,
    tick: Callable[[], object] = lambda: None,
) -> Mapping[str, Any]:
    """Score models, and what learns nothing, on the same pixels of the same hidden targets.

    Args:
        models: by name, the one evaluated first and called MAIN.
        task: the targets; its cube is under the contracts of all models.
        wanted: under which cases; without probes.
        pixels: of the site that are scored, in blocks of 8 x 8.
        tick: called after every block of every model.

    Returns:
        `pixels_read`, `models` {name: facts}, `methods` and `hidden` {region: {gap: Scores}} where `difference` is MAIN
        minus each other.
    """
    plan = dataclasses.replace(task.plan, block_px=BLOCK_PX, max_pixels=pixels)
    task = dataclasses.replace(task, plan=plan)
    methods = {}
    for name, model in models.items():
        asked = dataclasses.replace(wanted, inputs=(), simple=name == MAIN)
        scorer = Scorer(Predictor(model, task.reference), task, asked)
        for corner in task.corners:
            scorer.score(corner)
            tick()
        methods[name] = (scorer.tally, "fused" if model.fusion else "encoder")
    tally = methods[MAIN][0]
    methods |= {name: (tally, name) for name in SIMPLE}
    return {
        "pixels_read": task.facts["pixels_read"],
        "models": {n: _about(m, task) for n, m in models.items()},
        "methods": list(methods),
        "hidden": {
            r: {str(c.gap_days): tally.summary(r, c, methods, against=MAIN) for c in wanted.cases} for r in task.names
        },
    }


def check_beside(models: Mapping[str, Model], cube: Cube, reference: str) -> None:
    """Raise UsageError or ContractError where a model cannot predict the hidden targets, or its name is taken."""
    if {MAIN, *SIMPLE} & set(models):
        raise UsageError(f"models {', '.join(models)}: {MAIN!r} and the names of baselines are taken")
    for name, model in models.items():
        if reference not in model.decoders:
            raise UsageError(
                f"{name}: reconstructs {', '.join(model.decoders) or 'nothing'}, not {reference}; choose another model"
            )
        check_contracts(name, model, cube, reference)


def check_contracts(name: str, model: Model, cube: Cube, reference: str) -> None:
    """Raise ContractError where a cube does not hold what a model reads to predict `reference`."""
    for n, modality in model.modalities.items():
        if n == reference or model.fusion:
            check_contract(cube[n].modality, modality, found_in=str(cube.path), expected_by=name)
            cube.site_wide(n, reference)


def _about(model: Model, task: HiddenTask) -> Mapping[str, Any]:
    seen = {"split": model.info["split"]} if "split" in model.info else None
    return {
        "hash": model.hash,
        "code": type(model.encoders[task.reference]).__name__,
        "embedding": model.dim,
        "steps": model.info.get("steps"),
        "trained_on_simulated": model.info.get("simulated"),
        "dates_unseen": dates_unseen(seen, task.cube.site, task.days, task.reference),
    }
