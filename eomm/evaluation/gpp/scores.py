"""Scores of predicted against measured fluxes: of all rows, of anomalies, of the growing season, of the tails.

Every score is a function of sums over rows (evaluation/bootstrap.py resamples sites), so that subsets and
anomalies are the same few numbers under a mask or minus a reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from eomm.evaluation.bootstrap import Resampling, Statistic, ratio
from eomm.evaluation.gpp.climatology import fit_climatology, left_out_years
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.result import Difference, rounded

GROWING = 0.25  # of the range of the site's mean season
TAIL = 0.1
SPLIT_SMOOTHING_DAYS = 15.0
LABEL_RESAMPLES = 2000
COMPONENTS = ("site", "season", "anomaly")


def moments(
    y: Float[np.ndarray, " n"], p: Float[np.ndarray, " n"], mask: Bool[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n 6"]:
    """Per row 1, y, y squared, error squared, error, |error|: all that the scores need; zero outside the mask."""
    e = p - y
    found = np.stack([np.ones_like(y), y, y**2, e**2, e, np.abs(e)], axis=-1)
    return found if mask is None else np.where(mask[:, None], found, 0)


def r2(s: Float[np.ndarray, "*r 6"]) -> Float[np.ndarray, "*r"]:
    """Share of the variance explained, 1 - squared error / variance round the mean of the scored rows."""
    variance = s[..., 2] - ratio(s[..., 1] ** 2, s[..., 0])
    return np.asarray(1 - ratio(s[..., 3], np.where(variance > 1e-9, variance, 0)))


def rmse(s: Float[np.ndarray, "*r 6"]) -> Float[np.ndarray, "*r"]:
    """Root mean squared error."""
    return np.asarray(np.sqrt(ratio(s[..., 3], s[..., 0])))


def mae(s: Float[np.ndarray, "*r 6"]) -> Float[np.ndarray, "*r"]:
    """Mean absolute error."""
    return ratio(s[..., 5], s[..., 0])


def bias(s: Float[np.ndarray, "*r 6"]) -> Float[np.ndarray, "*r"]:
    """Mean of predicted minus measured."""
    return ratio(s[..., 4], s[..., 0])


STATISTICS: Mapping[str, Statistic] = {"r2": r2, "rmse": rmse, "mae": mae, "bias": bias}
VIEWS = {
    "all": ("r2", "rmse", "mae", "bias"),
    "anomaly": ("r2", "rmse"),
    "growing season": ("r2", "rmse", "bias"),
    "highest tenth": ("rmse", "bias"),
    "lowest tenth": ("rmse", "bias"),
}
"""What is scored on which rows; `anomaly` is target and prediction minus the site's season in its other years, on
days near which those have enough measurements."""


@dataclass(frozen=True)
class Targets:
    """What is scored against, and the rows of each view; the same for every method."""

    y: Float[np.ndarray, " n"]
    reference: Float[np.ndarray, " n"]
    masks: Mapping[str, Bool[np.ndarray, " n"]]
    site: Shaped[np.ndarray, " n"]
    day: Int[np.ndarray, " n"]

    def moments(self, p: Float[np.ndarray, " n"], view: str) -> Float[np.ndarray, "n 6"]:
        """Of a method's predictions in a view; rows without a prediction (NaN) add nothing."""
        known = np.isfinite(p)
        p, mask = np.where(known, p, 0), self.masks[view] & known
        if view == "anomaly":
            reference = np.where(mask, self.reference, 0)
            return moments(self.y - reference, p - reference, mask)
        return moments(self.y, p, mask)


def make_targets(table: Table) -> Targets:
    """Views of all targets, tested or not: seasons and anomalies are known of a site, whoever predicts it.

    Nothing is scored in rows without a measurement.
    """
    site, day, y, known = table.site, table.day, table.gpp, table.scored
    reference, growing = np.full(len(y), np.nan), np.zeros(len(y), bool)
    reference[known] = left_out_years(site[known], day[known], y[known])
    curve = fit_climatology(site[known], day[known], y[known])
    low, high = curve.curves.min(1), curve.curves.max(1)
    here = np.searchsorted(curve.labels, site[known])
    growing[known] = curve.predict(site[known], day[known]) >= (low + GROWING * (high - low))[here]
    lowest, highest = np.quantile(y[known], (TAIL, 1 - TAIL))
    y = np.where(known, y, 0)
    masks = {
        "all": known,
        "anomaly": np.isfinite(reference),
        "growing season": growing,
        "highest tenth": known & (y >= highest),
        "lowest tenth": known & (y <= lowest),
    }
    return Targets(y, reference, masks, site, day)


