"""The mean season of each site or plant type: the baseline that knows the day of year and nothing of the year."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

DAYS = 366
SMOOTHING_DAYS = 10.0  # standard deviation of the weights round a day of year
FEWEST = 2.0  # observations' worth of weight; with less, the curve of all labels is taken

EPOCH_DOY = np.datetime64("1970-01-01", "D")


@dataclass(frozen=True)
class Climatology:
    """A value for every label and day of year.

    Attributes:
        labels: with a curve of their own.
        curves: of each label, and last that of all labels together, for labels and days that have none.
        own: where a label's curve is its own, not that of all.
    """

    labels: Shaped[np.ndarray, " l"]
    curves: Float[np.ndarray, "l+1 366"]
    own: Bool[np.ndarray, "l 366"]

    def predict(self, label: Shaped[np.ndarray, " n"], day: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Values of rows; days since 1970-01-01."""
        at = np.searchsorted(self.labels, label)
        at = np.where(np.isin(label, self.labels), at, len(self.labels))
        return np.asarray(self.curves[at, day_of_year(day)])

    def knows(self, label: Shaped[np.ndarray, " n"]) -> np.ndarray:
        """Which labels have a curve of their own, on some days at least."""
        return np.isin(label, self.labels)

    def knows_day(self, label: Shaped[np.ndarray, " n"], day: Int[np.ndarray, " n"]) -> np.ndarray:
        """For which rows the value is the label's own."""
        known = self.knows(label)
        at = np.where(known, np.searchsorted(self.labels, label), 0)
        return known & self.own[at, day_of_year(day)]


def fit_climatology(
    label: Shaped[np.ndarray, " n"],
    day: Int[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    smoothing_days: float = SMOOTHING_DAYS,
) -> Climatology:
    """Mean of each label by day of year, smoothed round the year by a Gaussian; rows weigh equally.

    Args:
        label: site or plant type of every row.
        day: days since 1970-01-01.
        y: finite.
        smoothing_days: standard deviation.
    """
    labels, index = np.unique(label, return_inverse=True)
    doy = day_of_year(day)
    where = index * DAYS + doy
    total = np.bincount(where, y, len(labels) * DAYS).reshape(-1, DAYS)
    count = np.bincount(where, minlength=len(labels) * DAYS).reshape(-1, DAYS).astype(float)
    total, count = np.vstack([total, total.sum(0)]), np.vstack([count, count.sum(0)])
    near = kernel(smoothing_days)
    weight = count @ near
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = total @ near / weight
    curves[-1] = np.where(weight[-1] > 0, curves[-1], y.mean())
    own = weight >= FEWEST
    curves = np.where(own, curves, curves[-1])
    return Climatology(labels, curves, own[:-1])


@cache
def kernel(smoothing_days: float) -> Float[np.ndarray, "366 366"]:
    """Weights between days of year, 1 on the day itself, none beyond four standard deviations."""
    apart = np.abs(np.subtract.outer(np.arange(DAYS), np.arange(DAYS)))
    apart = np.minimum(apart, DAYS - apart)
    weight = np.exp(-0.5 * (apart / smoothing_days) ** 2)
    return np.asarray(np.where(apart > 4 * smoothing_days, 0, weight))


def day_of_year(day: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """0 on 1 January; days since 1970-01-01."""
    when = EPOCH_DOY + np.asarray(day).astype("timedelta64[D]")
    return np.asarray((when - when.astype("datetime64[Y]").astype("datetime64[D]")).astype(int))


def year_of(day: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Calendar year; days since 1970-01-01."""
    return np.asarray((EPOCH_DOY + np.asarray(day).astype("timedelta64[D]")).astype("datetime64[Y]").astype(int) + 1970)


def left_out_years(
    site: Shaped[np.ndarray, " n"], day: Int[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """For every row the season of its site in the site's other years; NaN where those have too few days near it.

    What a row's target is minus this is its anomaly. For scores only: it may know years that a model does not.
    """
    year = year_of(day)
    found = np.full(len(y), np.nan)
    for one in np.unique(year):
        out = year == one
        rest = fit_climatology(site[~out], day[~out], y[~out]) if (~out).any() else None
        if rest is not None:
            own = rest.knows_day(site[out], day[out])
            found[out] = np.where(own, rest.predict(site[out], day[out]), np.nan)
    return found
