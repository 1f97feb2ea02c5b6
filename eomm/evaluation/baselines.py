"""What a reconstruction must beat: a pixel's own series without learning, and linear models. NumPy, all pixels at once.

A method gets a `Observations` from which everything hidden has been removed, so that nothing hidden can leak into it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

ALPHAS = tuple(10.0**k for k in range(-4, 4))  # ridge penalties tried, per row and unit variance
YEAR_DAYS = 365.25
WAVE_PENALTY = 3.0  # observations' worth; best of 0.1 to 10 on the test dates of Flanders, in the baseline's favour


@dataclass(frozen=True, kw_only=True)
class Observations:
    """The observations that a method may see, in physical units.

    Attributes:
        values: anything finite where not valid.
        valid: of every pixel.
        day: days since 1970-01-01, ascending.
    """

    values: Float32[np.ndarray, "t p c"]
    valid: Bool[np.ndarray, "t p"]
    day: Int32[np.ndarray, " t"]

    @classmethod
    def of_map(
        cls, values: Float32[np.ndarray, "t y x c"], valid: Bool[np.ndarray, "t y x"], day: Int32[np.ndarray, " t"]
    ) -> "Observations":
        """Of the pixels of a map, row by row."""
        count = len(values)
        return cls(values=values.reshape(count, -1, values.shape[-1]), valid=valid.reshape(count, -1), day=day)

    def without(self, hidden: Bool[np.ndarray, " t"]) -> "Observations":
        """The series without the hidden acquisitions."""
        keep = ~hidden
        return Observations(values=self.values[keep], valid=self.valid[keep], day=self.day[keep])

    def at(self, index: Int[np.ndarray, " p"], exists: Bool[np.ndarray, " p"]) -> Float32[np.ndarray, "p c"]:
        """Each pixel's values at its own acquisition, NaN where there is none."""
        if not len(self.day):
            return np.full(self.values.shape[1:], np.nan, np.float32)
        return np.where(exists[:, None], self.values[index, np.arange(len(index))], np.float32(np.nan))


def neighbours(
    series: Observations, day: int, count: int
) -> list[tuple[Int[np.ndarray, " p"], Bool[np.ndarray, " p"], Int[np.ndarray, " p"]]]:
    """The `count` valid observations up to `day`, nearest first, then the `count` after it.

    Returns:
        (index, exists, days from the target) per neighbour, each [pixels].
    """
    split = int(np.searchsorted(series.day, day, side="right"))
    found = []
    for valid, place in (
        (series.valid[:split][::-1], lambda i: split - 1 - i),
        (series.valid[split:], lambda i: split + i),
    ):
        seen = np.cumsum(valid, axis=0)
        for rank in range(1, count + 1):
            if not len(valid):
                nothing = np.zeros(valid.shape[1], np.int64)
                found.append((nothing, nothing.astype(bool), nothing))
                continue
            index = place(np.argmax(seen >= rank, axis=0))
            exists = seen[-1] >= rank
            found.append((index, exists, np.where(exists, series.day[index].astype(np.int64) - day, 0)))
    return found


def nearest(series: Observations, day: int) -> Float32[np.ndarray, "p c"]:
    """The valid observation nearest in time; of two equally near, the earlier. NaN where there is none."""
    (i, has_before, before), (j, has_after, after) = neighbours(series, day, 1)
    earlier = has_before & (~has_after | (-before <= after))
    return series.at(np.where(earlier, i, j), has_before | has_after)


def linear(series: Observations, day: int) -> Float32[np.ndarray, "p c"]:
    """Linear in time between the valid observations on both sides; beyond the ends the last one."""
    (i, has_before, before), (j, has_after, after) = neighbours(series, day, 1)
    both = has_before & has_after
    share = np.where(both, -before / np.maximum(after - before, 1), np.where(has_before, 0.0, 1.0))
    share = share.astype(np.float32)[:, None]
    first = np.where((has_before)[:, None], series.at(i, has_before), series.at(j, has_after))
    second = np.where((has_after)[:, None], series.at(j, has_after), first)
    return first * (1 - share) + second * share


