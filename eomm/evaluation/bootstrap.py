"""How sure a score is: bootstrap intervals over groups, paired differences between methods.

Rows of one group (a tower's days, a field's pixels) are not independent, so whole groups are drawn. A score is a
function of sums over rows (squared errors, counts, a confusion matrix), so that every resampled score costs a product
of matrices and nothing is predicted again.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from eomm.evaluation.result import Better, Difference, Estimate, rounded

RESAMPLES = 4000
FEWEST_GROUPS = 5  # below it no interval is given: the groups cannot tell how much groups differ
LEVEL = 0.95

Weights = Float[np.ndarray, "r g"]  # how often each group is drawn
Statistic = Callable[[Float[np.ndarray, "*r k"]], Float[np.ndarray, "*r"]]


def draws(count: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Weights:
    """How often each of so many groups is drawn, the same for every method, so that differences are paired."""
    drawn = np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn.astype(np.float64)


def interval_of(drawn: Float[np.ndarray, " r"], groups: int) -> tuple[float, float] | None:
    """An expanded percentile interval of resampled scores; None where none is finite.

    Hesterberg 2015, The American Statistician 69, 371: quantiles at levels that a t distribution with groups - 1
    degrees of freedom widens, since plain percentiles are too narrow for few groups.
    """
    kept = drawn[np.isfinite(drawn)]
    if groups < 2 or not len(kept):
        return None
    low, high = (round(float(q), 6) for q in np.quantile(kept, expanded_levels(groups)))
    return low, high


class Resampling:
    """The same drawn groups for every score, so that differences are paired."""

    def __init__(
        self,
        group: Shaped[np.ndarray, " n"],
        *,
        seed: int = 0,
        resamples: int = RESAMPLES,
        fewest: int = FEWEST_GROUPS,
        weights: Weights | None = None,
    ):
        """Draw from the groups of these rows.

        Args:
            group: of every row.
            seed: of the draws.
            resamples: how many.
            fewest: groups for an interval.
            weights: how often each group, in order, was drawn; by `draws` when None.
        """
        self.names, self._index = np.unique(np.asarray(group), return_inverse=True)
        self._weights = draws(len(self.names), seed=seed, resamples=resamples) if weights is None else weights
        self._fewest = fewest

    @property
    def groups(self) -> int:
        """How many groups are drawn from."""
        return len(self.names)

    def sums(self, moments: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "g k"]:
        """Rows to sums over groups. Rows that are not scored must be zero."""
        out = np.zeros((self.groups, moments.shape[1]))
        np.add.at(out, self._index, moments)
        return out

    def estimate(
        self, statistic: Statistic, moments: Float[np.ndarray, "n k"], *, independent: int | None = None
    ) -> Estimate:
        """A score and its 95 % interval.

        Args:
            statistic: sums [..., k] to scores [...]; NaN where there is none, such as R2 of equal targets.
            moments: what a row adds to the sums.
            independent: groups on which the score rests where these are fewer than have rows: of the rarest class,
                for a mean over classes.

        Returns:
            Without an interval where fewer than `fewest` groups have rows, or one is independent.
        """
        sums = self.sums(moments)
        return Estimate(**self._about(statistic(sums.sum(0)), statistic(self._weights @ sums), sums, independent))

    def difference(
        self,
        statistic: Statistic,
        first: Float[np.ndarray, "n k"],
        second: Float[np.ndarray, "n k"],
        *,
        better: Better = "higher",
        independent: int | None = None,
    ) -> Difference:
        """The first method's score minus the second's on the same rows."""
        a, b = self.sums(first), self.sums(second)
        drawn = statistic(self._weights @ a) - statistic(self._weights @ b)
        return Difference(
            **self._about(statistic(a.sum(0)) - statistic(b.sum(0)), drawn, a, independent), better=better
        )

    def _about(
        self, value: Any, drawn: Float[np.ndarray, " r"], sums: Float[np.ndarray, "g k"], independent: int | None
    ) -> dict[str, Any]:
        groups = int((sums != 0).any(1).sum())
        rests_on = groups if independent is None else min(groups, independent)
        interval = interval_of(drawn, rests_on) if groups >= self._fewest else None
        return {"value": rounded(value), "interval": interval, "groups": groups}


def expanded_levels(groups: int, level: float = LEVEL) -> Float[np.ndarray, "2"]:
    """Levels of the quantiles between which an interval from so many groups lies."""
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    return np.asarray(stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(tails, groups - 1)))


def mean_of(sums: Float[np.ndarray, "*r 2"]) -> Float[np.ndarray, "*r"]:
    """The statistic of moments (value, 1): a mean over rows."""
    return ratio(sums[..., 0], sums[..., 1])


def ratio(top: Any, bottom: Any) -> np.ndarray:
    """Of numbers or arrays that broadcast; NaN where there is nothing below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(bottom == 0, np.nan, top / bottom))
