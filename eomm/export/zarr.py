"""Frames to an embedding cube of their own: what a composite is as Zarr. `eomm.open_embedding` reads it.

Each form of export has a file of its own (cog.py, parquet.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eomm.data.arrays import CF_TIME, add_array, create_array, finish
from eomm.embedding.blocks import TILE, TOGETHER, blocks
from eomm.embedding.store import VectorLayout, add_vectors, create_root
from eomm.export.cog import floats, quantise
from eomm.export.frames import COUNT, Frames, parts_of

CHUNK = (4, 16, 16)  # time, y, x: what one read decompresses
KEPT = ("site", "eomm:model", "eomm:contracts", "provenance")  # attributes of the embedding cube


def write_zarr(
    frames: Frames, path: Path, *, dtype: str, attributes: dict[str, Any], progress: Callable[[int, int], None] | None
) -> None:
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
    arrays = {"embedding": add_vectors(root, layout, shape, CHUNK, shard, about)}
    for name, kind, about in (("valid", "bool", "there is a mean"), (COUNT, "uint16", "dates that the mean is over")):
        attrs = {"grid_mapping": "spatial_ref", "long_name": about}
        dims = ("time", "y", "x")
        arrays[name] = create_array(root, name, shape=shape, dtype=kind, dims=dims, chunk=shard, attributes=attrs)
    areas, parts = blocks(grid), parts_of(frames.frames)
    for i, part in enumerate(parts):
        for j, (y, x) in enumerate(areas):
            block = frames.read(part, y, x)
            vectors, present = block.vectors, block.present
            means = floats(vectors, present) if scale is None else quantise(vectors, present, scale)
            for name, data in (("embedding", means), ("valid", present), *block.layers.items()):
                arrays[name][part, y, x] = data
            if progress:
                progress(i * len(areas) + j + 1, len(parts) * len(areas))
    finish(path, {})
