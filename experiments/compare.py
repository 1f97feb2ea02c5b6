"""Which variant of an experiment predicts hidden targets best? Trains each with several seeds and scores it alike.

    python -m eomm.experiments.compare --table hidden --records records --cube flanders.zarr --steps 300 --out ablation

Every trained model and every score stays in --out, so that a run that was stopped goes on where it was; the seeds go
round, so that it is comparable at any time. Variants of your own: --variant "wide: encoder.width=128, steps=600".
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eomm.cli.arguments import options_of
from eomm.data.cube import open_cube
from eomm.errors import UsageError
from eomm.evaluation.hidden.reconstruction import evaluate_records
from eomm.evaluation.result import Json
from eomm.models.directory import Model, load_model
from eomm.store.folders import read_json, write_json
from eomm.training.allocator import keep_freed_memory
from eomm.training.config import load_config
from eomm.training.experiment import run_experiment

TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "hidden": {f"hidden {share}": (f"objective.hidden={share}",) for share in (0.0, 0.25, 0.5, 0.75)},
    "past": {"8 before, 8 after": (), "16 before": ("encoder.frames=16,0",)},
}
LENGTHS = (7, 16, 32, 64)
GAPS = (0, 30, 60)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How variants are compared.

    Attributes:
        records: what to train on; it names the hidden dates.
        cube: what to score on.
        out: directory of models and scores.
        experiment: a configuration.
        steps: of training.
        seeds: of training.
        lengths: leading numbers of the embedding that are used; all of it where it is shorter.
        gaps: days hidden on both sides of a target.
        max_pixels: of the cube that are scored.
    """

    records: Path
    cube: Path
    out: Path
    experiment: str = "s2"
    steps: int = 300
    seeds: Sequence[int] = (0, 1, 2)
    lengths: Sequence[int] = LENGTHS
    gaps: Sequence[int] = GAPS
    max_pixels: int = 16_384


def compare(variants: Mapping[str, Sequence[str]], asked: Asked) -> Json:
    """Train and score every variant with every seed; what `asked.out` already holds is not done again.

    Args:
        variants: overrides by name, applied after everything else.
        asked: how.

    Returns:
        JSON types: `rows`, one per variant, length, region and method, each with its error by gap and seed.
    """
    rows: dict[tuple[str, int, str, str], dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for seed, (name, overrides) in itertools.product(asked.seeds, variants.items()):
        work = asked.out / name.replace(" ", "_").replace(",", "") / f"seed_{seed}"
        values = [f"seed={seed}", f"steps={asked.steps}", f"data.records={asked.records}", *overrides]
        seconds[name].append(_train(asked.experiment, values, work))
        model = load_model(work / "model", code=["eomm.models.published"])
        for length in sorted({min(k, model.dim) for k in asked.lengths}):
            _collect(rows, name, length, _score(model, length, work, asked))
    return {
        "rows": [dict(zip(("variant", "length", "region", "method"), k, strict=True)) | v for k, v in rows.items()],
        "train_seconds": seconds,
        **{key: getattr(asked, key) for key in ("steps", "seeds", "gaps")},
    }


def _score(model: Model, length: int, work: Path, asked: Asked) -> Json:
    """Of so many leading numbers, scored unless it was."""
    file = work / f"score_{length}_{'-'.join(map(str, asked.gaps))}_{asked.max_pixels}.json"
    if not file.exists():
        options: dict[str, Any] = {"length": length, "gaps": asked.gaps, "max_pixels": asked.max_pixels}
        write_json(file, evaluate_records(model, open_cube(asked.cube), asked.records, **options).to_json())
    found: Json = read_json(file)
    return found


def _train(experiment: str, overrides: Sequence[str], work: Path) -> float:
    """Train unless done (another configuration is refused); seconds that it took, compilation included."""
    clock = work / "seconds.json"
    start = time.perf_counter()
    run_experiment(load_config(experiment, overrides), work)
    if not clock.exists():
        write_json(clock, {"seconds": time.perf_counter() - start})
    return float(read_json(clock)["seconds"])


def _collect(rows: dict[Any, dict[str, list[float]]], name: str, length: int, score: Mapping[str, Any]) -> None:
    for region, by_gap in score["hidden"].items():
        for gap, found in by_gap.items():
            for method, summary in found["methods"].items():
                trained = method in (score["main"], "ridge_trained", "ridge_random", "ridge_pca")
                at = (name, length, region, method) if trained else ("", 0, region, method)
                cell = rows.setdefault(at, {}).setdefault(gap, [])
                if trained or not cell:  # an interpolation is the same for all
                    cell.append(summary["value"])


def format_comparison(result: Mapping[str, Any]) -> str:
    """A table: mean over seeds, and their standard deviation, by gap."""
    gaps = [str(g) for g in result["gaps"]]
    lines = [f"{'variant':<24}{'length':>7} {'region':<14}{'method':<16}" + "".join(f"{g + ' d':>16}" for g in gaps)]
    for row in result["rows"]:
        cells = "".join(f"{np.mean(row[g]):9.4f} ± {np.std(row[g]):.4f}" if g in row else f"{'':>18}" for g in gaps)
        lines.append(f"{row['variant']:<24}{row['length']:>7} {row['region']:<14}{row['method']:<16}{cells}")
    took = ", ".join(f"{name} {np.mean(s):.0f} s" for name, s in result["train_seconds"].items())
    return "\n".join([*lines, f"training took {took} ({result['steps']} steps unless a variant says otherwise)"])


def parse_variant(text: str) -> tuple[str, tuple[str, ...]]:
    """Split "name: key=value, key=value" into a name and overrides; a comma inside a value is kept."""
    name, colon, rest = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--variant {text!r}: expected 'NAME: KEY=VALUE, KEY=VALUE'")
    overrides: list[str] = []
    for part in filter(None, (p.strip() for p in rest.split(","))):
        if "=" in part:
            overrides.append(part)
        elif overrides:
            overrides[-1] += f",{part}"
        else:
            raise UsageError(f"--variant {text!r}: {part!r} has no '='")
    return name.strip(), tuple(overrides)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, help="a table of variants")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: KEY=VALUE, …'", help="repeat")
    parser.add_argument("--experiment", default="s2", help="default: %(default)s")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--cube", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="models and scores; run again to go on")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--gaps", type=int, nargs="+", default=list(GAPS))
    parser.add_argument("--max-pixels", type=int, default=16_384)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    a = parser.parse_args(argv)
    variants = {**TABLES.get(a.table, {}), **dict(map(parse_variant, a.variant))}
    if not variants:
        parser.error("nothing to compare: give --table or --variant")
    keep_freed_memory()
    with redirect_stdout(sys.stderr):
        result = compare(variants, options_of(Asked, a))
    print(json.dumps(result) if a.json else format_comparison(result))


if __name__ == "__main__":
    main()
