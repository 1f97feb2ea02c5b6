"""`eomm bench local`: what can be said of vectors on a user's own cube without labels.

Hidden targets, repeatability and the response to steps; beside a model the closed forms, whose constants come from
other pixels of the cube. One site is one place: what is resampled is blocks of it, and no claim goes beyond it.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from eomm.data.cube import Cube, open_cube
from eomm.data.points import PointSeries
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.quality import closed, unlabelled
from eomm.evaluation.quality.learned import model_vectors
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.tasks import Task, Trial, score_all
from eomm.evaluation.quality.unlabelled import Step, step_between
from eomm.evaluation.quality.vectors import remembered
from eomm.evaluation.quality.verdicts import judge_hidden
from eomm.evaluation.quality.words import result
from eomm.evaluation.result import Result
from eomm.models.directory import load_model

BLOCK_PX = 8  # pixels of one block are one group
BLOCKS, PIXELS = 60, 6  # drawn of a cube, and of a block
FEWEST_DATES = 12

HIDDEN = unlabelled.hidden_tasks("hidden dates of other blocks", "block")
beside = partial(Task, group="block", primary=False, margin=None)
REPEAT = beside(
    name="repeatability", metric="distance of odd from even dates over that of dates 60 days apart", better="lower"
)
STEP = beside(name="the largest steps at once", metric="share of a lasting change seen at its first date")
TASKS = (*HIDDEN, REPEAT, STEP)


def bench_local(
    path: Path | str,
    model: Path | str | None = None,
    *,
    code: Sequence[str] = (),
    surroundings: str = "lone",
    seed: int = 0,
) -> Result:
    """Score closed forms, and a model if one is named, on one cube.

    Args:
        path: of a cube with Sentinel-2 reflectance in ten bands.
        model: a model directory.
        code: modules whose networks may be used.
        surroundings: of a lone pixel in the encoder's window, see `model_vectors`.
        seed: of the pixels drawn.

    Returns:
        As `eomm bench quality` gives it.

    Raises:
        DataError: the cube is none, or has too few clear dates.
        ContractError: no Sentinel-2 reflectance in ten bands.
    """
    cube = open_cube(path)
    series = series_of(cube, seed=seed)
    names = sorted({s.group for s in series})
    learn_groups = set(names[::2])
    learn, test = ([s for s in series if (s.group in learn_groups) == inside] for inside in (True, False))
    methods = [remembered(v) for v in closed.closed_forms(learn).values()]
    about: dict[str, object] = {"cube": str(path), "site": cube.site, "pixels": len(series), "blocks": len(names)}
    if model is not None:
        loaded = load_model(model, code=code)
        about["models"] = {"model": loaded.hash}
        methods.append(remembered(model_vectors(loaded, surroundings=surroundings)))
    with threadpool_limits(1):  # fits are small; threads would wait for each other
        outcomes = score_all(trials(learn, test), methods, TASKS)
    judged = "thirty numbers" if model is None else "model"
    simulated = cube.simulated
    verdicts = [judge_hidden(outcomes, TASKS, judged)]
    return result(TASKS, outcomes, verdicts, about, dataset=cube.site, simulated=simulated)


def trials(learn: Sequence[PointSeries], test: Sequence[PointSeries]) -> list[Trial]:
    """All tasks; probes are fitted on `learn`, everything is scored on `test`.

    Raises UsageError where no date of these series can be hidden, or no two are far apart.
    """
    learned, steps = unlabelled.teaching_targets(learn), largest_steps(test)
    return [
        unlabelled.hidden_trial(HIDDEN, test, lambda v, hidden: unlabelled.hidden_errors(v, learned, hidden)),
        Trial(tasks=(REPEAT,), outcomes=lambda v: [unlabelled.repeatability(v, test)]),
        Trial(tasks=(STEP,), outcomes=lambda v: [unlabelled.step_at_once(v, steps)]),
    ]


def largest_steps(series: Sequence[PointSeries]) -> list[Step]:
    """The largest change between means of four dates of each series, in raw bands; of these the largest quarter.

    Chosen by raw bands alone, so that no method chooses what it is judged by. Raises UsageError where there is none.
    """
    found: list[tuple[float, Step]] = []
    for s in series:
        own = [(_change(s, step), step) for k in range(len(s)) if (step := step_between(s, k)) is not None]
        if own:
            found.append(max(own, key=lambda pair: pair[0]))
    if not found:
        raise UsageError("no date has four clear ones within 60 days on each side; the series are too sparse for steps")
    found.sort(key=lambda pair: -pair[0])
    return [step for _, step in found[: max(1, len(found) // 4)]]


def series_of(cube: Cube, *, seed: int = 0) -> list[PointSeries]:
    """Pixels drawn from blocks of 8 x 8, their valid dates alone.

    Raises:
        ContractError: no Sentinel-2 reflectance in ten bands.
        DataError: no pixel has 12 valid dates.
    """
    group = cube["s2"]
    if group.modality.band_names != BANDS:
        raise ContractError(f"{cube.path}: s2 has {', '.join(group.modality.band_names)}; expected {', '.join(BANDS)}")
    rows, columns = -(-group.grid.height // BLOCK_PX), -(-group.grid.width // BLOCK_PX)
    rng, out = np.random.default_rng(seed), list[PointSeries]()
    for number in np.sort(rng.permutation(rows * columns)[:BLOCKS]):
        row, column = divmod(int(number), columns)
        y, x = (
            slice(k * BLOCK_PX, min((k + 1) * BLOCK_PX, n))
            for k, n in ((row, group.grid.height), (column, group.grid.width))
        )
        values, valid = group.read(np.flatnonzero(group.usable), y, x)
        flat = group.modality.decode(values).reshape(len(values), -1, len(BANDS))
        ok, day = valid.reshape(len(values), -1), group.day[group.usable]
        for pixel in rng.permutation(flat.shape[1])[:PIXELS]:
            out += _series(cube.site, f"block {row}, {column}", flat[:, pixel], ok[:, pixel], day)
    if not out:
        raise DataError(f"{cube.path}: no pixel has {FEWEST_DATES} valid dates; prepare a longer or clearer series")
    return out


def _series(
    site: str, group: str, values: Float[np.ndarray, "t c"], valid: np.ndarray, day: np.ndarray
) -> list[PointSeries]:
    days, first = np.unique(day[valid], return_index=True)  # of two passes on a day the first
    if len(days) < FEWEST_DATES:
        return []
    own, ok = values[np.flatnonzero(valid)[first]], np.ones(len(days), bool)
    return [PointSeries(id=site, group=group, values=own, day=days.astype(np.int32), valid=ok)]


def _change(series: PointSeries, step: Step) -> float:
    change = series.values[step.after].mean(0) - series.values[step.before].mean(0)
    return float(np.sqrt((change**2).sum()))
