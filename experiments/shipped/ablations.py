"""What each part of the shipped recipe is worth on places that choose: variants by seeds, paired with the recipe.

    python -m experiments.shipped.ablations train --data ../shared/data --work runs/ablations
    python -m experiments.shipped.ablations score --data ../shared/data --work runs/ablations
    python -m experiments.shipped.ablations table --work runs/ablations

Half an hour on two idle cores; all of it resumes. Places that report are never read. Noise is measured once for all
seeds, which so share one compiled step. Two options of the objective cannot be tried: records of points carry no
geometry, and a state needs all of its bands, so that none can be dropped.
"""

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

from eomm.evaluation.bootstrap import draws
from eomm.evaluation.quality.closed import closed_forms
from eomm.evaluation.quality.learned import model_vectors
from eomm.evaluation.quality.series import Series
from eomm.evaluation.quality.tasks import Trial
from eomm.evaluation.quality.vectors import Vectors, remembered
from eomm.models.directory import load_model, save_model
from eomm.training.experiment import measure_noise, run_experiment
from eomm.training.level import level_learned
from eomm.training.sets import open_mixture

from .. import common
from ..base import FRAMES
from .discriminant import discriminant, linear
from .make import CROPS, configuration
from .plan import CROPS_ALL, CROPS_ALL_KNN, HIDDEN, MOWN, NEAR, STEP, USE, sample_of, trials
from .sets import build_records, training_series

RECIPE = "base-2"
BEFORE = "the encoder before"
VARIANTS: dict[str, dict[str, Any]] = {
    RECIPE: {},
    "decay 0.02": {"optimiser.weight_decay": 0.02},
    "queries from the own token": {"encoder.inner.start": 0},
    "no cuts": {"objective.cuts": 0.0},
    "no crop head": {"objective.labels": 0.0},
    "crop head 0.1": {"objective.labels": 2 * CROPS},
    "crop head 0.2": {"objective.labels": 4 * CROPS},
    BEFORE: {},
    "decorrelation 0.5": {"objective.decorrelation": 0.5},
    "the thirty not given to the decoder": {"decoder.leading": 0},
    "a third of targets hidden": {"objective.hidden": 0.33},
    "nothing hidden besides the gap": {"objective.hidden_others": (0.0, 0.0)},
    "far dates decoded as often": {"objective.near_days": 0.0},
    "distance to the nearest dates not given": {"decoder.nearest": False},
}
"""What differs from the recipe; the encoder before is `before`."""

SHIPPED_WEIGHT = 0.3  # of the learned block
LEARNED = (0.1, 0.2, 0.5, 1.0)  # weights of the learned block in its place, which need no training
CLOSED = ("raw bands", "state", "thirty numbers")
TASKS = (MOWN, CROPS_ALL, CROPS_ALL_KNN, USE, *HIDDEN, *NEAR, STEP)
COLUMNS = {t.name: t for t in TASKS}
STEPS, SEEDS = 1500, 3


def settings(name: str, records: Mapping[str, float], work: Path, seed: int, steps: int) -> ConfigDict:
    """The configuration of a variant."""
    config = configuration("base", records, work, seed)
    config.steps = config.save_every = steps
    config.calibrate_records = 0
    config.metrics = ()
    if name == BEFORE:
        before(config)
    for key, value in VARIANTS[name].items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def before(config: ConfigDict) -> None:
    """A pixel's context encoder alone, visible targets decoded with half of the weight, as before there was a state."""
    kept = {k: config.objective[k] for k in ("targets", "queries", "reach_px", "borrowed_clouds", "edges", "turns")}
    config.encoder = ConfigDict({"code": "eomm.models.context", "size": "base", "frames": FRAMES, "dilations": ()})
    config.decoder = ConfigDict({"width": 96})
    config.objective = common.objective()
    config.objective.update(kept)
    config.optimiser.weight_decay = 0.02


def run_of(work: Path, name: str, seed: int, steps: int) -> Path:
    """Where a variant is trained."""
    return work / f"{name.replace(' ', '_')}-{steps}-seed{seed}"


def train(data: Path, work: Path, names: Sequence[str], seeds: int, steps: int) -> None:
    """Every variant, seed by seed, so that what is cut short is complete for the seeds that it reached."""
    records = build_records(data, work / "records")
    for seed in range(seeds):
        for name in names:
            run = run_of(work, name, seed, steps)
            if not (run / "model").is_dir():
                train_one(settings(name, records, work, seed, steps), run)
                print(f"{run.name}: trained", flush=True)


def train_one(config: ConfigDict, run: Path) -> None:
    """As `run_experiment`, with the noise that seed 0 measures."""
    mixture = open_mixture(config)
    first = ConfigDict({**config.to_dict(), "seed": 0})
    measured, _, sets = measure_noise(first, mixture)
    weights = config.encoder.get("weights")
    config.encoder = measured.encoder
    trained = load_model(run_experiment(config, run / "run"))
    model = level_learned(trained, "s2", sets, weight=weights[2]) if weights else trained
    save_model(model, run / "model")
    shutil.rmtree(run / "run")


