"""Closed forms that stand beside any encoder: raw bands, smoothed, windows, the state, one-sided means, harmonics.

Constants are measured on training series (`closed_forms`). Every form is defined where the date itself is not valid.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from eomm.data.modality import SENTINEL2
from eomm.data.points import PointSeries
from eomm.errors import DataError
from eomm.evaluation.quality.learned import encoder_vectors
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.vectors import One, Vectors, beside, following, leading, per_series, principal, scaled
from eomm.models.state import StateEncoder, build_encoder
from eomm.training.noise import NEAR_DAYS, components, cut_outliers

SIGMA_DAYS = 12.0  # of the Gaussian mean
SIDE = 4  # dates before and after in the raw window
FEWEST = 100  # pairs of near dates from which noise is measured
ALL_DATES = (10**6, 10**6)  # before and after: no window
YEAR_DAYS = 365.2425
RIDGE = 3.0  # of the waves: of 0.1, 0.3, 1, 3, 10 the best on training places with 30 or 60 days hidden
COMPONENTS = 64


def _of_visible(form: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> One:
    """A function of the valid bands, their days and the days of the targets; zeros where nothing is valid."""

    @functools.wraps(form)
    def one(series: PointSeries, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n c"]:
        own, day = _visible(series)
        if not len(own):
            return np.zeros((len(at), series.values.shape[1]))
        return form(own, day, series.day[at].astype(np.float64))

    return one


@_of_visible
def nearest(own: np.ndarray, day: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The bands of the date itself, or of the nearest valid one where it is not valid (the earlier of two)."""
    return np.asarray(own[np.abs(target[:, None] - day[None]).argmin(1)])


@_of_visible
def gaussian(own: np.ndarray, day: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean of the valid dates, weighted by exp(-(days / 12)^2 / 2)."""
    return np.asarray(weigh(-0.5 * ((day[None] - target[:, None]) / SIGMA_DAYS) ** 2) @ own)


@_of_visible
def exponential(own: np.ndarray, day: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean of the valid dates, weighted by exp(-days / 30): what the state of a hidden date is in bands."""
    return np.asarray(weigh(-np.abs(day[None] - target[:, None]) / StateEncoder.tau_days) @ own)


@_of_visible
def linear(own: np.ndarray, day: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Linear interpolation in time between valid dates; constant beyond the first and last."""
    return np.stack([np.interp(target, day, column) for column in own.T], axis=1)


def window(series: PointSeries, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n w"]:
    """Bands of the date and of the four valid ones before and after it, and the days to these over 30.

    At the ends of a series the last date stands again.
    """
    own, day = _visible(series)
    if not len(own):
        return np.zeros((len(at), (2 * SIDE + 1) * len(BANDS) + 2 * SIDE))
    target, last = series.day[at], len(day) - 1
    before, after = np.searchsorted(day, target, "left") - 1, np.searchsorted(day, target, "right")
    steps = [np.clip(before - k, 0, last) for k in range(SIDE - 1, -1, -1)]
    steps += [np.clip(after + k, 0, last) for k in range(SIDE)]
    bands = [own[i] for i in steps[:SIDE]] + [nearest(series, at)] + [own[i] for i in steps[SIDE:]]
    days = [(day[i] - target)[:, None] / 30 for i in steps]
    return np.concatenate([*bands, *days], axis=1)


def difference(series: PointSeries, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n _"]:
    """Bands of the date, and what they differ by from the valid date before it; 0 where there is none."""
    own, day = _visible(series)
    here = nearest(series, at)
    if not len(own):
        return np.concatenate([here, here], axis=1)
    before = np.searchsorted(day, series.day[at], "left") - 1
    change = np.where((before >= 0)[:, None], here - own[np.maximum(before, 0)], 0)
    return np.concatenate([here, change], axis=1)


def harmonic(series: PointSeries, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n c"]:
    """What a yearly and a half-yearly wave through the valid dates say of the dates."""
    return _waves(series.day[at]) @ coefficients(series)


INTERPOLATORS: Mapping[str, One] = {"linear": linear, "Gaussian": gaussian, "harmonic": harmonic}
"""What a vector that predicts hidden dates must beat."""


def coefficients(series: PointSeries, *, ridge: float = RIDGE) -> Float[np.ndarray, "5 c"]:
    """Mean, yearly and half-yearly waves of each band through the valid dates, by penalised least squares."""
    own, day = _visible(series)
    if not len(own):
        return np.zeros((5, series.values.shape[1]))
    x, mean = _waves(day), own.mean(0)
    found = np.linalg.solve(x.T @ x + np.diag([0, 1, 1, 1, 1]) * ridge, x.T @ (own - mean))
    found[0] += mean
    return found


def state_encoder(sample: Sequence[PointSeries]) -> StateEncoder:
    """The closed form as models have it (`eomm.models.state`), over all dates of a series.

    Noise is measured on the sample: from differences between dates at most four days apart, as training does it.

    Raises DataError where fewer than 100 such differences are found.
    """
    steps, values = [], []
    for s in sample:
        own, day = _visible(s)
        steps.append(np.diff(own, axis=0)[np.diff(day) <= NEAR_DAYS])
        values.append(own)
    step, value = np.concatenate(steps), np.concatenate(values)
    if len(step) < FEWEST:
        raise DataError(
            f"{len(step)} pairs of dates at most {NEAR_DAYS} days apart; noise needs {FEWEST}; give more series"
        )
    options = {"mean": value.mean(0), "whiten": components(cut_outliers(step), value), "frames": ALL_DATES}
    return build_encoder(SENTINEL2, options)


def closed_forms(sample: Sequence[PointSeries]) -> dict[str, Vectors]:
    """All closed forms by name, their constants measured on training series."""

    def form(name: str, length: int, one: One, **options: bool) -> Vectors:
        return scaled(per_series(name, length, one), sample, **options)

    bands = len(BANDS)
    thirty = encoder_vectors(state_encoder(sample), SENTINEL2, {"encoder": {}, "fusion": None}, name="thirty numbers")
    raw_window = form("raw window", (2 * SIDE + 1) * bands + 2 * SIDE, window, by_column=True)
    state = replace(scaled(leading("state", thirty, bands), sample), state=bands)
    forms = [
        form("raw bands", bands, nearest),
        form("Gaussian mean", bands, gaussian),
        raw_window,
        scaled(principal("PCA of the window", raw_window, COMPONENTS, sample), sample),
        state,
        beside("thirty numbers", state, scaled(following("sides", thirty, bands), sample)),
        form("difference to the date before", 2 * bands, difference, by_column=True),
    ]
    return {f.name: f for f in forms}


def _visible(series: PointSeries) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " n"]]:
    return series.values[series.valid].astype(np.float64), series.day[series.valid].astype(np.float64)


def weigh(log: Float[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
    """Weights of a sum of 1 in every row, from their logarithms."""
    weight = np.exp(log - log.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def _waves(day: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, "n 5"]:
    turn = 2 * np.pi * np.asarray(day, np.float64) / YEAR_DAYS
    return np.stack([np.ones(len(turn)), np.cos(turn), np.sin(turn), np.cos(2 * turn), np.sin(2 * turn)], axis=1)
