"""Train the pixel radar encoder three times and score it on Slovak plots beside closed forms of the same two bands.

    python -m experiments.shipped.radar --data ../shared/data --work runs/radar
    python -m experiments.shipped.radar --data ../shared/data --work runs/radar --role report --why "..."

Five minutes on two idle cores; trained is what is not there yet. It would ship, as experimental and with sigma0 in its
name, if it were better than the radar state on the places that report; RESULTS.md, "Radar", says what came of it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

from eomm.data.modality import SENTINEL1_SIGMA0
from eomm.data.points import PointSeries
from eomm.errors import UsageError
from eomm.evaluation.quality import closed
from eomm.evaluation.quality.learned import encoder_vectors
from eomm.evaluation.quality.tasks import score_all
from eomm.evaluation.quality.vectors import Vectors, beside, leading, per_series, principal, remembered, scaled
from eomm.evaluation.quality.verdicts import against
from eomm.evaluation.quality.words import result
from eomm.evaluation.result import Result, as_json
from eomm.evaluation.result_file import write_result
from eomm.evaluation.text import format_result
from eomm.models.directory import Model, build_part, load_model
from eomm.training.experiment import run_experiment

from ..radar import CLOSED, get_config
from .looks import Look
from .plan import USE, USE_TO_LR, USE_TO_NB, use_trials
from .radar_sets import build_radar_records, of_one_orbit, read_flanders_radar, read_forest_radar, read_slovak_radar

MODEL, STATE, SIX, RANDOM = "radar encoder", "radar state", "six numbers", "[six, random]"
RAW, WINDOW = "raw dB", "PCA of the window"
COMPONENTS = 12  # of the 26 numbers of a raw window
TASKS = {"choose": (USE,), "report": (USE_TO_NB, USE_TO_LR)}


def configuration(records: Mapping[str, float], work: Path, seed: int) -> ConfigDict:
    """Of one training."""
    config = get_config()
    config.seed = seed
    config.data.records = ",".join(str(work / "records" / n) for n in records)
    config.data.weights = tuple(records.values())
    return config


def train(data: Path, work: Path, seeds: int) -> list[Model]:
    """The models, trained where they are not there yet."""
    records = build_radar_records(data, work / "records")
    paths = [run_experiment(configuration(records, work, s), work / f"radar-seed{s}") for s in range(seeds)]
    return [load_model(p) for p in paths]


def methods(models: Sequence[Model], sample: Sequence[PointSeries]) -> list[Vectors]:
    """The encoder of every seed, and closed forms whose constants are of training places."""
    learned = [vectors_of(m, seed) for seed, m in enumerate(models)]
    width = (2 * closed.SIDE + 1) * 2 + 2 * closed.SIDE
    window = scaled(per_series("window", width, closed.window), sample, by_column=True)
    encoder = build_part("encoder", {"size": "base", "dilations": ()}, SENTINEL1_SIGMA0)
    params = {"encoder": encoder.init(jax.random.key(5)), "fusion": None}
    noise = scaled(encoder_vectors(encoder, SENTINEL1_SIGMA0, params, name="random"), sample, by_column=True)
    six = leading(SIX, learned[0], CLOSED)
    forms = [
        scaled(per_series(RAW, 2, closed.nearest), sample),
        scaled(principal(WINDOW, window, COMPONENTS, sample), sample),
        leading(STATE, learned[0], 2),
        six,
        beside(RANDOM, six, noise),
    ]
    return [remembered(v) for v in [*forms, *learned]]


def vectors_of(model: Model, seed: int) -> Vectors:
    """The vectors of a radar model."""
    params = {"encoder": model.params["s1"]["encoder"], "fusion": None}
    made = encoder_vectors(model.encoders["s1"], model.modalities["s1"], params, name=MODEL)
    return replace(made, seed=seed, state=2)


def run(data: Path, work: Path, *, role: str, seeds: int = 3, look: Look | None = None) -> Result:
    """Train, then score; a look at report is logged before. Its numbers have `against`: how the encoder compares.

    Raises UsageError for a look at report without a reason.
    """
    if role == "report" and not (look and look.why):
        raise UsageError("a look at report sets needs a reason: --why TEXT; it is logged")
    models = train(data, work, seeds)
    hashes = {f"{MODEL} {i}": m.hash for i, m in enumerate(models)}
    tasks = TASKS[role]
    if role == "report" and look:
        look.log(models=hashes, tasks=[f"{t.name}, radar" for t in tasks])
    sample = of_one_orbit([*read_flanders_radar(data, "train"), *read_forest_radar(data)])
    with threadpool_limits(1):
        outcomes = score_all(use_trials(read_slovak_radar(data), role), methods(models, sample), tasks)
        rows = against(outcomes, tasks, MODEL, (STATE,)) + against(outcomes, tasks, MODEL, (SIX, RANDOM, RAW, WINDOW))
        about = {"role": role, "models": hashes, "against": rows}
        return result(tasks, outcomes, (), about, dataset=f"grassland use of role {role}, radar")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="for records and runs; best outside the checkout")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: %(default)s)")
    parser.add_argument("--role", choices=sorted(TASKS), default="choose", help="places (default: %(default)s)")
    parser.add_argument("--why", metavar="TEXT", help="you look at places that report; it is logged")
    a = parser.parse_args(argv)
    command = f"python -m experiments.shipped.radar --role {a.role} --seeds {a.seeds}"
    found = run(a.data, a.work, role=a.role, seeds=a.seeds, look=Look(why=a.why, command=command))
    write_result(found, a.work / f"{a.role}.json", commands=[command])
    print(format_result(found))
    print(json.dumps(as_json(found["against"]), indent=1))


if __name__ == "__main__":
    main()
