"""The embedding cube on disk: its layout, writing, opening. How the vectors are made is run.py.

One Zarr v3 store: `embedding` [time, y, x, embedding], with `embedding_scale` [embedding] where it is int8, and beside
it [time, y, x] `valid`, `flags`, `expected_error`, `observations_<modality>` and `<modality>_offset_days`;
coordinates time, y, x and `spatial_ref` on the cube's grid.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorstore
import xarray as xr
import zarr
from jaxtyping import Float32, Int
from xarray.backends import BackendArray
from xarray.core import indexing

from eomm.data.cube import open_attributes
from eomm.data.grid import Grid
from eomm.store.folders import disk_full_at, entered
from eomm.store.zarr_errors import damaged_zarr

VERSION = 2
KIND = "embedding"
DTYPES = ("int8", "float32", "float16")
TILE = 16  # px; the inner chunks' height and width, and what blocks are multiples of
SHARD_DATES = 16
CHUNK_DATES = 8
NO_OFFSET = np.iinfo(np.int16).min
NO_ERROR = np.iinfo(np.uint16).max
CF_TIME = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
FLAGS = {  # CF flag_masks
    "edge": 1,  # the window reaches beyond the cube
    "clouded": 2,  # the target is not valid: its vector, where there is one, comes from its context alone
    "alone": 4,  # no other modality was near enough and valid
    "sparse": 8,  # fewer than three valid acquisitions of the reference in the window, the target aside
}
GEOEMB = {
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/embeddings-zarr-convention/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a store holds.

    Attributes:
        grid: of the cube.
        day: of every embedded date.
        length: of the vectors.
        dtype: of the vectors, one of DTYPES.
        scale: int8 vectors are multiples of it, a number for each dimension; None for other dtypes.
        block: (rows, columns) written at a time, multiples of TILE; also the shards' size.
        observations: modalities counted.
        offsets: modalities of which the nearest acquisition is used.
        clear_only: whether only clear pixels have a vector; `valid` says which are clear in any case.
        error_unit: what `expected_error` counts and its storage step, such as ("reflectance", 1e-4); None without.
    """

    grid: Grid
    day: Int[np.ndarray, " date"]
    length: int
    dtype: str
    scale: Float32[np.ndarray, " d"] | None
    block: tuple[int, int]
    observations: tuple[str, ...]
    offsets: tuple[str, ...]
    clear_only: bool
    error_unit: tuple[str, float] | None

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays over time, y and x."""
        error = ("expected_error",) if self.error_unit else ()
        observations = tuple(f"observations_{n}" for n in self.observations)
        return ("embedding", "valid", "flags", *error, *observations, *(f"{n}_offset_days" for n in self.offsets))


def create(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Make an unfinished store in an empty directory."""
    grid, day = layout.grid, layout.day
    root = zarr.open_group(path, mode="w", zarr_format=3)
    head = {"eomm:kind": KIND, "eomm:version": VERSION, "eomm:complete": False}
    whole: dict[str, Any] = {**head, **attributes, **grid.attributes(), **geoemb(layout, attributes)}
    root.attrs.update(whole)
    root.attrs["coordinates"] = "spatial_ref"
    coordinates = [
        ("time", day.astype(np.int32), ("time",), CF_TIME),
        ("x", grid.x, ("x",), {"units": "m", "standard_name": "projection_x_coordinate"}),
        ("y", grid.y, ("y",), {"units": "m", "standard_name": "projection_y_coordinate"}),
        ("spatial_ref", np.array(0, np.int32), (), grid.spatial_ref()),
    ]
    if layout.scale is not None:
        name = "a vector is `embedding` times this, dimension by dimension"
        coordinates.append(("embedding_scale", layout.scale, ("embedding",), {"long_name": name}))
    for name, array, dims, attrs in coordinates:
        root.create_array(name, data=array, dimension_names=dims, attributes=attrs)
    shape = (len(day), grid.height, grid.width)
    shard = (SHARD_DATES, *layout.block)

    def add(name: str, dtype: str, *, fill: float = 0, length: int = 0, **attrs: Any) -> None:
        root.create_array(
            name,
            shape=(*shape, length) if length else shape,
            dtype=dtype,
            chunks=(CHUNK_DATES, TILE, TILE, length) if length else shard,
            shards=(*shard, length) if length else None,
            dimension_names=("time", "y", "x", "embedding")[: 4 if length else 3],
            fill_value=fill,
            attributes={"grid_mapping": "spatial_ref", **attrs},
        )

    where = "zero" if layout.clear_only else "from its context alone"
    add("embedding", layout.dtype, length=layout.length, long_name=f"embedding vector, {where} where not valid")
    add("valid", "bool", long_name="the date's pixel is clear")
    masks, meanings = np.array(list(FLAGS.values()), np.uint8).tolist(), " ".join(FLAGS)
    add("flags", "uint8", flag_masks=masks, flag_meanings=meanings, long_name="what limits the vector")
    if layout.error_unit:
        unit, step = layout.error_unit
        add(
            "expected_error",
            "uint16",
            fill=NO_ERROR,
            units="1" if unit == "reflectance" else unit,
            scale_factor=step,
            _FillValue=int(NO_ERROR),
            long_name=f"mean absolute error ({unit}) expected of predicting this pixel and date, were it hidden",
        )
    for name in layout.observations:
        text = f"valid {name} acquisitions in the window; 0 where {name} was not used"
        add(f"observations_{name}", "uint8", long_name=text)
    for name in layout.offsets:
        add(
            f"{name}_offset_days",
            "int16",
            fill=NO_OFFSET,
            units="1",  # not "days": xarray would turn the numbers into time spans
            long_name=f"days from the date to the {name} acquisition used; missing where none was",
            _FillValue=int(NO_OFFSET),
        )


