"""What validation decides: the learning rate on a plateau, which step's parameters a run ends with, and when it ends.

Not the training step (step.py).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from eomm.data.batches import Skip, batches, count_batches
from eomm.data.mixture import Mixture, Share
from eomm.errors import UsageError
from eomm.models.interface import Tree
from eomm.store.fields import Json
from eomm.training.mesh import batch_sharding, replicated, to_global
from eomm.training.optimiser import make_plateau
from eomm.training.program import Program
from eomm.training.step import means

if TYPE_CHECKING:
    from eomm.training.stage import Stage

Validate = Callable[[Tree, Tree, jax.Array], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation so far. What it stands at is saved with every checkpoint, so that it resumes exactly.

    Attributes:
        metric: of validation; less is better.
        patience: validations without a new best after which the run ends; 0: it never ends early.
        value: the least so far, None before the first.
        step: where that was.
        stale: validations since.
    """

    metric: str
    patience: int
    value: float | None = None
    step: int | None = None
    stale: int = 0

    def after(self, step: int, metrics: Mapping[str, float]) -> "Best":
        """What it is after a validation at `step`; NaN is no best.

        Raises:
            UsageError: validation gives no such metric.
        """
        value = _metric_of(metrics, self.metric, "config.best.metric")
        better = value < float("inf") if self.value is None else value < self.value
        if better:
            return dataclasses.replace(self, value=value, step=step, stale=0)
        return dataclasses.replace(self, stale=self.stale + 1)

    @property
    def ends(self) -> bool:
        """Whether the run is over."""
        return 0 < self.patience <= self.stale


class Judge:
    """Validates at its steps, moves the learning rate by it and keeps the best so far; without a split it does nothing.

    Args:
        config: of the run; validate_every, validate_batches, optimiser.plateau and best are read.
        program: what is trained.
        split: a split of the record sets, or None.
        skip: that of `batches`.

    Raises:
        UsageError: no set has the split, or the configuration asks for a judgement and there is no split.
    """

    def __init__(self, config: ConfigDict, program: Program, split: str | None, skip: Skip | None = None):
        self._config, self._program, self._plateau = config, program, make_plateau(config.optimiser)
        if self._plateau and split is None:
            raise UsageError("config.optimiser.schedule 'plateau' needs a validation split: set config.data.validation")
        self.best = _best_of(config, split)
        self._validate = make_validation(program.stages, config, program.mixture, split, program.mesh, skip)
        self._moved = jax.jit(self._plateau.after, out_shardings=program.whole) if self._plateau else None

    def due(self, done: int) -> bool:
        """Whether it validates after so many steps."""
        every = self._config.get("validate_every", self._config.steps)
        return self._validate is not None and (done % every == 0 or done == self._config.steps)

    def validate(self, done: int, state: Tree) -> tuple[dict[str, float], Tree]:
        """Metrics of validation after `done` steps, and the state with its learning rate moved where they say so."""
        assert self._validate is not None, "asked without a validation split: see due()"
        metrics = self._validate(state["params"], self._program.frozen, self._program.validation_rng)
        if self._plateau and self._moved:
            value = _metric_of(metrics, self._plateau.metric, "config.optimiser.plateau.metric")
            state = {**state, "plateau": self._moved(state["plateau"], value)}
        self.best = self.best.after(done, metrics) if self.best else None
        return metrics, state

    @property
    def ends(self) -> bool:
        """Whether the run is over, whatever its number of steps."""
        return self.best is not None and self.best.ends

    @property
    def why(self) -> str:
        """Why the run is over."""
        return f"no better {self.best.metric} in {self.best.stale} validations" if self.best else "it is not over"

    def value_at(self, done: int) -> float | None:
        """The best metric so far, where it is that of this step."""
        return self.best.value if self.best and self.best.step == done else None

    def saved(self) -> Json | None:
        """What a checkpoint keeps, as JSON types; `restore` is its inverse."""
        best = self.best
        return {"value": best.value, "step": best.step, "stale": best.stale} if best else None

    def restore(self, saved: Mapping[str, Any] | None) -> None:
        """Stand as when a checkpoint was saved."""
        if self.best and saved:
            self.best = dataclasses.replace(self.best, **saved)


