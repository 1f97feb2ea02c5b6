"""How many targets per second does pre-training see, and does reading records keep ahead of it?

python -m benchmarks.train --json    (two minutes on 2 cores, most of it simulating the site)
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.common import Result, describe_model, machine, make_cube, make_records, print_result
from eomm.config import load_config
from eomm.patches import RecordSet, open_records
from eomm.pipeline import batches
from eomm.stages import build_stage
from eomm.step import make_step

SIZE_PX = 64
STEPS = 10


def run(*, size_px: int = SIZE_PX, steps: int = STEPS, repeats: int = 3, overrides: Sequence[str] = ()) -> Result:
    """The shipped `experiments/s2.py` on simulated records; the best of `repeats` times `steps` steps, after compiling.

    A target is a pixel at an acquisition. `targets_per_second` and `records_per_second` are of training as it runs:
    reading, decoding, transfer, step. Beside them the rates of the step alone and of the pipeline alone; their
    ratio says how far reading keeps ahead.
    """
    config = load_config("experiments.s2", overrides)
    with tempfile.TemporaryDirectory() as folder:
        records = open_records(make_records(Path(folder), make_cube(Path(folder), size_px=size_px)))
        return {**measure(config, records, steps=steps, repeats=repeats), "simulated": True}


def measure(config: ConfigDict, records: RecordSet, *, steps: int, repeats: int) -> Result:
    """Rates of one configuration on a record set."""
    stage = build_stage(config, records)
    root = jax.random.key(config.seed)
    with closing(read(config, records)) as source:
        batch = next(source)
        step, init = make_step(stage, config, jax.eval_shape(lambda b: b, batch))
        state = jax.jit(init)(root)
        frozen = jax.device_put(stage.frozen)
        compiled: Any = jax.jit(step, donate_argnums=0)

        def advance(batch: Any) -> None:
            nonlocal state
            state, _ = compiled(state, root, frozen, batch)

        advance(batch)  # compiles
        together = best_seconds(lambda: advance(next(source)), lambda: state, steps, repeats)
        held = jax.device_put(batch)
        alone = best_seconds(lambda: advance(held), lambda: state, steps, repeats)
    with closing(read(config, records)) as source:
        next(source)
        # More batches than the pipeline holds ready, so that its buffer does not count as speed.
        reading = best_seconds(lambda: next(source), lambda: None, 8 * steps, repeats)
    per_record = config.data.batch_size
    total, count = state["sums"]["targets"]
    return {
        "targets_per_second": float(total / count) * steps / together,
        "records_per_second": per_record * steps / together,
        "step_alone_records_per_second": per_record * steps / alone,
        "pipeline_alone_records_per_second": per_record * 8 * steps / reading,
        "pipeline_ahead_of_step": 8 * alone / reading,
        "megabytes_per_record": records.manifest["files"][0]["bytes"] / records.manifest["files"][0]["records"] / 1e6,
        "batch_size": per_record,
        "target_acquisitions_per_record": config.objective.targets,
        "steps": steps,
        "repeats": repeats,
        **machine(),
        "dtype": config.encoder.dtype,
        "model": describe_model(config.encoder.size, stage.model(state["params"]).dim),
    }


def read(config: ConfigDict, records: RecordSet) -> Any:
    """The batches that training would see."""
    return batches(
        records,
        split=config.data.split,
        batch_size=config.data.batch_size,
        seed=config.seed,
        modalities=[config.modality],
        threads=config.data.threads,
    )


def best_seconds(act: Callable[[], object], state: Callable[[], Any], times: int, repeats: int) -> float:
    """Seconds that `times` actions take, the least of several repeats, counted until `state()` is there."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            act()
        jax.block_until_ready(state())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
