"""Which step's parameters a run ends with, and when it ends early, by a metric of validation. Not the learning rate."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from eomm.errors import UsageError


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

    def after(self, step: int, found: Mapping[str, float]) -> "Best":
        """What it is after a validation at `step`; NaN is no best.

        Raises:
            UsageError: validation gives no such metric.
        """
        value = metric_of(found, self.metric, "config.best.metric")
        better = value < float("inf") if self.value is None else value < self.value
        if better:
            return dataclasses.replace(self, value=value, step=step, stale=0)
        return dataclasses.replace(self, stale=self.stale + 1)

    @property
    def ends(self) -> bool:
        """Whether the run is over."""
        return 0 < self.patience <= self.stale

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON types; `restored` is its inverse."""
        return {"value": self.value, "step": self.step, "stale": self.stale}

    def restored(self, saved: Mapping[str, Any]) -> "Best":
        """As it stood when a checkpoint was saved."""
        return dataclasses.replace(self, **saved)


def metric_of(found: Mapping[str, float], metric: str, option: str) -> float:
    """A metric of a validation. Raises UsageError, naming the configuration's `option`, where there is none such."""
    if metric not in found:
        raise UsageError(f"{option} is {metric!r}; validation gives {', '.join(found)}")
    return found[metric]


def make_best(config: ConfigDict, validation: str | None) -> Best | None:
    """What a configuration asks for with `best.metric` and `best.patience`; None where it names no metric.

    Raises:
        UsageError: the patience is negative or has no metric, or there is no validation split.
    """
    options = config.get("best", ConfigDict())
    metric, patience = options.get("metric", ""), options.get("patience", 0)
    if patience < 0 or (patience and not metric):
        raise UsageError(f"config.best is {dict(options)}; expected a metric of validation, and a patience from 0")
    if not metric:
        return None
    if validation is None:
        raise UsageError(f"config.best.metric {metric!r} needs a validation split: set config.data.validation")
    return Best(metric=metric, patience=patience)
