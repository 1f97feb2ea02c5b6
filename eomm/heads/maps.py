"""A head's maps of an embedding cube, a frame per date (or period of a composite): as a Zarr store, or GeoTIFFs.

A store holds `prediction` and what stands beside it (head.py), `distance`, and `flags` that say why there is none;
plain `xarray.open_zarr` reads it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from eomm.data.arrays import CF_TIME, add_array, finish
from eomm.embedding.blocks import TILE, TOGETHER
from eomm.embedding.layers import StoreLayer
from eomm.embedding.store import add_layers, create_root
from eomm.export.cog import Layer, file_name, write_layers
from eomm.export.frames import Frames
from eomm.heads.head import NONE, Head
from eomm.heads.words import LAYERS
from eomm.store.fields import Json
from eomm.store.progress import Progress

KIND, VERSION = "prediction", 1
NO_VECTOR, OUTSIDE = 1, 2  # flags
NODATA = 65535  # of classes in GeoTIFFs, which start at 0

Layers = dict[str, np.ndarray]
Part = tuple[slice, slice, slice, Layers]


def predicted(head: Head, frames: Frames, progress: Progress | None = None) -> Iterator[Part]:
    """Block by block: (frames, rows, columns) and the layers [frame, y, x], `flags` among them."""
    for part, y, x, block in frames.blocks(progress):
        shape = block.present.shape
        found = head.predict(block.vectors.reshape(-1, frames.length), block.present.ravel())
        layers = {name: values.reshape(shape) for name, values in found.layers.items()}
        outside = found.outside.reshape(shape)
        layers["flags"] = (np.where(block.present, 0, NO_VECTOR) + OUTSIDE * outside).astype(np.uint8)
        yield part, y, x, layers


def write_store(head: Head, frames: Frames, path: Path, about: Json, parts: Iterable[Part]) -> None:
    """Write parts of maps, as `predicted` gives them, into an empty directory as a finished store."""
    root = create(path, head, frames, about)
    for part, y, x, layers in parts:
        for name, values in layers.items():
            array: Any = root[name]
            array[part, y, x] = values
    finish(path, {})


def create(path: Path, head: Head, frames: Frames, about: Json) -> zarr.Group:
    """The unfinished store with its coordinates and empty layers."""
    days = np.array([f.first for f in frames.frames], np.int32)
    root = create_root(path, frames.grid, about, kind=KIND, version=VERSION)
    add_array(root, "time", days, ("time",), CF_TIME)
    add_layers(root, layers_of(head), (len(days), frames.grid.height, frames.grid.width), (TOGETHER, TILE, TILE))
    return root


def layers_of(head: Head) -> list[StoreLayer]:
    """What a store holds of each pixel and date."""
    unit = {"units": head.unit} if head.unit else {}
    if head.classes:
        classes = {"flag_values": list(range(len(head.classes))), "flag_meanings": " ".join(map(_word, head.classes))}
        kinds: dict[str, tuple[bool, Json]] = {
            "prediction": (True, {"long_name": head.target, **unit, **classes}),
            "probability": (False, {}),
            "set_size": (True, {}),
            "distance": (False, {}),
        }
    else:
        kinds = {"prediction": (False, {"long_name": head.target, **unit}), "low": (False, unit), "high": (False, unit)}
        kinds["distance"] = (False, {})
    about = {"flag_masks": [NO_VECTOR, OUTSIDE], "flag_meanings": "no_vector outside_of_what_the_head_saw"}
    flags = StoreLayer(name="flags", dtype="uint8", attributes={"long_name": "why there is no prediction", **about})
    return [*(_layer(name, whole, own) for name, (whole, own) in kinds.items()), flags]


def _layer(name: str, whole: bool, own: Json) -> StoreLayer:
    """A layer of whole numbers, NONE where there is none, or of others, NaN there."""
    about = {"long_name": LAYERS.get(name), **own}
    if not whole:
        return StoreLayer(name=name, dtype="float32", fill=np.nan, attributes=about)
    return StoreLayer(name=name, dtype="int16", fill=NONE, attributes={**about, "_FillValue": NONE})


def _word(name: str) -> str:
    """A class's name as CF has it: without blanks."""
    return re.sub(r"\s+", "_", name)


def write_cogs(head: Head, frames: Frames, folder: Path, about: Json, parts: Iterable[Part]) -> list[str]:
    """Write a Cloud-Optimised GeoTIFF per date, `<site>_<date>_<target>.tif`, a band per layer; returns their names.

    Of classes it holds whole numbers (`prediction`, `set_size`), and a second file beside it the rest.
    """
    tags = {"target": head.target, "unit": head.unit, "head": about["eomm:head"], "note": head.note}
    tags["interval"] = about["interval"]
    tags |= {"classes": "; ".join(f"{i} {c}" for i, c in enumerate(head.classes))} if head.classes else {}
    return write_layers(frames, folder, layouts(head), parts, tags=tags)


def layouts(head: Head) -> list[Layer]:
    """Files of a date."""

    def layer(suffix: str, dtype: str, nodata: float, *bands: str) -> Layer:
        return Layer(f"_{file_name(head.target)}{suffix}", dtype, nodata, bands, partial(pixels_of, bands, dtype))

    if not head.classes:
        return [layer("", "float32", np.nan, "prediction", "low", "high", "distance")]
    whole = layer("", "uint16", NODATA, "prediction", "set_size")
    return [whole, layer("_probability", "float32", np.nan, "probability", "distance")]


def pixels_of(bands: Sequence[str], dtype: str, layers: Layers, i: int) -> np.ndarray:
    """[band, y, x] of one frame of a block."""
    found = np.stack([layers[name][i] for name in bands])
    return (found if dtype == "float32" else np.where(found == NONE, NODATA, found)).astype(dtype)
