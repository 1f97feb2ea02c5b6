"""Other models beside the one evaluated, on the same hidden targets: paired, of as few pixels as the slowest allows.

The published model costs 6.9e9 multiply-adds per pixel-date, so that a whole site is out of reach of a laptop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eomm.data.cube import Cube
from eomm.data.held_out import dates_unseen
from eomm.data.modality import check_contract
from eomm.errors import UsageError
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.scoring import ScoredSite
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.hidden.task import HiddenTask
from eomm.models.directory import Model
from eomm.models.predict import Predictor

PIXELS = 128  # two blocks; a minute and a half per gap for the published model on two cores
BLOCK_PX = 8
MAIN = "this model"


def score_beside(
    model: Model,
    beside: Mapping[str, Model],
    cube: Cube,
    task: HiddenTask,
    *,
    reference: str,
    pixels: int = PIXELS,
    seed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Score models, and what learns nothing, on the same pixels of the same hidden targets.

    Args:
        model: the one evaluated, in the result as MAIN.
        beside: others by name, each with an encoder and a decoder of `reference`.
        cube: under the contracts of all of them.
        task: the targets.
        reference: modality that is hidden.
        pixels: of the site that are scored, in blocks of 8 x 8.
        seed: of the blocks and intervals.
        tick: called after every block.

    Returns:
        JSON types: `pixels_read`, `models` {name: facts}, `methods` and `hidden` {region: {gap: scores}} where
        `difference` is MAIN minus each other.

    Raises:
        UsageError: a model that cannot reconstruct `reference`, or the name MAIN.
        ContractError: cube and a model follow different contracts.
    """
    models = {MAIN: model, **beside}
    if MAIN in beside or set(beside) & set(SIMPLE):
        raise UsageError(f"models {', '.join(beside)}: {MAIN!r} and the names of baselines are taken")
    for name, one in beside.items():
        check_beside(name, one, cube, reference)
    sites = {n: ScoredSite(Predictor(m, reference), cube, task, BLOCK_PX, seed) for n, m in models.items()}
    corners = task.blocks(BLOCK_PX, pixels, seed=seed)
    tally = Tally(len(task.targets), len(sites[MAIN].modality.bands), seed=seed)
    for corner in corners:
        _score_block(sites, task, corner, tally)
        tick()
    methods = [*models, *SIMPLE]
    regions = ["all"] + (["unseen block"] if task.columns else [])
    days = [int(d) for d in task.day[task.targets]]
    return {
        "pixels_read": min(len(corners) * BLOCK_PX**2, task.height * task.width),
        "models": {n: _about(m, cube.site, days, reference) for n, m in models.items()},
        "methods": methods,
        "hidden": {r: {str(g): tally.summary(r, str(g), methods, against=MAIN) for g in task.gaps} for r in regions},
    }


def check_beside(name: str, model: Model, cube: Cube, reference: str) -> None:
    """Raise UsageError or ContractError where a model cannot predict the cube's hidden targets."""
    if reference not in model.decoders:
        raise UsageError(
            f"{name}: reconstructs {', '.join(model.decoders) or 'nothing'}, not {reference}; choose another model"
        )
    for n, modality in model.modalities.items():
        if n == reference or model.fusion:
            check_contract(cube[n].modality, modality, found_in=str(cube.path), expected_by=name)
            cube.site_wide(n, reference)


def _score_block(sites: Mapping[str, ScoredSite], task: HiddenTask, corner: tuple[int, int], tally: Tally) -> None:
    predicted: dict[int, dict[str, Any]] = {gap: {} for gap in task.gaps}
    series = None
    for name, site in sites.items():
        look, main = site.look(corner), "fused" if site.predictor.model.fusion else "encoder"
        series = look.series
        for gap in task.gaps:
            hidden = task.hidden(task.targets, gap)
            predicted[gap][name] = site.predictor.predict(look.seen, task.targets, hidden, look.others)[main]
    site = sites[MAIN]
    assert series is not None
    unit, regions = site.modality.error_unit[1], task.regions(*corner, BLOCK_PX)
    truth, valid = series.values[task.targets], series.valid[task.targets]
    for gap in task.gaps:
        every = predicted[gap] | site.baselines(series, task.hidden(task.targets, gap))
        scored = valid & np.isfinite(every["linear"]).all(-1)
        masks = {r: scored & m for r, m in regions.items()}
        tally.add(str(gap), truth / unit, {k: v / unit for k, v in every.items()}, masks)


def _about(model: Model, site: str, days: Sequence[int], reference: str) -> dict[str, Any]:
    encoder = model.encoders[reference]
    seen = {"split": model.info["split"]} if "split" in model.info else None
    return {
        "hash": model.hash,
        "code": type(encoder).__name__,
        "embedding": model.dim,
        "steps": model.info.get("steps"),
        "trained_on_simulated": model.info.get("simulated"),
        "dates_unseen": dates_unseen(seen, site, days, reference),
    }
