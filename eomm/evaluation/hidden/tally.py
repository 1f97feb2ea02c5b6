"""Errors of several methods on the same targets: means over dates, intervals, paired differences."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32

from eomm.data.grid import to_date
from eomm.evaluation.bootstrap import Resampling, mean_of, ratio
from eomm.evaluation.result import Better, Difference, Estimate, rounded

RESAMPLES = 2000
FEWEST_DATES = 4  # below it no interval is given
SEASONS = {  # by month, so that it reads the same on both hemispheres
    "Dec-Feb": (12, 1, 2),
    "Mar-May": (3, 4, 5),
    "Jun-Aug": (6, 7, 8),
    "Sep-Nov": (9, 10, 11),
}


@dataclass(frozen=True, kw_only=True)
class MethodScore(Estimate):
    """A mean over dates of the mean over pixels and bands; the median of pixels, and means of bands and of dates."""

    median: float | None = None
    per_band: tuple[float | None, ...] = ()
    per_date: tuple[float | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of several methods on the same targets.

    Attributes:
        pixels: scored, all dates together.
        pixels_per_date: the same by date.
        dates: that have any.
        methods: by name.
        difference: of one method minus each of the others.
    """

    pixels: int
    pixels_per_date: tuple[int, ...]
    dates: int
    methods: Mapping[str, MethodScore] = field(default_factory=dict)
    difference: Mapping[str, Difference] = field(default_factory=dict)


class Tally:
    """Absolute errors by region, case (what is hidden) and method.

    The score of a method is the mean over dates of the mean over a date's pixels and bands, so that a clear date
    counts no more than a half-clear one. Intervals resample dates: pixels of a date are not independent.
    """

    def __init__(self, dates: int, bands: int, *, seed: int):
        self._sums: dict[tuple[str, Hashable, str], Float[np.ndarray, "d c"]]
        self._sums = defaultdict(lambda: np.zeros((dates, bands)))
        self._counts: dict[tuple[str, Hashable], Float[np.ndarray, " d"]] = defaultdict(lambda: np.zeros(dates))
        self._pixels: dict[tuple[str, Hashable, str], list[np.ndarray]] = defaultdict(list)
        # one resampling for everything, so that differences are paired
        drawn = np.random.default_rng([seed, dates]).integers(0, dates, (RESAMPLES, dates))
        weights = np.stack([np.bincount(row, minlength=dates) for row in drawn]).astype(float)
        self._draws = Resampling(np.arange(dates), fewest=FEWEST_DATES, weights=weights)

    def add(
        self,
        case: Hashable,
        truth: Float32[np.ndarray, "d p c"],
        predicted: Mapping[str, Float32[np.ndarray, "d p c"]],
        masks: Mapping[str, Bool[np.ndarray, "d p"]],
    ) -> None:
        """Count the targets in `masks` (by region) for every method."""
        for region, mask in masks.items():
            if not mask.any():
                continue
            self._counts[region, case] += mask.sum(1)
            for method, values in predicted.items():
                error = np.where(mask[..., None], np.abs(values - truth), 0)
                self._sums[region, case, method] += error.sum(1, dtype=np.float64)
                self._pixels[region, case, method].append(error[mask].mean(-1).astype(np.float32))

    def count(self, region: str, case: Hashable) -> Float[np.ndarray, " d"]:
        """Targets of every date."""
        return self._counts[region, case]

    def per_band(self, region: str, case: Hashable, method: str) -> Float[np.ndarray, "d c"]:
        """Mean absolute error of every date and band; NaN where a date has no pixel in the region."""
        return ratio(self._sums[region, case, method], self._counts[region, case][:, None])

    def per_date(self, region: str, case: Hashable, method: str) -> Float[np.ndarray, " d"]:
        """The same of every date, mean over bands."""
        return self.per_band(region, case, method).mean(1)

    def score(self, region: str, case: Hashable, method: str) -> MethodScore:
        """Of one method."""
        errors = self.per_band(region, case, method)
        return MethodScore(
            **vars(self.estimate(errors.mean(1))),
            median=rounded(np.median(np.concatenate(self._pixels[region, case, method]))),
            per_band=tuple(rounded(e) for e in np.nanmean(errors, axis=0)),
            per_date=tuple(rounded(e) for e in errors.mean(1)),
        )

    def summary(
        self,
        region: str,
        case: Hashable,
        methods: Mapping[str, tuple["Tally", str]],
        *,
        against: str,
        within: Bool[np.ndarray, " d"] | None = None,
    ) -> Scores:
        """Scores of `methods`, and the paired difference of the method `against` to each of the others.

        Args:
            region: of the tallies.
            case: of the tallies.
            methods: by the name they get, a tally of the same targets and the method's name there.
            against: one of them.
            within: dates that count, without medians and bands; all when None.
        """
        keep = np.ones(len(self._draws.names), bool) if within is None else within
        count = np.where(keep, self.count(region, case), 0).astype(int)
        scored = methods if count.any() else {}
        errors = {m: np.where(keep, t.per_date(region, case, name), np.nan) for m, (t, name) in scored.items()}
        if within is None:
            scores = {m: t.score(region, case, name) for m, (t, name) in scored.items()}
        else:
            scores = {m: MethodScore(**vars(self.estimate(e))) for m, e in errors.items()}
        return Scores(
            pixels=int(count.sum()),
            pixels_per_date=tuple(count.tolist()),
            dates=int((count > 0).sum()),
            methods=scores,
            difference={m: self.difference(errors[against], e) for m, e in errors.items() if m != against},
        )

    def by_season(
        self,
        region: str,
        case: Hashable,
        methods: Mapping[str, tuple["Tally", str]],
        days: Sequence[int],
        *,
        against: str,
    ) -> dict[str, Scores]:
        """`summary` of the targets of each season that has any, on `days`; below four dates without intervals."""
        month = np.array([to_date(d).month for d in days])
        found = {
            season: self.summary(region, case, methods, against=against, within=np.isin(month, months))
            for season, months in SEASONS.items()
        }
        return {season: scores for season, scores in found.items() if scores.dates}

    def difference(
        self, first: Float[np.ndarray, " d"], second: Float[np.ndarray, " d"], *, better: Better = "lower"
    ) -> Difference:
        """Of errors by date; less is better unless it is a gain."""
        return Difference(**vars(self.estimate(first - second)), better=better)

    def estimate(self, per_date: Float[np.ndarray, " d"]) -> Estimate:
        """Mean over dates and its 95 % interval from resampled dates, widened for how few they are."""
        known = np.isfinite(per_date)
        return self._draws.estimate(mean_of, np.stack([np.where(known, per_date, 0), known], axis=1).astype(float))
