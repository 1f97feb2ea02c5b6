"""Whether a vector lies among those that a head was fitted on: a distance, and the limit of what it can tell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LIMIT_SHARE = 0.99  # of held-out rows lie within the limit


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Mahalanobis distance to the rows of a fit, over the root of the vectors' length: about 1 for those rows.

    Attributes:
        mean: of the rows.
        whiten: makes their covariance the unit matrix.
        limit: what is farther is outside: 99 % of the rows lay within while their group was held out.
    """

    mean: Float[np.ndarray, " k"]
    whiten: Float[np.ndarray, "k k"]
    limit: float = np.inf

    def distance(self, x: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        """Of vectors."""
        return np.asarray(np.sqrt(np.mean(((x - self.mean) @ self.whiten) ** 2, axis=1)))

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved."""
        return {"mean": self.mean, "whiten": self.whiten, "limit": np.array([self.limit])}

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> "Seen":
        """Inverse of `arrays`."""
        return Seen(mean=arrays["mean"], whiten=arrays["whiten"], limit=float(arrays["limit"][0]))


def fit_seen(x: Float[np.ndarray, "n k"]) -> Seen:
    """Of rows, without a limit. With few rows the covariance is drawn towards a sphere, by k / (n + k)."""
    x = x.astype(np.float64)
    rows, length = x.shape
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / rows
    spread = max(float(np.trace(covariance)) / length, 1e-12)
    share = length / (rows + length)
    values, vectors = np.linalg.eigh((1 - share) * covariance + share * spread * np.eye(length))
    return Seen(mean=mean, whiten=vectors / np.sqrt(values))


def limit_of(distance: Float[np.ndarray, " n"]) -> float:
    """The limit from the distances of held-out rows."""
    return float(np.quantile(distance, LIMIT_SHARE, method="higher"))