def make_validation(
    stages: Sequence["Stage"],
    config: ConfigDict,
    mixture: Mixture,
    split: str | None,
    mesh: jax.sharding.Mesh,
    skip: Skip | None = None,
) -> Validate | None:
    """A function (params, frozen, rng) -> {metric: mean} over a fixed set with fixed draws; None without a split.

    The loss is the stage's `validation_loss` where it has one. Rows that fill up the last batch are empty records,
    which count for nothing in a loss weighted by validity. `skip` is that of `batches`. Of a mixture, means are over
    those sets that have the split, by their weights; those of a set alone are called "SET/metric".

    Args:
        stages: one for each set of the mixture.
        config: of the run.
        mixture: of record sets.
        split: which of their splits.
        mesh: devices.
        skip: see above.

    Raises:
        UsageError: no set of the mixture has the split.
    """
    if split is None:
        return None
    shares = list(zip(stages, mixture.shares, strict=True))
    if not mixture.single:
        there = mixture.with_split(split).shares
        shares = [(stage, share) for stage, share in shares if share in there]
    functions = [_validate_one(stage, config, share, split, mesh, skip) for stage, share in shares]
    weights = np.array([share.weight for _, share in shares])

    def validate(params: Tree, frozen: Tree, rng: jax.Array) -> dict[str, float]:
        found = [one(params, frozen, rng) for one in functions]
        if mixture.single:
            return found[0]
        names = dict.fromkeys(name for one in found for name in one)
        has = {name: np.array([name in one for one in found]) for name in names}
        pooled = {
            name: float(sum(w * one[name] for w, one in zip(weights, found, strict=True) if name in one))
            / float(weights[has[name]].sum())
            for name in names
        }
        own = {f"{s.name}/{k}": v for (_, s), one in zip(shares, found, strict=True) for k, v in one.items()}
        return pooled | own

    return validate


def _validate_one(
    stage: "Stage", config: ConfigDict, share: Share, split: str, mesh: jax.sharding.Mesh, skip: Skip | None
) -> Validate:
    """Of one record set."""
    batch_size = share.batch_size
    count = count_batches(share.records, split=split, batch_size=batch_size)
    count = min(count, config.get("validate_batches", None) or count)
    place = batch_sharding(mesh)
    # Whole on every host, which could not read its part of a spread one.
    evaluate = jax.jit(stage.validation_loss or stage.loss, out_shardings=replicated(mesh))

    def validate(params: Tree, frozen: Tree, rng: jax.Array) -> dict[str, float]:
        data = batches(
            share.records,
            split=split,
            batch_size=batch_size,
            seed=0,
            modalities=stage.modalities,
            once=True,
            host=(jax.process_index(), jax.process_count()),
            threads=config.data.get("threads", 2),
            skip=skip,
        )
        sums: dict[str, np.ndarray] = {}
        with closing(data):
            for k in range(count):
                batch = to_global(next(data), place, batch_size)
                loss, metrics = jax.device_get(evaluate(params, frozen, batch, jax.random.fold_in(rng, k)))
                for name, pair in {"loss": (loss, 1.0), **metrics}.items():
                    sums[name] = sums.get(name, np.zeros(2)) + np.asarray(pair, np.float64)
        return means(sums)

    return validate


def _metric_of(metrics: Mapping[str, float], metric: str, option: str) -> float:
    if metric not in metrics:
        raise UsageError(f"{option} is {metric!r}; validation gives {', '.join(metrics)}")
    return metrics[metric]


def _best_of(config: ConfigDict, split: str | None) -> Best | None:
    options = config.get("best", ConfigDict())
    metric, patience = options.get("metric", ""), options.get("patience", 0)
    if patience < 0 or (patience and not metric):
        raise UsageError(f"config.best is {dict(options)}; expected a metric of validation, and a patience from 0")
    if not metric:
        return None
    if split is None:
        raise UsageError(f"config.best.metric {metric!r} needs a validation split: set config.data.validation")
    return Best(metric=metric, patience=patience)
