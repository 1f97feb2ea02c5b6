"""Where a run's metrics go: metrics.jsonl always, further writers by configuration, callbacks of whoever calls `train`.

A writer of your own is a module with `build_writer(workdir, step, config)`; `config.metrics` names it. What it builds
is called with (step, values), and closed if it has `close`.
"""

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorboardX
from ml_collections import ConfigDict

from eomm.errors import UsageError
from eomm.store.folders import write_text
from eomm.store.metrics import read_lines
from eomm.training.config import flatten

Write = Callable[[int, Mapping[str, float]], None]
DEFAULT = ("tensorboard",)


class JsonLines:
    """metrics.jsonl; opening drops what lies beyond `step`."""

    def __init__(self, workdir: Path, step: int):
        file = workdir / "metrics.jsonl"
        kept = [entry for entry in (read_lines(file).entries if file.exists() else ()) if entry["step"] <= step]
        write_text(file, "".join(json.dumps(entry) + "\n" for entry in kept))
        self._file = file.open("a", encoding="utf-8")

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Add one line."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files in tensorboard/."""

    def __init__(self, workdir: Path, step: int):
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self._board.close()


class WeightsAndBiases:
    """A run of Weights & Biases, which a resumed training goes on with. Untried against their servers.

    Raises:
        UsageError: the package is not installed.
    """

    def __init__(self, workdir: Path, step: int, config: Mapping[str, Any]):
        try:
            import wandb
        except ImportError as e:
            raise UsageError("config.metrics names wandb, which is not installed: pip install 'eomm[wandb]'") from e
        file = workdir / "wandb.id"
        if not file.exists():
            file.write_text(wandb.util.generate_id(), encoding="utf-8")
        run = file.read_text(encoding="utf-8").strip()
        self._run = wandb.init(id=run, resume="allow", dir=str(workdir), name=workdir.name, config=dict(config))

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Log scalars."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


def build_writer(name: str, workdir: Path, step: int, config: ConfigDict) -> Any:
    """One of `config.metrics`. Raises UsageError for a name that is none."""
    if name == "tensorboard":
        return TensorBoard(workdir, step)
    plain = json.loads(json.dumps(dict(flatten(config)), default=str))
    if name == "wandb":
        return WeightsAndBiases(workdir, step, plain)
    try:
        build = importlib.import_module(name).build_writer
    except (ImportError, AttributeError, ValueError) as e:
        raise UsageError(
            f"config.metrics names {name!r} ({e}); expected of tensorboard, wandb, or a module of yours with "
            "build_writer(workdir, step, config)"
        ) from e
    return build(workdir, step, plain)


@dataclasses.dataclass(frozen=True)
class MetricsLog:
    """All that metrics are written to; nothing but on process 0.

    Attributes:
        writers: called with (step, values).
    """

    writers: Sequence[Write]

    @staticmethod
    def open(workdir: Path, *, step: int, config: ConfigDict, callbacks: Sequence[Write] = ()) -> "MetricsLog":
        """metrics.jsonl, the writers that `config.metrics` names, and callbacks.

        Args:
            workdir: the run's directory.
            step: the step at which the run starts or resumes.
            config: of the run.
            callbacks: called last; what one raises ends the run, which then resumes at its last checkpoint.
        """
        if jax.process_index():
            return MetricsLog(())
        further = [build_writer(name, workdir, step, config) for name in config.get("metrics", DEFAULT)]
        return MetricsLog((JsonLines(workdir, step), *further, *callbacks))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Give one set of values to all. Non-finite ones are left out: JSON has none."""
        finite = {k: float(f"{v:.7g}") for k, v in values.items() if np.isfinite(v)}
        for write in self.writers:
            write(step, finite)

    def close(self) -> None:
        """Close what can be closed."""
        for writer in self.writers:
            if hasattr(writer, "close"):
                writer.close()
