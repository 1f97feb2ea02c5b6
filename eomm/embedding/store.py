"""The embedding cube on disk: its layout, writing. How it is read is read.py, how the vectors are made run.py.

One Zarr v3 store: `embedding` [time, y, x, feature], with `embedding_scale` [feature] where it is int8 and its numbers
have several scales, and beside it [time, y, x] `valid`, `flags`, `expected_error`, of vectors with a state `support`,
`days_to_nearest` and `distance_to_training`, `observations_<modality>` and `<modality>_offset_days` (layers.py);
coordinates time, y, x, feature and `spatial_ref` on the cube's grid.

Where there is no vector it is missing: NaN, or -128 in int8. Every chunk bears a checksum, and the store lists its
files (eomm.store.shards), so that what was lost or damaged is not read as zeros.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorstore
import zarr
from jaxtyping import Float32, Int

from eomm.data.arrays import CF_TIME, X, Y, add_array, create_array, open_array
from eomm.data.attributes import to_flat
from eomm.data.grid import Grid
from eomm.embedding.layers import (
    FLAGS,
    NO_NUMBER,
    NO_OFFSET,
    StoreLayer,
    error_layer,
    flags_layer,
    observations_layer,
    offset_layer,
    told_layer,
    valid_layer,
)
from eomm.embedding.read import KIND, MISSING, VERSION, open_embedding
from eomm.store.fields import Json
from eomm.store.folders import naming_full_disk

__all__ = ["FLAGS", "KIND", "NO_NUMBER", "NO_OFFSET", "VERSION", "Layout", "Writer", "create", "open_array",
           "open_embedding"]  # fmt: skip

DTYPES = ("int8", "float32", "float16")
TILE = 16  # px; the inner chunks' height and width, and what blocks are multiples of
SHARD_DATES = 16
CHUNK_DATES = 8
GEOEMB = {
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/embeddings-zarr-convention/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}


@dataclass(frozen=True, kw_only=True)
class VectorLayout:
    """How vectors are stored.

    Attributes:
        length: of each.
        dtype: one of DTYPES.
        scale: int8 vectors are multiples of it, a number for each dimension; None for other dtypes.
    """

    length: int
    dtype: str
    scale: Float32[np.ndarray, " d"] | None

    @property
    def one_scale(self) -> float | None:
        """The scale of all dimensions, None where they have several or none."""
        if self.scale is None or len(set(self.scale.tolist())) > 1:
            return None
        return float(self.scale[0])


@dataclass(frozen=True, kw_only=True)
class Layout(VectorLayout):
    """What a store holds.

    Attributes:
        grid: of the cube.
        day: of every embedded date.
        block: (rows, columns) written at a time, multiples of TILE; also the shards' size.
        observations: modalities counted.
        offsets: modalities of which the nearest acquisition is used.
        clear_only: whether only clear pixels have a vector; `valid` says which are clear in any case.
        error_unit: what `expected_error` counts and its storage step, such as ("reflectance", 1e-4); None without.
        told: names of `layers.TOLD`.
        average_days: see `eomm.embedding.run.embed`.
    """

    grid: Grid
    day: Int[np.ndarray, " date"]
    block: tuple[int, int]
    observations: tuple[str, ...]
    offsets: tuple[str, ...]
    clear_only: bool
    error_unit: tuple[str, float] | None
    told: tuple[str, ...] = ()
    average_days: int = 0

    @property
    def layers(self) -> tuple[StoreLayer, ...]:
        """What lies beside the vectors, over time, y and x."""
        error = (error_layer(*self.error_unit),) if self.error_unit else ()
        observations = map(observations_layer, self.observations)
        about = (*error, *map(told_layer, self.told))
        return (valid_layer(), flags_layer(), *about, *observations, *map(offset_layer, self.offsets))

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays over time, y and x."""
        return ("embedding", *(layer.name for layer in self.layers))