def geoemb(layout: Layout, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The `geoemb:` convention's attributes, https://github.com/geo-embeddings/embeddings-zarr-convention (v1)."""
    a, e = layout.grid.transform[0], layout.grid.transform[4]
    found: dict[str, Any] = {
        "zarr_conventions": [GEOEMB],
        "geoemb:type": "pixel",
        "geoemb:dimensions": layout.length,
        "geoemb:model": f"urn:eomm:model:{attributes['eomm:model']}",
        "geoemb:source_data": f"urn:eomm:cube:{attributes['eomm:cube']}",
        "geoemb:data_type": layout.dtype,
        "geoemb:gsd": (abs(a) + abs(e)) / 2,
    }
    if layout.scale is not None:
        found["geoemb:quantization"] = {
            "method": "linear, a scale per dimension (array embedding_scale), no offset",
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
        """Wait for the unit in flight. Raises UsageError when the disk is full."""
        if not self._pending:
            return
        (futures, done), self._pending = self._pending, None
        try:
            for future in futures:
                future.result()
        except (ValueError, OSError) as e:
            if "No space left" in str(e) or "quota" in str(e):
                raise disk_full_at(self._path) from e
            raise
        done()

    def _open(self, name: str) -> tensorstore.TensorStore:
        if name not in self._arrays:
            self._arrays[name] = open_array(self._path / name, write=True)
        return self._arrays[name]


def complete(path: Path, attributes: Mapping[str, Any]) -> None:
    """Add what is known at the end, then mark a store as finished. Doing it twice does no harm."""
    root = zarr.open_group(path, mode="r+")
    root.attrs.update(dict(attributes))
    root.attrs["eomm:complete"] = True
    with warnings.catch_warnings():
        # Not yet in the Zarr 3 specification; xarray writes and looks for it, and warns where it is missing. And
        # zarr warns of files beside its own.
        warnings.filterwarnings("ignore", "Consolidated metadata|Object at", category=zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(path)


def open_array(path: Path, *, write: bool = False) -> tensorstore.TensorStore:
    """One array of a store."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return tensorstore.open(spec, open=True, read=True, write=write).result()


def open_embedding(path: Path | str, *, decode: bool = True) -> xr.Dataset:
    """A finished embedding cube, read lazily, with the CRS as coordinate `spatial_ref`.

    Args:
        path: the store.
        decode: int8 vectors as float32; else as stored, to be multiplied by `embedding_scale`.

    Raises:
        DataError: not an embedding cube, unfinished, or damaged.
    """
    path = entered(path)
    open_attributes(path, kind=KIND)
    # xarray takes an array that is named as one of its dimensions for a coordinate.
    with damaged_zarr(path):
        stored = xr.open_zarr(path, consolidated=False, chunks=None).reset_coords("embedding")
    if not decode or "embedding_scale" not in stored:
        return stored
    vectors = stored["embedding"]
    with damaged_zarr(path):
        scaled = Scaled(open_array(path / "embedding"), stored["embedding_scale"].values)
    lazy = xr.Variable(vectors.dims, indexing.LazilyIndexedArray(scaled), vectors.attrs)
    return stored.drop_vars(["embedding", "embedding_scale"]).assign(embedding=lazy).reset_coords("embedding")


class Scaled(BackendArray):
    """int8 vectors as float32, decoded as they are read."""

    def __init__(self, array: tensorstore.TensorStore, scale: Float32[np.ndarray, " d"]):
        self._array, self._scale = array, scale
        self.shape, self.dtype = tuple(array.shape), np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        read = self._array.oindex[key].read().result()
        scale = self._scale[key[-1]]
        return np.asarray(read * scale, np.float32)
