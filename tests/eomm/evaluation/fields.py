"""A site of square fields of two classes, for tests of labels and probes."""

import numpy as np
import rasterio

from eomm.data.grid import Grid
from eomm.evaluation.labels import Labels, fields

SIZE = 24
GRID = Grid(crs="EPSG:32631", transform=(10, 0, 501360, 0, -10, 5629680), height=SIZE, width=SIZE)


def field_map(seed=0, side=4):
    """Square fields of two classes with a lane between them: [y, x], -1 in the lanes."""
    rng = np.random.default_rng(seed)
    count = SIZE // side
    kinds = rng.permutation(np.arange(count**2) % 2).reshape(count, count)
    values = np.kron(kinds, np.ones((side, side), int)).astype(np.int32)
    lane = np.arange(SIZE) % side == side - 1
    values[lane], values[:, lane] = -1, -1
    return values


def labels_of(values, classes=("maize", "grass")):
    group, names = fields(values)
    return Labels(values, values >= 0, classes, group, names)


def write_labels(path, values, grid=GRID, **profile):
    shape = dict(height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype)
    with rasterio.open(
        path, "w", driver="GTiff", crs=grid.crs, transform=rasterio.Affine(*grid.transform), **shape, **profile
    ) as file:
        file.write(values, 1)
    return path
