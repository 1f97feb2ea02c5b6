"""A metric of vectors in which labelled classes of training places stand apart; its control with permuted labels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eomm.data.points import PointSeries
from eomm.evaluation.quality.labelled import seasons
from eomm.evaluation.quality.vectors import Vectors

from .sets import crops_of

SHRINKAGE = 0.1  # of the scatter within classes, towards equal variances


def discriminant(name: str, vectors: Vectors, series: Sequence[PointSeries], *, permuted: bool = False) -> Vectors:
    """Vectors in units of their scatter within crops, directions that tell no crops apart shortened.

    Args:
        name: of what is made.
        vectors: of any kind.
        series: Korean parcels that train.
        permuted: deal the crops out anew among them: what labels alone do.
    """
    crop = np.array(crops_of(series, permuted=permuted))
    told = [s for s, c in zip(series, crop, strict=True) if c]
    parts = seasons(vectors, told).reshape(len(told), -1, vectors.length)
    return linear(name, vectors, metric(parts, crop[crop != ""]))


def metric(parts: Float[np.ndarray, "n k d"], crop: np.ndarray) -> Float[np.ndarray, "d d"]:
    """The matrix, from vectors of parts of the year: scatter within and between crops, of each part by itself."""
    means = np.stack([parts[crop == c].mean(0) for c in np.unique(crop)])
    which = np.unique(crop, return_inverse=True)[1]
    own = (parts - means[which]).reshape(-1, parts.shape[-1])
    apart = (means[which] - parts.mean(0)).reshape(own.shape)
    within, between = own.T @ own / len(own), apart.T @ apart / len(own)
    level = np.trace(within) / len(within)
    values, basis = np.linalg.eigh((1 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(len(within)))
    whiten = basis / np.sqrt(values)
    signal, turn = np.linalg.eigh(whiten.T @ between @ whiten)
    signal = np.maximum(signal, 0)
    return whiten @ turn * np.sqrt(signal / (1 + signal))


def linear(name: str, vectors: Vectors, matrix: Float[np.ndarray, "d k"]) -> Vectors:
    """Vectors times a matrix."""
    return vectors.mapped(lambda v: v @ matrix, name=name, length=matrix.shape[1], state=0)
