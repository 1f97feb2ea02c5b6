"""How many targets per second does pre-training see, and does reading records keep ahead of it?

python -m eomm.benchmarks.train --json    (two minutes on 2 cores, most of it simulating the site)
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from eomm.data.batches import batches
from eomm.data.records import RecordSet, open_records
from eomm.training.config import load_config
from eomm.training.cost import peak_flops, training_flops
from eomm.training.stages import build_stage
from eomm.training.step import make_step

from .common import (
    Result,
    best_seconds,
    describe_model,
    machine,
    make_cube,
    make_records,
    matmul_flops,
    print_result,
)

SIZE_PX = 64
STEPS = 10


def run(*, size_px: int = SIZE_PX, steps: int = STEPS, repeats: int = 3, overrides: Sequence[str] = ()) -> Result:
    """The shipped `experiments/s2.py` on simulated records; the best of `repeats` times `steps` steps, after compiling.

    A target is a pixel at an acquisition. `targets_per_second` and `records_per_second` are of training as it runs:
    reading, decoding, transfer, step. Beside them the rates of the step alone and of the pipeline alone; their
    ratio says how far reading keeps ahead, and `step_alone_share_of_training` is 1 where the pipeline hides entirely.
    `share_of_matmul` is what the step reaches of a large matrix product on one device, measured in the same run. On an
    accelerator follow, for bfloat16 and float32, the largest batch that fits and the rates there (`largest_batch`).
    """
    config = load_config("s2", overrides)
    with tempfile.TemporaryDirectory() as folder:
        records = open_records(make_records(Path(folder), make_cube(Path(folder), size_px=size_px)))
        result = measure(config, records, steps=steps, repeats=repeats)
        if jax.devices()[0].platform != "cpu":
            for dtype in ("bfloat16", "float32"):
                found = largest_batch(config, records, dtype, steps=steps, repeats=repeats)
                result |= {f"{dtype}_{name}": value for name, value in found.items()}
        return {**result, "simulated": True}


def measure(config: ConfigDict, records: RecordSet, *, steps: int, repeats: int) -> Result:
    """Rates of one configuration on a record set."""
    with closing(read(config, records)) as source:
        batch = next(source)
        step = Step(config, records, batch)
        step(batch)  # compiles
        together = best_seconds(lambda: step(next(source)), lambda: step.state, steps, repeats)
        held = jax.device_put(batch)
        alone = best_seconds(lambda: step(held), lambda: step.state, steps, repeats)
    reading = reading_rate(config, records, steps=steps, repeats=repeats)
    per_record = config.data.batch_size
    return {
        "targets_per_second": step.targets * steps / together,
        "records_per_second": per_record * steps / together,
        "step_alone_records_per_second": per_record * steps / alone,
        "pipeline_alone_records_per_second": reading,
        "pipeline_ahead_of_step": reading * alone / (per_record * steps),
        "step_alone_share_of_training": alone / together,
        **utilisation(step.flops * steps / alone, config.encoder.dtype, repeats=repeats),
        "megabytes_per_record": records.manifest["files"][0]["bytes"] / records.manifest["files"][0]["records"] / 1e6,
        "batch_size": per_record,
        "target_acquisitions_per_record": config.objective.targets,
        "steps": steps,
        "repeats": repeats,
        **machine(),
        "dtype": config.encoder.dtype,
        "model": describe_model(config.encoder.size, step.stage.model(step.state["params"]).dim),
    }


def reading_rate(config: ConfigDict, records: RecordSet, *, steps: int, repeats: int) -> float:
    """Records per second of the pipeline alone: shuffled, read, decoded, stacked."""
    with closing(read(config, records)) as source:
        next(source)
        # More batches than the pipeline holds ready, so that its buffer does not count as speed.
        seconds = best_seconds(lambda: next(source), lambda: None, 8 * steps, repeats)
    return config.data.batch_size * 8 * steps / seconds


class Step:
    """A compiled training step that keeps its state; called with a batch.

    Attributes:
        stage: what is trained.
        state: as `make_step` has it.
        flops: operations of a step.
    """

    def __init__(self, config: ConfigDict, records: RecordSet, batch: Any):
        self.stage, self._root = build_stage(config, records), jax.random.key(config.seed)
        step, init = make_step(self.stage, config, jax.eval_shape(lambda b: b, batch))
        self.state, self._frozen = jax.jit(init)(self._root), jax.device_put(self.stage.frozen)
        self._compiled: Any = jax.jit(step, donate_argnums=0)
        self.flops = training_flops(self.stage, batch)

    def __call__(self, batch: Any) -> None:
        """Take a step."""
        self.state, _ = self._compiled(self.state, self._root, self._frozen, batch)

    @property
    def targets(self) -> float:
        """Of a step, on average: pixels at target acquisitions that are valid."""
        total, count = self.state["sums"]["targets"]
        return float(total / count)


def utilisation(flops: float, dtype: str, *, repeats: int) -> Result:
    """Operations per second beside those of a matrix product, and beside what the maker states (one device)."""
    product, stated = matmul_flops(dtype, repeats=repeats), peak_flops(jax.devices()[0])
    return {
        "gigaflops_per_second": flops / 1e9,
        "matmul_gigaflops_per_second": product / 1e9,
        "share_of_matmul": flops / product,
        **({"flop_utilisation": flops / stated} if stated else {}),
    }


def largest_batch(
    config: ConfigDict, records: RecordSet, dtype: str, *, steps: int, repeats: int, limit: int = 2**14
) -> Result:
    """Rates of the step alone at batches doubled until one does not fit, in one dtype: the best, and the last."""
    with closing(read(config, records)) as source:
        rows = next(source)
    best: Result = {}
    size = config.data.batch_size
    while size <= limit:
        options = config.to_dict()
        options["encoder"]["dtype"] = options["decoder"]["dtype"] = dtype
        options["data"]["batch_size"] = size
        try:
            found = measure_step(ConfigDict(options), records, rows, steps=steps, repeats=repeats)
        except jax.errors.JaxRuntimeError as e:
            if "RESOURCE_EXHAUSTED" not in str(e):
                raise
            break
        print(f"{dtype}, batch {size}: {found['records_per_second']:.1f} records per second", file=sys.stderr)
        if found["records_per_second"] > best.get("records_per_second", 0):
            best = {**found, "best_batch": size}
        best["largest_batch"] = size
        size *= 2
    return best


def measure_step(config: ConfigDict, records: RecordSet, rows: Any, *, steps: int, repeats: int) -> Result:
    """Rates of the step alone on a batch that repeats `rows` to the configured size."""
    size = config.data.batch_size
    batch = jax.device_put(jax.tree.map(lambda x: np.resize(x, (size, *x.shape[1:])), rows))
    step = Step(config, records, batch)
    step(batch)  # compiles
    seconds = best_seconds(lambda: step(batch), lambda: step.state, steps, repeats) / steps
    return {
        "records_per_second": size / seconds,
        "targets_per_second": step.targets / seconds,
        **utilisation(step.flops / seconds, config.encoder.dtype, repeats=repeats),
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


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