def methods(data: Path, work: Path, names: Sequence[str], seeds: int, steps: int) -> Iterator[Vectors]:
    """Closed forms, trained variants, and what can be made of them without training."""
    forms = closed_forms(sample_of(data))
    yield from (forms[name] for name in CLOSED)
    korea = training_series(data)["korea"]
    yield from discriminants(forms["thirty numbers"], korea)
    for seed in range(seeds):
        for name in names:
            if not (path := run_of(work, name, seed, steps) / "model").is_dir():
                continue
            vectors = remembered(model_vectors(load_model(path), name=name, seed=seed))
            yield vectors
            if name == RECIPE:
                yield from unlearned(vectors, korea)


def unlearned(vectors: Vectors, korea: Sequence[Series]) -> Iterator[Vectors]:
    """Other weights of the learned block, and a metric in which Korean crops of training parcels stand apart."""
    closed = 3 * vectors.state
    for weight in LEARNED:
        factor = np.where(np.arange(vectors.length) < closed, 1.0, weight / SHIPPED_WEIGHT)
        yield linear(f"{vectors.name}, learned block at {weight:g}", vectors, np.diag(factor))
    yield from discriminants(vectors, korea)


def discriminants(vectors: Vectors, korea: Sequence[Series]) -> Iterator[Vectors]:
    """In the metric of crops, and in that of permuted crops."""
    yield discriminant(f"{vectors.name}, metric of crops", vectors, korea)
    yield discriminant(f"{vectors.name}, metric of permuted crops", vectors, korea, permuted=True)


def score(data: Path, work: Path, names: Sequence[str], seeds: int, steps: int) -> None:
    """A file for each method and seed: of every task its score, and that of every draw of groups."""
    folder = work / f"scores-{steps}"
    folder.mkdir(exist_ok=True)
    asked = [t for t in trials(data, "choose") if set(t.tasks) & set(TASKS)]
    for vectors in methods(data, work, names, seeds, steps):
        out = folder / f"{vectors.name.replace(' ', '_')}-seed{vectors.seed}.npz"
        if out.exists():
            continue
        # The reader of hidden targets brings every number to one deviation: what is linear in others it reads alike.
        told = asked if vectors.name in (*VARIANTS, *CLOSED) else [t for t in asked if not set(t.tasks) & set(HIDDEN)]
        found = drawn_scores(vectors, told)
        np.savez(out, allow_pickle=False, **found)
        print(f"{out.stem}: " + ", ".join(f"{n} {v[0]:.4f}" for n, v in found.items()), flush=True)


def drawn_scores(vectors: Vectors, asked: Sequence[Trial]) -> dict[str, np.ndarray]:
    """By task the score, and behind it that of every draw of groups."""
    outcomes = {name: o for trial in asked for name, o in trial.score(vectors).items() if name in COLUMNS}
    counts = {name: len(o.groups) for name, o in outcomes.items()}
    return {n: o.score(np.concatenate([np.ones((1, counts[n])), draws(counts[n])])) for n, o in outcomes.items()}


def table(work: Path, steps: int) -> str:
    """Markdown: seeds averaged; below each score the difference from the recipe and its 95 % interval over groups."""
    scores: dict[str, list[Mapping[str, np.ndarray]]] = {}
    for path in sorted((work / f"scores-{steps}").glob("*.npz")):
        name = path.stem.rsplit("-seed", 1)[0].replace("_", " ")
        scores.setdefault(name, []).append(dict(np.load(path)))
    mean = {name: {t: np.mean([s[t] for s in seeds], axis=0) for t in seeds[0]} for name, seeds in scores.items()}
    order = [n for n in (*VARIANTS, *mean) if n in mean]
    lines = ["| | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for name in dict.fromkeys(order):
        recipe = {} if name == RECIPE else mean[RECIPE]
        cells = [cell(mean[name][t], recipe.get(t)) if t in mean[name] else "" for t in COLUMNS]
        lines.append(f"| {name} | {len(scores[name])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(drawn: np.ndarray, recipe: np.ndarray | None) -> str:
    """A score, and what it has more than the recipe's; bold where the interval is clear of zero."""
    digits = 4 if abs(drawn[0]) < 0.1 else 3
    if recipe is None:
        return f"{drawn[0]:.{digits}f}"
    low, high = np.nanpercentile((drawn - recipe)[1:], (2.5, 97.5))
    mark = "**" if low > 0 or high < 0 else ""
    more = f"{drawn[0] - recipe[0]:+.{digits}f} ({low:+.{digits}f}, {high:+.{digits}f})"
    return f"{drawn[0]:.{digits}f} {mark}{more}{mark}"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "score", "table"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="for records and runs; best outside the checkout")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    a = parser.parse_args(argv)
    if a.what == "table":
        print(table(a.work, a.steps))
        return
    with threadpool_limits(1 if a.what == "score" else None):
        {"train": train, "score": score}[a.what](a.data, a.work, a.only, a.seeds, a.steps)


if __name__ == "__main__":
    main()
