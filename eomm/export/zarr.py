"""Frames to an embedding cube of their own: what a composite is as Zarr. `eomm.open_embedding` reads it.

Each form of export has a file of its own (cog.py, parquet.py).
"""

from pathlib import Path
from typing import Any

import numpy as np

from eomm.data.arrays import CF_TIME, add_array, finish
from eomm.embedding.blocks import TILE, TOGETHER
from eomm.embedding.layers import StoreLayer
from eomm.embedding.store import VectorLayout, add_layers, add_vectors, create_root
from eomm.export.cog import floats, quantise
from eomm.export.frames import COUNT, Frames
from eomm.store.fields import Json
from eomm.store.progress import Progress

CHUNK = (4, 16, 16)  # time, y, x: what one read decompresses
LAYERS = (
    StoreLayer(name="valid", dtype="bool", attributes={"long_name": "there is a mean"}),
    StoreLayer(name=COUNT, dtype="uint16", attributes={"long_name": "dates that the mean is over"}),
)
KEPT = ("site", "eomm:model", "eomm:contracts", "provenance")  # attributes of the embedding cube


def write_zarr(frames: Frames, path: Path, *, dtype: str, attributes: Json, progress: Progress | None) -> None:
    """Write frames into an empty directory as a finished embedding cube.

    `embedding` [time, y, x, feature] (missing where there is none; int8 as in the cube), `valid` [time, y, x], the
    composite's `dates` [time, y, x], and `time` with the periods' first days, `time_bounds` [time, 2] with their
    ends (the second is the first day after).

    Raises:
        DataError: the embedding cube is damaged.
    """
    grid = frames.grid
    kept = {k: frames.attributes[k] for k in KEPT if k in frames.attributes}
    root = create_root(path, grid, {**kept, **attributes})
    ends = np.array([(f.first, f.last + 1) for f in frames.frames], np.int32)
    add_array(root, "time", ends[:, 0], ("time",), {**CF_TIME, "bounds": "time_bounds"})
    add_array(root, "time_bounds", ends, ("time", "bound"), CF_TIME)
    scale = frames.scale if dtype == "int8" else None
    shape, shard = (len(frames.frames), grid.height, grid.width), (TOGETHER, TILE, TILE)  # written at a time
    layout = VectorLayout(length=frames.length, dtype=dtype, scale=scale)
    about = "mean of the period's embedding vectors, missing where not valid"
    add_vectors(root, layout, shape, CHUNK, shard, about)
    add_layers(root, LAYERS, shape, shard)
    for part, y, x, block in frames.blocks(progress):
        vectors, present = block.vectors, block.present
        means = floats(vectors, present) if scale is None else quantise(vectors, present, scale)
        for name, data in (("embedding", means), ("valid", present), *block.layers.items()):
            array: Any = root[name]
            array[part, y, x] = data
    finish(path, {})
