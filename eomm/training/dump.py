"""What is kept of a batch whose loss was not finite, to find out why; written once, when the run gives up.

Apart from loop.py, which is as long as a file should be.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eomm.data.batches import Batch
from eomm.store.folders import write_json


def write_dump(
    workdir: Path,
    *,
    step: int,
    batch_number: int,
    records: Sequence[Mapping[str, Any]],
    terms: Mapping[str, Any],
    batch: Batch,
) -> Path:
    """Write `workdir/bad_step_STEP` and return it.

    `bad_step.json` holds step, number of the batch, loss terms (numbers, or "nan", "inf") and the record of each row;
    `batch-HOST.npz` this host's rows as they went into the step, by "modality/field".

    Args:
        workdir: the run's directory.
        step: that was not finite, from 1.
        batch_number: of the global batch, from 0.
        records: from `pipeline.batch_records`.
        terms: {name: (sum, count)} of the step.
        batch: this host's rows.
    """
    folder = workdir / f"bad_step_{step}"
    folder.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {f"{name}/{field}": x for name, fields in batch.items() for field, x in fields.items()}
    np.savez_compressed(folder / f"batch-{jax.process_index()}.npz", **arrays)
    if jax.process_index() == 0:
        values = {name: _number(float(total), float(count)) for name, (total, count) in terms.items()}
        described = {"step": step, "batch": batch_number, "terms": values, "records": list(records)}
        write_json(folder / "bad_step.json", described)
    return folder


def _number(total: float, count: float) -> float | str:
    mean = total / count if count else math.nan
    return mean if math.isfinite(mean) else str(mean)
