"""Fields of a site without labels: connected pixels across which NDVI changes little. With labels see labels.py."""

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy import ndimage

from eomm.data.cube import CubeGroup
from eomm.errors import DataError
from eomm.evaluation.hidden.examples import greenness

MIN_PX = 20  # 0.2 ha
GROW_PX = 2.0  # segments take in the edge pixels between them
QUARTERS = ((12, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))


def fields_of_series(group: CubeGroup) -> Int32[np.ndarray, "y x"]:
    """Segments from the series alone: where the quarters' mean NDVI changes less than at half of the pixels.

    Connected pixels below the median of the gradient are cores; each grows by up to 2 px over the edges between. The
    segments come from raw bands, which therefore have the advantage where segments are used to compare.
    """
    quarters = [ndimage.uniform_filter(q, 3) for q in _quarters(group)]
    steps = [np.hypot(ndimage.sobel(q, axis=0), ndimage.sobel(q, axis=1)) for q in quarters]
    gradient = np.max(steps, axis=0)
    cores, _ = ndimage.label(gradient < np.median(gradient))
    cores = _large(cores.astype(np.int32))
    if not cores.any():
        raise DataError(f"{group.path}: no segment of {MIN_PX} px or more is found in the mean NDVI; give labels")
    away, (rows, cols) = ndimage.distance_transform_edt(cores == 0, return_indices=True)
    return np.where(away <= GROW_PX, cores[rows, cols], 0).astype(np.int32)


def _quarters(group: CubeGroup) -> list[Float32[np.ndarray, "y x"]]:
    """Mean NDVI (or first band) of each quarter that every pixel has been seen in."""
    usable = np.flatnonzero(group.usable)
    values, valid = group.read(usable)
    index = greenness(group, values)
    valid = valid & np.isfinite(index)
    month = (group.day[usable].astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12) + 1
    parts = []
    for months in (*QUARTERS, tuple(range(1, 13))):
        inside = valid & np.isin(month, months)[:, None, None]
        count = inside.sum(0)
        if (count > 0).all():
            parts.append((np.where(inside, index, 0).sum(0) / count).astype(np.float32))
    if not parts:
        raise DataError(f"{group.path}: some pixels are never valid, so that no segments can be found; give labels")
    return parts


def _large(fields: Int32[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"]:
    """Fields of MIN_PX or more, numbered anew from 1."""
    sizes = np.bincount(fields.ravel())
    keep = np.flatnonzero((sizes >= MIN_PX) & (np.arange(len(sizes)) > 0))
    number = np.zeros(len(sizes), np.int32)
    number[keep] = np.arange(1, len(keep) + 1)
    return number[fields]


def borders(fields: Int32[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Pixels with a neighbour of another field, for drawing."""
    edge = np.zeros(fields.shape, bool)
    edge[:, 1:] |= fields[:, 1:] != fields[:, :-1]
    edge[1:] |= fields[1:] != fields[:-1]
    return edge
