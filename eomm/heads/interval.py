"""How far off a head may be: conformal intervals from groups that were held out, and how often they held there.

Rows of a group (a tower, a field, a year) are no independent witnesses: groups are. The quantile is that of Lee, Barber
and Willett (2023), "Distribution-free inference with hierarchical data" (HCP): every group weighs the same, and one
more, the group to come, has an infinite error. A head is fitted on all groups after they were held out in turn, as in
cross-conformal prediction (Vovk 2015).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eomm.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A conformal interval.

    Attributes:
        asked: the level that was wished.
        level: the level it has: lower where there are too few groups for more (G of them allow G / (G + 1)).
        score: errors up to this are inside: |measured - predicted|, or 1 - the probability of the true class.
        groups: held out.
        coverage: mean over groups of the share of their rows inside an interval from the other groups.
        rows: the same over rows.
    """

    asked: float
    level: float
    score: float
    groups: int
    coverage: float
    rows: float

    def words(self, held_out: str, unit: str | None) -> str:
        """What it is, in a sentence.

        Args:
            held_out: the groups, such as "2 years".
            unit: of numbers; None of classes.
        """
        what = f"{self.level:.0%} conformal {'set' if unit is None else 'interval'}"
        few = f", since {self.groups} groups allow no {self.asked:.0%}" if self.level < self.asked else ""
        told = f"of what was held out ({held_out}) it covered {self.coverage:.0%}"
        if unit is None:
            return f"set_size: how many classes the {what} has{few}; {told}"
        width = f"{self.score:.3g} {unit}".strip()
        return f"low and high: prediction ± {width} everywhere alike, a {what}{few}; {told}"


def conformal(score: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], level: float) -> Interval:
    """The interval from the errors of rows while they were held out.

    Args:
        score: of every row.
        group: of every row.
        level: wished, such as 0.9.

    Raises:
        UsageError: the level is not between 0 and 1, or there are fewer than two groups.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}: expected a share between 0 and 1, such as 0.9")
    names, index = np.unique(group, return_inverse=True)
    count = len(names)
    if count < 2:
        raise UsageError("one group was held out; an interval needs at least two")
    inside = np.zeros(len(score), bool)
    for i in range(count):
        mine = index == i
        inside[mine] = score[mine] <= quantile(score[~mine], index[~mine], reached(level, count - 1))
    by_group = np.bincount(index, inside) / np.bincount(index)
    return Interval(
        asked=level,
        level=reached(level, count),
        score=quantile(score, index, reached(level, count)),
        groups=count,
        coverage=float(by_group.mean()),
        rows=float(inside.mean()),
    )


def reached(level: float, groups: int) -> float:
    """The level that so many groups allow."""
    return min(level, groups / (groups + 1))


def quantile(score: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], level: float) -> float:
    """The least score below or at which lies `level` of the weight, that of the group to come included."""
    _, index, size = np.unique(group, return_inverse=True, return_counts=True)
    weight = 1 / ((len(size) + 1) * size[index])
    order = np.argsort(score, kind="stable")
    total = np.cumsum(weight[order])
    first = min(int(np.searchsorted(total, level - 1e-9)), len(score) - 1)
    return float(score[order][first])
