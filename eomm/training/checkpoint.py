"""Checkpoints of a training run: saved while training goes on, restored onto any mesh. The only file with Orbax."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from orbax.checkpoint import v1 as ocp

from eomm.errors import DataError
from eomm.store.fields import Json
from eomm.store.folders import is_disk_full, naming_full_disk

_policies = ocp.training.preservation_policies


class _SaidOnce(logging.Filter):
    """Keeps Orbax's threads from printing a traceback each of a full disk, which is said in one line (UsageError)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        error = record.exc_info[1] if record.exc_info else None
        return "RESOURCE_EXHAUSTED" not in f"{record.getMessage()} {error}" and not (error and is_disk_full(error))


class Checkpoints:
    """The checkpoints in one directory; a context manager that waits for the last save when it closes.

    A checkpoint appears whole: Orbax writes beside it and renames, and what an interrupted save left is removed
    when the directory is next opened.

    Args:
        directory: made when missing.
        keep: how many of the latest checkpoints stay; the one with the least `value` stays besides.
    """

    def __init__(self, directory: Path, *, keep: int):
        self.directory = directory
        logging.getLogger("absl").addFilter(_SAID_ONCE)
        best = _policies.BestN(  # it keeps the last in order
            n=1, get_metric_fn=lambda m: m["value"], reverse=True, keep_checkpoints_without_metrics=False
        )
        self._orbax = ocp.training.Checkpointer(
            directory.resolve(),
            # The loop decides when to save; Orbax by default saves whenever it is idle and keeps everything.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
        )

    def latest(self) -> tuple[int, Json] | None:
        """Step and metadata of the latest finished checkpoint, or None. Cheap: no array is read."""
        for checkpoint in reversed(self._orbax.checkpoints):
            if (self.directory / str(checkpoint.step) / "_CHECKPOINT_METADATA").exists():
                found = self._orbax.checkpointables_metadata(checkpoint.step).custom_metadata
                if found:
                    return checkpoint.step, dict(found)
        return None

    def save(self, step: int, state: Any, *, metadata: Mapping[str, Any], value: float | None = None) -> None:
        """Start saving; arrays are copied before this returns, so that the next step may overwrite (donate) them.

        Waits for the previous save first.

        Args:
            step: number of the checkpoint; one of this number is replaced.
            state: a tree of arrays.
            metadata: JSON types; the data position and what makes two runs the same.
            value: less is better; the least of all is kept.

        Raises:
            UsageError: the disk is full (of this save or of the previous one); earlier checkpoints are intact.
        """
        self.wait()  # Orbax 0.12.8 would delete under the hands of a save of the same step
        with naming_full_disk(self.directory):
            self._orbax.save_checkpointables_async(
                step,
                {"state": state},
                force=True,
                overwrite=True,
                metrics=None if value is None else {"value": value},
                custom_metadata=dict(metadata),
            )

    def restore(self, step: int, abstract: Any) -> Any:
        """The state of a checkpoint, placed and cast as `abstract` says (ShapeDtypeStructs with shardings).

        Raises:
            DataError: the checkpoint is damaged or holds another tree.
        """
        try:
            return self._orbax.load_checkpointables(step, {"state": abstract})["state"]
        except (ValueError, KeyError, TypeError, OSError) as e:
            raise DataError(
                f"{self.directory / str(step)}: cannot be restored ({str(e)[:300]}); if it is damaged, delete it to go "
                "on from the checkpoint before it"
            ) from e

    def wait(self) -> None:
        """Return when the last save is on disk. Raises UsageError when the disk is full."""
        with naming_full_disk(self.directory):
            self._orbax.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with naming_full_disk(self.directory):
            self._orbax.close()


_SAID_ONCE = _SaidOnce()


def abstract_like(tree: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs for `Checkpoints.restore` from arrays (or their abstract forms) and shardings."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)
