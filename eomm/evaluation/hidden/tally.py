"""Errors of several methods on the same targets: means over dates, intervals, paired differences."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from eomm.data.grid import to_date
from eomm.evaluation.bootstrap import expanded_levels
from eomm.evaluation.rounding import rounded

RESAMPLES = 2000
FEWEST_DATES = 4  # below it no interval is given


class Tally:
    """Absolute errors by region, condition (a gap) and method.

    The score of a method is the mean over dates of the mean over a date's pixels and bands, so that a clear date
    counts no more than a half-clear one. Intervals resample dates: pixels of a date are not independent.
    """

    def __init__(self, dates: int, bands: int, *, seed: int):
        self._dates = dates
        self._sums: dict[tuple[str, str, str], Float[np.ndarray, "d c"]] = defaultdict(lambda: np.zeros((dates, bands)))
        self._counts: dict[tuple[str, str], Float[np.ndarray, " d"]] = defaultdict(lambda: np.zeros(dates))
        self._pixels: dict[tuple[str, str, str], list[np.ndarray]] = defaultdict(list)
        # one resampling for everything, so that differences are paired
        self._draws = np.random.default_rng([seed, dates]).integers(0, dates, (RESAMPLES, dates))

    def add(
        self,
        condition: str,
        truth: Float32[np.ndarray, "d p c"],
        predicted: Mapping[str, Float32[np.ndarray, "d p c"]],
        masks: Mapping[str, Bool[np.ndarray, "d p"]],
    ) -> None:
        """Count the targets in `masks` (by region) for every method."""
        for region, mask in masks.items():
            if not mask.any():
                continue
            self._counts[region, condition] += mask.sum(1)
            for method, values in predicted.items():
                error = np.where(mask[..., None], np.abs(values - truth), 0)
                self._sums[region, condition, method] += error.sum(1, dtype=np.float64)
                self._pixels[region, condition, method].append(error[mask].mean(-1).astype(np.float32))

    def per_date(self, region: str, condition: str, method: str) -> Float[np.ndarray, "d c"]:
        """Mean absolute error of every date and band; NaN where a date has no pixel in the region."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._sums[region, condition, method] / self._counts[region, condition][:, None]

    def summary(
        self, region: str, condition: str, methods: Sequence[str], *, against: str | None = None
    ) -> dict[str, Any]:
        """Scores of `methods`, and the paired difference of the method `against` to each of the others."""
        count = self._counts[region, condition]
        out: dict[str, Any] = {
            "pixels": int(count.sum()),
            "pixels_per_date": [int(n) for n in count],
            "dates": int((count > 0).sum()),
            "methods": {},
            "difference": {},
        }
        if not count.any():
            return out
        dates = {m: self.per_date(region, condition, m) for m in methods}
        for method, errors in dates.items():
            out["methods"][method] = self.estimate(errors.mean(1)) | {
                "median": rounded(np.median(np.concatenate(self._pixels[region, condition, method]))),
                "per_band": [rounded(e) for e in np.nanmean(errors, axis=0)],
                "per_date": [rounded(e) for e in errors.mean(1)],
            }
            if against and method != against:
                out["difference"][method] = self.estimate((dates[against] - errors).mean(1))
        return out

    def estimate(self, per_date: Float[np.ndarray, " d"]) -> dict[str, Any]:
        """Mean over dates and its 95 % interval from resampled dates, widened for how few they are."""
        known = np.isfinite(per_date)
        result: dict[str, Any] = {"mean": rounded(per_date[known].mean()) if known.any() else None, "interval": None}
        if known.sum() >= FEWEST_DATES:
            drawn = per_date[self._draws]
            drawn = np.nanmean(drawn[np.isfinite(drawn).any(1)], axis=1)
            result["interval"] = [rounded(q) for q in np.quantile(drawn, expanded_levels(int(known.sum())))]
        return result


def by_season(
    tally: Tally, region: str, condition: str, methods: Sequence[str], days: Sequence[int], *, against: str
) -> dict[str, Any]:
    """Scores of the targets of each season that has any.

    Args:
        tally: of all targets.
        region: of the tally.
        condition: of the tally.
        methods: scored.
        days: of the targets.
        against: the method whose paired difference to each of the others is given.

    Returns:
        {season: {"dates", "methods": {method: estimate}, "difference": {method: estimate}}}; below four dates an
        estimate has no interval.
    """
    month = np.array([to_date(d).month for d in days])
    errors = {m: tally.per_date(region, condition, m).mean(1) for m in methods}
    scored = np.isfinite(errors[against])
    found = {}
    for season, months in SEASONS.items():
        inside = np.isin(month, months) & scored
        if not inside.any():
            continue
        own = {m: np.where(inside, e, np.nan) for m, e in errors.items()}
        found[season] = {
            "dates": int(inside.sum()),
            "methods": {m: tally.estimate(e) for m, e in own.items()},
            "difference": {m: tally.estimate(own[against] - e) for m, e in own.items() if m != against},
        }
    return found


SEASONS = {  # by month, so that it reads the same on both hemispheres
    "Dec-Feb": (12, 1, 2),
    "Mar-May": (3, 4, 5),
    "Jun-Aug": (6, 7, 8),
    "Sep-Nov": (9, 10, 11),
}
