"""`eomm bench local`: what can be said of vectors on a user's own cube without labels.

Hidden targets, repeatability and the response to steps; beside a model the closed forms, whose constants come from
other pixels of the cube. One site is one place: what is resampled is blocks of it, and no claim goes beyond it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from eomm.data.cube import Cube, open_cube
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.quality import closed, reader, unlabelled
from eomm.evaluation.quality.learned import model_vectors
from eomm.evaluation.quality.scores import Outcome
from eomm.evaluation.quality.series import BANDS, Series
from eomm.evaluation.quality.tasks import Task
from eomm.evaluation.quality.unlabelled import Step, step_between
from eomm.evaluation.quality.vectors import Vectors, remembered
from eomm.evaluation.quality.verdicts import judge_hidden
from eomm.evaluation.quality.words import result
from eomm.evaluation.result import Result
from eomm.models.directory import load_model

BLOCK_PX = 8  # pixels of one block are one group
BLOCKS, PIXELS = 60, 6  # drawn of a cube, and of a block
FEWEST_DATES = 12

HIDDEN = tuple(
    Task(
        name=f"hidden, {gap} days",
        metric="mean absolute error of reflectance",
        probe=reader.TEXT,
        labels="hidden dates of other blocks",
        group="block",
        better="lower",
        primary=False,
        margin=None,
    )
    for gap in unlabelled.GAPS
)
_ABOUT: dict[str, Any] = {"probe": "none", "labels": "none", "group": "block", "primary": False, "margin": None}
REPEAT = Task(
    name="repeatability",
    metric="distance of odd from even dates over that of dates 60 days apart",
    better="lower",
    **_ABOUT,
)
STEP = Task(name="the largest steps at once", metric="share of a lasting change seen at its first date", **_ABOUT)
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
    about: dict[str, Any] = {"cube": str(path), "site": cube.site, "pixels": len(series), "blocks": len(names)}
    if model is not None:
        loaded = load_model(model, code=code)
        about["models"] = {"model": loaded.hash}
        methods.append(remembered(model_vectors(loaded, surroundings=surroundings)))
    with threadpool_limits(1):  # fits are small; threads would wait for each other
        outcomes = score_local(methods, learn, test)
    judged = "thirty numbers" if model is None else "model"
    simulated = cube.simulated
    verdicts = [judge_hidden(outcomes, TASKS, judged)]
    return result(TASKS, outcomes, verdicts, about, dataset=cube.site, simulated=simulated)


def score_local(
    methods: Sequence[Vectors], learn: Sequence[Series], test: Sequence[Series]
) -> dict[str, dict[str, Outcome]]:
    """Outcomes by task and method; probes are fitted on `learn`, everything is scored on `test`.

    Raises UsageError where no date of these series can be hidden, or no two are far apart.
    """
    learned = unlabelled.teaching_targets(learn)
    hidden = {t.name: unlabelled.hidden_targets(test, gap) for t, gap in zip(HIDDEN, unlabelled.GAPS, strict=True)}
    steps = largest_steps(test)
    waves = {"linear": closed.linear, "Gaussian": closed.gaussian, "harmonic": closed.harmonic}
    outcomes: dict[str, dict[str, Outcome]] = {t.name: {} for t in TASKS}
    for vectors in methods:
        found = {
            **unlabelled.hidden_errors(vectors, learned, hidden),
            REPEAT.name: unlabelled.repeatability(vectors, test),
        }
        found[STEP.name] = unlabelled.step_at_once(vectors, steps)
        for task, outcome in found.items():
            outcomes[task][vectors.name] = outcome
    for name, given in unlabelled.interpolators(waves, hidden).items():
        for task, outcome in given.items():
            outcomes[task][name] = outcome
    return outcomes


def largest_steps(series: Sequence[Series]) -> list[Step]:
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


def series_of(cube: Cube, *, seed: int = 0) -> list[Series]:
    """Pixels drawn from blocks of 8 x 8, their valid dates alone.

    Raises:
        ContractError: no Sentinel-2 reflectance in ten bands.
        DataError: no pixel has 12 valid dates.
    """
    group = cube["s2"]
    if group.modality.band_names != BANDS:
        raise ContractError(f"{cube.path}: s2 has {', '.join(group.modality.band_names)}; expected {', '.join(BANDS)}")
    rows, columns = -(-group.grid.height // BLOCK_PX), -(-group.grid.width // BLOCK_PX)
    rng, out = np.random.default_rng(seed), list[Series]()
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
) -> list[Series]:
    days, first = np.unique(day[valid], return_index=True)  # of two passes on a day the first
    if len(days) < FEWEST_DATES:
        return []
    at = np.flatnonzero(valid)[first]
    ok = np.ones(len(days), bool)
    return [Series(name=site, region=site, group=group, values=values[at], day=days.astype(np.int32), valid=ok)]


def _change(series: Series, step: Step) -> float:
    change = series.values[step.after].mean(0) - series.values[step.before].mean(0)
    return float(np.sqrt((change**2).sum()))
