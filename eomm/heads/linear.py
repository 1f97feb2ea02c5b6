"""A linear head: ridge regression, or the scores of multinomial logistic regression, in one form. Not how it is scored.

Both are those of `eomm evaluate` (baselines.py, probes/fit.py), with their standardisation folded into the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eomm.evaluation.baselines import fit_ridge
from eomm.evaluation.probes.fit import ProbeTask, fit_logistic


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Outputs are `x @ weights + bias`.

    Attributes:
        weights: by number of the vector and output.
        bias: of each output; -inf for a class that no row had.
    """

    weights: Float[np.ndarray, "k c"]
    bias: Float[np.ndarray, " c"]

    def outputs(self, x: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n c"]:
        """A number, or a score of each class."""
        return np.asarray(x.astype(np.float64) @ self.weights + self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved."""
        return {"weights": self.weights, "bias": self.bias}

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> "Linear":
        """Inverse of `arrays`."""
        return Linear(weights=arrays["weights"], bias=arrays["bias"])


def ridge(
    x: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> tuple[Linear, float]:
    """Fit numbers, and the penalty that was best on groups left out."""
    fitted = fit_ridge(x, y[:, None], group)
    weights = fitted.weights / fitted.scale[:, None]
    return Linear(weights=weights, bias=fitted.bias - fitted.mean @ weights), fitted.penalty


def logistic(
    x: Float[np.ndarray, "n k"], y: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"], classes: int
) -> tuple[Linear, float]:
    """Fit classes, which count equally, and the penalty that was best on groups left out."""
    scaler, fitted, penalty = fit_logistic(x, y, group, ProbeTask(classes))
    weights = fitted.weights if scaler.basis is None else scaler.basis @ fitted.weights
    weights = weights / scaler.scale[:, None]
    bias = np.where(fitted.absent, -np.inf, fitted.bias - scaler.mean @ weights)
    return Linear(weights=weights, bias=bias), penalty