def create(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Make an unfinished store in an empty directory."""
    where = "missing where not valid" if layout.clear_only else "from its context alone where not valid"
    if days := layout.average_days:
        where += f"; mean of the date's own and those of the store's clear dates at most {days} days away"
    root = create_root(path, layout.grid, {**attributes, **geoemb(layout, attributes)})
    add_array(root, "time", layout.day.astype(np.int32), ("time",), CF_TIME)
    shape = (len(layout.day), layout.grid.height, layout.grid.width)
    shard = (SHARD_DATES, *layout.block)
    add_vectors(root, layout, shape, (CHUNK_DATES, TILE, TILE), shard, f"embedding vector, {where}")
    add_layers(root, layout.layers, shape, shard)


def create_root(
    path: Path, grid: Grid, attributes: Mapping[str, Any], *, kind: str = KIND, version: int = VERSION
) -> zarr.Group:
    """The group of an unfinished store on a grid, with the grid's coordinates."""
    head: dict[str, Any] = {"eomm:kind": kind, "eomm:version": version, "eomm:complete": 0}
    head |= to_flat({"coordinates": "spatial_ref", **attributes, **grid.attributes()})
    root = zarr.create_group(path, zarr_format=3, attributes=head)  # at once: by its kind what is begun is known
    add_array(root, "x", grid.x, ("x",), X)
    add_array(root, "y", grid.y, ("y",), Y)
    add_array(root, "spatial_ref", np.array(0, np.int32), (), grid.spatial_ref())
    return root


def add_layers(
    root: zarr.Group, layers: Iterable[StoreLayer], shape: tuple[int, int, int], chunk: tuple[int, int, int]
) -> None:
    """Empty arrays over time, y and x."""
    for layer in layers:
        create_array(
            root,
            layer.name,
            shape=shape,
            dtype=layer.dtype,
            dims=("time", "y", "x"),
            chunks=chunk,
            fill_value=layer.fill,
            attributes={"grid_mapping": "spatial_ref", **layer.attributes},
        )


def add_vectors(
    root: zarr.Group,
    vectors: "VectorLayout",
    shape: tuple[int, int, int],
    chunk: tuple[int, int, int],
    shard: tuple[int, int, int],
    long_name: str,
) -> None:
    """The array of vectors, with its scale as CF has it where one serves all dimensions."""
    attributes: dict[str, Any] = {"grid_mapping": "spatial_ref", "long_name": long_name}
    if vectors.scale is not None:
        attributes |= {"_FillValue": MISSING}
        if vectors.one_scale is not None:
            attributes |= {"scale_factor": vectors.one_scale}
        else:
            attributes |= {"comment": "multiply by embedding_scale, which readers of CF do not do by themselves"}
            about = {"long_name": "a vector is `embedding` times this, dimension by dimension"}
            add_array(root, "embedding_scale", vectors.scale, ("feature",), about)
    add_array(root, "feature", np.arange(vectors.length, dtype=np.int16), ("feature",), {"long_name": "dimension"})
    create_array(
        root,
        "embedding",
        shape=(*shape, vectors.length),
        dtype=vectors.dtype,
        dims=("time", "y", "x", "feature"),
        chunks=(*chunk, vectors.length),
        shards=(*shard, vectors.length),
        fill_value=missing_of(vectors.dtype),
        attributes=attributes,
    )


def missing_of(dtype: str) -> float:
    """What is stored where there is no vector."""
    return MISSING if dtype == "int8" else float("nan")


def geoemb(layout: Layout, attributes: Mapping[str, Any]) -> Json:
    """The `geoemb:` convention's attributes, https://github.com/geo-embeddings/embeddings-zarr-convention (v1)."""
    found: dict[str, Any] = {
        "zarr_conventions": [GEOEMB],
        "geoemb:type": "pixel",
        "geoemb:dimensions": layout.length,
        "geoemb:model": f"urn:eomm:model:{attributes['eomm:model']}",
        "geoemb:source_data": f"urn:eomm:cube:{attributes['eomm:cube']}",
        "geoemb:data_type": layout.dtype,
        "geoemb:gsd": layout.grid.gsd_m,
    }
    if layout.scale is not None:
        one = layout.one_scale is not None
        how = "one scale (scale_factor)" if one else "a scale per dimension (array embedding_scale)"
        found["geoemb:quantization"] = {
            "method": f"linear, {how}, no offset",
            "original_dtype": "float32",
            "quantized_dtype": "int8",
        }
    return found


class Writer:
    """Writes into an unfinished store, one unit in the background while the next is computed.

    A context: when the block fails, background writes end before anyone removes the directory under them.
    """

    def __init__(self, path: Path):
        self._path = path
        self._arrays: dict[str, tensorstore.TensorStore] = {}
        self._pending: tuple[list[Any], Callable[[], None]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._pending[0] if self._pending else ():
            future.exception()  # waits; the error in flight is the one to report

    def write(
        self, layers: Mapping[str, np.ndarray], dates: slice, y: slice, x: slice, done: Callable[[], None]
    ) -> None:
        """Start writing a unit, after the one before; `done` is called when it is on disk.

        Layers may exceed the grid and must not change until the next call.
        """
        self.finish()
        futures = []
        for name, data in layers.items():
            array = self._open(name)
            rows, cols = (slice(s.start, min(s.stop, n)) for s, n in zip((y, x), array.shape[1:3], strict=True))
            part = data[:, : rows.stop - rows.start, : cols.stop - cols.start]
            futures.append(array[dates, rows, cols].write(part))
        self._pending = futures, done

    def finish(self) -> None:
        """Wait for the unit in flight. Raises DiskFull."""
        if not self._pending:
            return
        (futures, done), self._pending = self._pending, None
        with naming_full_disk(self._path, kept=True):
            for future in futures:
                future.result()
        done()

    def _open(self, name: str) -> tensorstore.TensorStore:
        if name not in self._arrays:
            self._arrays[name] = open_array(self._path / name, write=True)
        return self._arrays[name]
