"""A head's maps of an embedding cube, a frame per date (or period of a composite): as a Zarr store, or GeoTIFFs.

A store holds `prediction` and what stands beside it (head.py), `distance`, and `flags` that say why there is none;
plain `xarray.open_zarr` reads it.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr
from rasterio.windows import Window

from eomm.data.arrays import CF_TIME, X, Y, add_array, create_array, finish
from eomm.data.attributes import to_flat
from eomm.embedding.blocks import TILE, TOGETHER, blocks
from eomm.export.cog import CACHE_MB, Layer, new_file, refusals, to_cog
from eomm.export.frames import Frames, parts_of
from eomm.heads.head import NONE, Head
from eomm.heads.words import LAYERS

KIND, VERSION = "prediction", 1
NO_VECTOR, OUTSIDE = 1, 2  # flags
NODATA = 65535  # of classes in GeoTIFFs, which start at 0

Layers = dict[str, np.ndarray]
Part = tuple[slice, slice, slice, Layers]


def count_parts(frames: Frames) -> int:
    """How many parts `predicted` gives."""
    return len(blocks(frames.grid)) * len(parts_of(frames.frames))


def predicted(head: Head, frames: Frames) -> Iterator[Part]:
    """Block by block: (frames, rows, columns) and the layers [frame, y, x], `flags` among them."""
    for part in parts_of(frames.frames):
        for y, x in blocks(frames.grid):
            block = frames.read(part, y, x)
            shape = block.present.shape
            found = head.predict(block.vectors.reshape(-1, frames.length), block.present.ravel())
            layers = {name: values.reshape(shape) for name, values in found.layers.items()}
            outside = found.outside.reshape(shape)
            layers["flags"] = (np.where(block.present, 0, NO_VECTOR) + OUTSIDE * outside).astype(np.uint8)
            yield part, y, x, layers


def write_store(head: Head, frames: Frames, path: Path, about: dict[str, Any], parts: Iterable[Part]) -> None:
    """Write parts of maps, as `predicted` gives them, into an empty directory as a finished store."""
    root = create(path, head, frames, about)
    for part, y, x, layers in parts:
        for name, values in layers.items():
            array: Any = root[name]
            array[part, y, x] = values
    finish(path, {})


def create(path: Path, head: Head, frames: Frames, about: dict[str, Any]) -> zarr.Group:
    """The unfinished store with its coordinates and empty layers."""
    grid, days = frames.grid, np.array([f.first for f in frames.frames], np.int32)
    attributes: dict[str, Any] = {"eomm:kind": KIND, "eomm:version": VERSION, "eomm:complete": 0}
    attributes |= to_flat({"coordinates": "spatial_ref", **about, **grid.attributes()})
    root = zarr.create_group(path, zarr_format=3, attributes=attributes)
    add_array(root, "x", grid.x, ("x",), X)
    add_array(root, "y", grid.y, ("y",), Y)
    add_array(root, "spatial_ref", np.array(0, np.int32), (), grid.spatial_ref())
    add_array(root, "time", days, ("time",), CF_TIME)
    shape = (len(days), grid.height, grid.width)
    for name, (dtype, fill, own) in layers_of(head).items():
        create_array(
            root,
            name,
            shape=shape,
            dtype=dtype,
            dims=("time", "y", "x"),
            chunk=(TOGETHER, TILE, TILE),
            fill=fill,
            attributes={"grid_mapping": "spatial_ref", **own},
        )
    return root


def layers_of(head: Head) -> dict[str, tuple[str, float, dict[str, Any]]]:
    """By name: dtype, fill and attributes of what a store holds of each pixel and date."""
    unit = {"units": head.unit} if head.unit else {}
    first: dict[str, Any] = {"long_name": head.target, **unit}
    if not head.classes:
        names = ("low", "high", "distance")
        found = {n: ("float32", np.nan, {"long_name": LAYERS[n], **(unit if n != "distance" else {})}) for n in names}
        return {"prediction": ("float32", np.nan, first), **found, "flags": _flags()}
    numbers = list(range(len(head.classes)))
    first |= {"flag_values": numbers, "flag_meanings": " ".join(map(_word, head.classes)), "_FillValue": NONE}
    return {
        "prediction": ("int16", NONE, first),
        "probability": ("float32", np.nan, {"long_name": LAYERS["probability"]}),
        "set_size": ("int16", NONE, {"long_name": LAYERS["set_size"], "_FillValue": NONE}),
        "distance": ("float32", np.nan, {"long_name": LAYERS["distance"]}),
        "flags": _flags(),
    }


def _flags() -> tuple[str, float, dict[str, Any]]:
    about = {"flag_masks": [NO_VECTOR, OUTSIDE], "flag_meanings": "no_vector outside_of_what_the_head_saw"}
    return "uint8", 0, {"long_name": "why there is no prediction", **about}


def _word(name: str) -> str:
    """A class's name as CF has it: without blanks."""
    return re.sub(r"\s+", "_", name)


def write_cogs(head: Head, frames: Frames, folder: Path, about: dict[str, Any], parts: Iterable[Part]) -> list[str]:
    """Write a Cloud-Optimised GeoTIFF per date, `<site>_<date>_<target>.tif`, a band per layer; returns their names.

    Of classes it holds whole numbers (`prediction`, `set_size`), and a second file beside it the rest.
    """
    files = layouts(head)
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", str(frames.attributes.get("site", "site")))
    target = re.sub(r"[^A-Za-z0-9._-]", "_", head.target)
    names = [[f"{stem}_{f.name}_{target}{layer.suffix}.tif" for layer in files] for f in frames.frames]
    tags = {"target": head.target, "unit": head.unit, "head": about["eomm:head"], "note": head.note}
    tags["interval"] = about["interval"]
    tags |= {"classes": "; ".join(f"{i} {c}" for i, c in enumerate(head.classes))} if head.classes else {}
    raw: dict[tuple[int, int], Any] = {}
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_NUM_THREADS="ALL_CPUS"), refusals(folder):
        for part, y, x, layers in parts:
            window = Window(x.start, y.start, x.stop - x.start, y.stop - y.start)
            for i in range(part.start, part.stop):
                for k, layer in enumerate(files):
                    if (i, k) not in raw:
                        raw[i, k] = new_file(folder / f"{names[i][k]}.raw", frames.frames[i], layer, frames)
                        raw[i, k].update_tags(**tags)
                    raw[i, k].write(bands_of(layer, layers, i - part.start), window=window)
            if y.stop == frames.grid.height and x.stop == frames.grid.width:
                for i in range(part.start, part.stop):
                    for k, layer in enumerate(files):
                        raw.pop((i, k)).close()
                        path = folder / names[i][k]
                        to_cog(folder / f"{path.name}.raw", path, compress="deflate", dtype=layer.dtype)
    return [name for own in names for name in own]


def layouts(head: Head) -> list[Layer]:
    """Files of a date."""
    if not head.classes:
        return [Layer("", "float32", np.nan, ("prediction", "low", "high", "distance"))]
    whole = Layer("", "uint16", NODATA, ("prediction", "set_size"))
    return [whole, Layer("_probability", "float32", np.nan, ("probability", "distance"))]


def bands_of(layer: Layer, layers: Layers, i: int) -> np.ndarray:
    """[band, y, x] of one frame of a block."""
    found = np.stack([layers[name][i] for name in layer.bands])
    if layer.dtype == "float32":
        return found.astype(np.float32)
    return np.where(found == NONE, NODATA, found).astype(np.uint16)
