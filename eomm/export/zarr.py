"""Frames to an embedding cube of their own: what a composite is as Zarr. `eomm.open_embedding` reads it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from eomm.embedding.blocks import TILE, TOGETHER, blocks
from eomm.export.cog import quantise
from eomm.export.frames import COUNT, Frames, parts_of

CF_TIME = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian"}
CHUNK = (4, 16, 16)  # time, y, x: what one read decompresses
KEPT = ("site", "eomm:model", "eomm:contracts", "eomm:version", "provenance")  # attributes of the embedding cube


def write_zarr(
    frames: Frames, path: Path, *, dtype: str, attributes: dict[str, Any], progress: Callable[[int, int], None] | None
) -> None:
    """Write frames into an empty directory as a finished embedding cube.

    `embedding` [time, y, x, embedding] (zero where there is none; int8 with `embedding_scale`), `valid` [time, y, x],
    the composite's `dates` [time, y, x], and `time` with the periods' first days, `time_bounds` [time, 2] with their
    ends (the second is the first day after).

    Raises:
        DataError: the embedding cube is damaged.
    """
    grid, count = frames.grid, len(frames.frames)
    kept = {k: frames.attributes[k] for k in KEPT if k in frames.attributes}
    head = {"eomm:kind": "embedding", "eomm:complete": False, **kept, **attributes, **grid.attributes()}
    root = zarr.create_group(path, zarr_format=3, attributes=head)
    root.attrs["coordinates"] = "spatial_ref"
    ends = np.array([(f.first, f.last + 1) for f in frames.frames], np.int32)
    small: list[tuple[str, np.ndarray, tuple[str, ...], dict[str, Any]]] = [
        ("time", ends[:, 0], ("time",), {**CF_TIME, "standard_name": "time", "bounds": "time_bounds"}),
        ("time_bounds", ends, ("time", "bound"), CF_TIME),
        ("x", grid.x, ("x",), {"units": "m", "standard_name": "projection_x_coordinate"}),
        ("y", grid.y, ("y",), {"units": "m", "standard_name": "projection_y_coordinate"}),
        ("spatial_ref", np.array(0, np.int32), (), grid.spatial_ref()),
    ]
    if dtype == "int8" and frames.scale is not None:
        small.append(("embedding_scale", frames.scale, ("embedding",), {"long_name": "vector = int8 * this"}))
    for name, array, dims, attrs in small:
        root.create_array(name, data=array, dimension_names=dims, attributes=attrs)
    shape = (count, grid.height, grid.width)
    arrays = {}
    for name, kind, about in (
        ("embedding", dtype, "mean of the period's embedding vectors, zero where not valid"),
        ("valid", "bool", "there is a mean"),
        (COUNT, "uint16", "dates that the mean is over"),
    ):
        dims = ("time", "y", "x", "embedding")[: 4 if name == "embedding" else 3]
        tail = (frames.length,) if name == "embedding" else ()
        chunk = (*CHUNK, *tail) if tail else (TOGETHER, TILE, TILE)
        arrays[name] = root.create_array(
            name,
            shape=shape + tail,
            dtype=kind,
            chunks=chunk,
            shards=(TOGETHER, TILE, TILE, *tail) if tail else None,  # what is written at a time
            dimension_names=dims,
            fill_value=0,
            attributes={"grid_mapping": "spatial_ref", "long_name": about},
        )
    areas, parts = blocks(grid), parts_of(frames.frames)
    for i, part in enumerate(parts):
        for j, (y, x) in enumerate(areas):
            block = frames.read(part, y, x)
            vectors = block.vectors
            if dtype == "int8" and frames.scale is not None:
                vectors = np.where(block.present[..., None], quantise(vectors, block.present, frames.scale), np.int8(0))
            for name, data in (("embedding", vectors), ("valid", block.present), *block.layers.items()):
                arrays[name][part, y, x] = data
            if progress:
                progress(i * len(areas) + j + 1, len(parts) * len(areas))
    root.attrs["eomm:complete"] = True
    with warnings.catch_warnings():
        # Not yet in the Zarr 3 specification; xarray looks for it, and warns where it is missing.
        warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(path)