def gaussian(series: Observations, day: int, sigma_days: float) -> Float32[np.ndarray, "p c"]:
    """Mean of the valid observations, weighted by a Gaussian of their distance in time. NaN where there is none."""
    if not len(series.day):
        return np.full(series.values.shape[1:], np.nan, np.float32)
    exponent = -0.5 * ((series.day - day) / sigma_days)[:, None] ** 2
    exponent = np.where(series.valid, exponent, -np.inf)
    top = exponent.max(axis=0)
    # relative to the nearest observation's weight, which would underflow in a long gap
    weight = np.exp(exponent - np.where(np.isfinite(top), top, 0)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return (
            np.einsum("tp,tpc->pc", weight, np.where(series.valid[..., None], series.values, 0))
            / weight.sum(0)[:, None]
        )


def harmonic(series: Observations, day: int) -> Float32[np.ndarray, "p c"]:
    """The pixel's own year: mean, annual and semi-annual wave, by regularised least squares. NaN where there is none.

    The waves are shrunk towards none by `WAVE_PENALTY` observations' worth, as far as a pixel's dates leave them open;
    the mean is not. Unlike the interpolations it can know a season from another year, or from its other half.
    """
    if not len(series.day):
        return np.full(series.values.shape[1:], np.nan, np.float32)
    waves = year_waves(series.day)
    seen = series.valid.astype(np.float32)
    pixels, terms = seen.shape[1], waves.shape[1]
    moments = (seen.T @ (waves[:, :, None] * waves[:, None]).reshape(len(waves), -1)).reshape(pixels, terms, terms)
    moments += np.diag([0.0] + [WAVE_PENALTY] * (terms - 1)).astype(np.float32)
    nothing: np.ndarray = ~np.asarray(series.valid.any(0))
    moments[nothing] += np.eye(terms, dtype=np.float32)
    # about the pixel's mean, so that float32 serves
    kept = np.where(series.valid[..., None], series.values, 0)
    mean = kept.sum(0) / np.maximum(seen.sum(0), 1)[:, None]
    kept = np.where(series.valid[..., None], series.values - mean, 0)
    sums = (waves.T @ kept.reshape(len(kept), -1)).reshape(terms, pixels, -1).transpose(1, 0, 2)
    fitted = np.einsum("pkc,k->pc", np.linalg.solve(moments, sums), year_waves(np.array([day]))[0])
    return np.where(nothing[:, None], np.nan, mean + fitted).astype(np.float32)


def year_waves(day: Int[np.ndarray, " t"]) -> Float32[np.ndarray, "t 5"]:
    """One, and cosine and sine of the annual and the semi-annual wave."""
    angle = 2 * np.pi * day.astype(np.float64) / YEAR_DAYS
    waves = [np.ones(len(day)), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    return np.stack(waves, axis=1).astype(np.float32)


INTERPOLATIONS: Mapping[str, Callable[[Observations, int], Float32[np.ndarray, "p c"]]] = {
    "nearest": nearest,
    "linear": linear,
    "gaussian_12": lambda series, day: gaussian(series, day, 12.0),
    "gaussian_25": lambda series, day: gaussian(series, day, 25.0),
}
"""What interpolates a pixel's neighbouring dates, by name; also the columns of `window_features`."""

SIMPLE: Mapping[str, Callable[[Observations, int], Float32[np.ndarray, "p c"]]] = {
    **INTERPOLATIONS,
    "harmonic": harmonic,
}
"""Baselines that learn nothing from other pixels, by name."""


def window_features(series: Observations, day: int, count: int = 3) -> Float32[np.ndarray, "p f"]:
    """The raw series round a target as a fixed number of columns, for linear models; finite where anything is valid.

    Every interpolation, and of the `count` valid observations on each side the bands and the distance in days. What
    is missing is filled from the nearest observation there is.
    """
    columns = [method(series, day) for method in INTERPOLATIONS.values()]
    fill = columns[0]
    for index, exists, days in neighbours(series, day, count):
        columns.append(np.where(exists[:, None], series.at(index, exists), fill))
        columns.append(np.where(exists, np.clip(days, -120, 120) / 60, 0).astype(np.float32)[:, None])
        columns.append(exists.astype(np.float32)[:, None])
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class Pca:
    """Principal components: the best linear compression to as many numbers."""

    mean: Float[np.ndarray, " f"]
    components: Float[np.ndarray, "k f"]

    def transform(self, x: Float[np.ndarray, "*n f"]) -> Float[np.ndarray, "*n k"]:
        """Rows to components."""
        return (x - self.mean) @ self.components.T

    def reconstruct(self, x: Float[np.ndarray, "*n f"]) -> Float[np.ndarray, "*n f"]:
        """Rows to components and back."""
        return self.transform(x) @ self.components + self.mean


def fit_pca(x: Float[np.ndarray, "n f"], count: int) -> Pca:
    """Principal components of the rows of `x`; at most as many as columns."""
    mean = x.mean(axis=0, dtype=np.float64)
    covariance = np.cov((x - mean).T.astype(np.float64), bias=True)
    _, vectors = np.linalg.eigh(np.atleast_2d(covariance))  # ascending
    return Pca(mean, vectors[:, ::-1][:, :count].T)


@dataclass(frozen=True)
class Ridge:
    """A ridge regression on standardised columns; `penalty` was chosen by leaving groups out."""

    mean: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, "f c"]
    bias: Float[np.ndarray, " c"]
    penalty: float

    def predict(self, x: Float[np.ndarray, "n f"]) -> Float32[np.ndarray, "n c"]:
        """Rows to predictions."""
        return (((x - self.mean) / self.scale) @ self.weights + self.bias).astype(np.float32)


def fit_ridge(
    x: Float[np.ndarray, "n f"], y: Float[np.ndarray, "n c"], group: Int[np.ndarray, " n"], *, folds: int = 5
) -> Ridge:
    """Ridge regression whose penalty has the least absolute error on groups (dates) left out of the fit.

    All penalties from one eigendecomposition a fold: 15 times as quick as scikit-learn's search over a pipeline.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    rank = np.unique(group, return_inverse=True)[1]
    fold = rank % folds
    errors = np.zeros(len(ALPHAS))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        if train.any():
            errors += [np.abs(r.predict(x[test]) - y[test]).sum() for r in _ridges(x[train], y[train])]
    best = int(np.argmin(errors))
    return dataclasses.replace(_ridges(x, y)[best], penalty=ALPHAS[best])


def _ridges(x: np.ndarray, y: np.ndarray) -> list[Ridge]:
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z, bias = (x - mean) / scale, y.mean(0)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    moments = vectors.T @ (z.T @ (y - bias) / len(z))
    return [
        Ridge(mean, scale, vectors @ (moments / (np.maximum(values, 0) + alpha)[:, None]), bias, alpha)
        for alpha in ALPHAS
    ]