def score(targets: Targets, p: Float[np.ndarray, " n"], draws: Resampling) -> Mapping[str, Mapping[str, Any]]:
    """Every statistic of VIEWS with its interval over the groups of `draws`."""
    out: dict[str, Any] = {}
    for view, names in VIEWS.items():
        found = targets.moments(p, view)
        out[view] = {"rows": int(found[:, 0].sum())}
        out[view] |= {n: draws.estimate(STATISTICS[n], found) for n in names}
    return out


def differences(
    targets: Targets, p: Float[np.ndarray, " n"], others: Mapping[str, Float[np.ndarray, " n"]], draws: Resampling
) -> Mapping[str, Mapping[str, Difference]]:
    """A method's RMSE and R2 minus each other's, on the same rows; also of the anomalies' RMSE."""
    out = {}
    for name, other in others.items():
        both = np.isfinite(p) & np.isfinite(other)
        pairs = {
            view: [targets.moments(np.where(both, x, np.nan), view) for x in (p, other)] for view in ("all", "anomaly")
        }
        out[name] = {
            "rmse": draws.difference(rmse, *pairs["all"], better="lower"),
            "r2": draws.difference(r2, *pairs["all"]),
            "anomaly rmse": draws.difference(rmse, *pairs["anomaly"], better="lower"),
        }
    return out


def by_label(
    targets: Targets, p: Float[np.ndarray, " n"], label: Shaped[np.ndarray, " n"], unit: Shaped[np.ndarray, " n"]
) -> Mapping[str, Mapping[str, Any]]:
    """Scores of every label, such as a plant type or a site; intervals draw `unit` (groups, or a site's months)."""
    out = {}
    for one in np.unique(label[np.isfinite(p)]):
        rows = np.flatnonzero((label == one) & np.isfinite(p))
        found, draws = targets.moments(p, "all")[rows], Resampling(unit[rows], resamples=LABEL_RESAMPLES)
        out[str(one)] = {"rows": len(rows), **{n: draws.estimate(f, found) for n, f in STATISTICS.items()}}
    return out


def split_variance(targets: Targets, p: Float[np.ndarray, " n"]) -> Mapping[str, Any]:
    """The targets' variance by component, and how much of each the predictions explain (1: all, below 0: harm).

    Site: a site's mean. Season: its smooth day-of-year curve round that. Anomaly: the rest, from day to day and from
    year to year. Predictions are divided in the same way. Only days near which the site has others count: `rows`.
    """
    known = np.flatnonzero(np.isfinite(p))
    curve = fit_climatology(
        targets.site[known], targets.day[known], targets.y[known], smoothing_days=SPLIT_SMOOTHING_DAYS
    )
    known = known[curve.knows_day(targets.site[known], targets.day[known])]
    if not len(known):
        return {"rows": 0, "parts": {name: {"share": None, "explained": None} for name in COMPONENTS}}
    y, p, site, day = targets.y[known], p[known], targets.site[known], targets.day[known]
    measured, predicted = _components(site, day, y), _components(site, day, p)
    total = sum(float((c**2).sum()) for c in measured.values())
    out = {}
    for name in COMPONENTS:
        own = float((measured[name] ** 2).sum())
        error = float(((measured[name] - predicted[name]) ** 2).sum())
        explained = rounded(1 - error / own) if own > 1e-9 else None
        out[name] = {"share": rounded(own / total) if total else None, "explained": explained}
    return {"rows": len(known), "parts": out}


def _components(
    site: Shaped[np.ndarray, " n"], day: Int[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " n"]]:
    index = np.unique(site, return_inverse=True)[1]
    mean = (np.bincount(index, y) / np.bincount(index))[index]
    season = fit_climatology(site, day, y, smoothing_days=SPLIT_SMOOTHING_DAYS).predict(site, day)
    return {"site": mean - y.mean(), "season": season - mean, "anomaly": y - season}
