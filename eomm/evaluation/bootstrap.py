"""How sure a score is: bootstrap intervals over groups, paired differences between methods.

Rows of one group (a tower's days, a field's pixels) are not independent, so whole groups are drawn. A score is a
function of sums over rows (squared errors, counts, a confusion matrix), so that every resampled score costs a product
of matrices and nothing is predicted again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from eomm.evaluation.rounding import rounded

RESAMPLES = 4000
FEWEST_GROUPS = 5  # below it no interval is given: the groups cannot tell how much groups differ
LEVEL = 0.95

Statistic = Callable[[Float[np.ndarray, "*r k"]], Float[np.ndarray, "*r"]]


class Resampling:
    """The same drawn groups for every score, so that differences are paired.

    Intervals are expanded percentile intervals (Hesterberg 2015, The American Statistician 69, 371): quantiles of the
    resampled scores at levels that a t distribution with groups - 1 degrees of freedom widens, since plain
    percentiles are too narrow for few groups.
    """

    def __init__(self, group: Shaped[np.ndarray, " n"], *, seed: int = 0, resamples: int = RESAMPLES):
        """Draw from the groups of these rows.

        Args:
            group: of every row.
            seed: of the draws.
            resamples: how many.
        """
        self.names, self._index = np.unique(np.asarray(group), return_inverse=True)
        count = len(self.names)
        draws = np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=resamples)
        self._draws = draws.astype(np.float64)

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
    ) -> dict[str, Any]:
        """A score and its 95 % interval.

        Args:
            statistic: sums [..., k] to scores [...]; NaN where there is none, such as R2 of equal targets.
            moments: what a row adds to the sums.
            independent: groups on which the score rests where these are fewer than have rows: of the rarest class,
                for a mean over classes.

        Returns:
            `value` and `interval` ([low, high], or None with fewer than five groups, or one independent one); None
            for what is not finite.
        """
        sums = self.sums(moments)
        return self._summary(statistic(sums.sum(0)), statistic(self._draws @ sums), sums, independent)

    def difference(
        self,
        statistic: Statistic,
        first: Float[np.ndarray, "n k"],
        second: Float[np.ndarray, "n k"],
        *,
        independent: int | None = None,
    ) -> dict[str, Any]:
        """The first method's score minus the second's on the same rows, its interval, and whether it is `resolved`.

        Resolved: the interval does not hold 0. None where there is no interval.
        """
        a, b = self.sums(first), self.sums(second)
        value = statistic(a.sum(0)) - statistic(b.sum(0))
        found = self._summary(value, statistic(self._draws @ a) - statistic(self._draws @ b), a, independent)
        interval = found["interval"]
        return found | {"resolved": None if interval is None else not interval[0] <= 0 <= interval[1]}

    def _summary(
        self,
        value: Any,
        drawn: Float[np.ndarray, " r"],
        sums: Float[np.ndarray, "g k"],
        independent: int | None,
    ) -> dict[str, Any]:
        groups = int((sums != 0).any(1).sum())
        fewest = groups if independent is None else min(groups, independent)
        drawn = drawn[np.isfinite(drawn)]
        interval = None
        if groups >= FEWEST_GROUPS and fewest > 1 and len(drawn):
            interval = [rounded(q) for q in np.quantile(drawn, expanded_levels(fewest))]
        return {"value": rounded(value), "interval": interval}


def expanded_levels(groups: int, level: float = LEVEL) -> Float[np.ndarray, "2"]:
    """Levels of the quantiles between which an interval from so many groups lies."""
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    return np.asarray(stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(tails, groups - 1)))


def mean_of(sums: Float[np.ndarray, "*r 2"]) -> Float[np.ndarray, "*r"]:
    """The statistic of moments (value, 1): a mean over rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def words(
    estimate: Mapping[str, Any] | None,
    digits: int = 2,
    *,
    signed: bool = False,
    few: str = " (too few groups for an interval)",
) -> str:
    """A figure with its interval for people: `0.68 (0.58 to 0.74)`.

    Args:
        estimate: as `Resampling` gives it; None for none.
        digits: behind the point.
        signed: with its sign, for differences.
        few: said where there is no interval.
    """
    if estimate is None or estimate["value"] is None:
        return "none"
    value, *ends = (
        f"{round(x, digits) + 0.0:{'+' if signed else ''}.{digits}f}"  # never -0.00
        for x in (estimate["value"], *(estimate["interval"] or ()))
    )
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value + few
