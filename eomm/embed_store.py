"""The embedding cube on disk: create, write, open. How the vectors are made is embedding.py.

One Zarr v3 store: `embedding` [time, y, x, embedding], and beside it [time, y, x] `valid`, `observations_<modality>`
and `<modality>_offset_days`; coordinates time, y, x and `spatial_ref` on the cube's grid.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorstore
import xarray as xr
import zarr

from eomm.cube import Grid, open_attributes
from eomm.errors import UsageError
from eomm.storage import disk_full

VERSION = 1
KIND = "embedding"
DTYPES = ("float32", "float16")
TILE = 16  # px; the inner chunks' height and width, and what blocks are multiples of
SHARD_DATES = 16
CHUNK_DATES = 8
NO_OFFSET = np.iinfo(np.int16).min
CF_TIME = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}


class Writer:
    """Writes blocks of dates; the last write of each array goes on in the background until the next one.

    A context: when the block fails, background writes end before anyone removes the directory under them.

    Args:
        path: an empty directory.
        grid: of the cube.
        day: of every embedded date.
        length: of the vectors.
        dtype: of the vectors, one of DTYPES.
        block: (rows, columns) written at a time, multiples of TILE; also the shards' size.
        observations: modalities counted.
        offsets: modalities of which the nearest acquisition is used.
        clear_only: whether only clear pixels have a vector; `valid` says which are clear in any case.
        attributes: of the root.
    """

    def __init__(
        self,
        path: Path,
        *,
        grid: Grid,
        day: np.ndarray,
        length: int,
        dtype: str,
        block: tuple[int, int],
        observations: Sequence[str],
        offsets: Sequence[str],
        clear_only: bool,
        attributes: Mapping[str, Any],
    ):
        if dtype not in DTYPES:
            raise UsageError(f"dtype {dtype!r}: not one of {', '.join(DTYPES)}")
        self._path = path
        self._root = zarr.open_group(path, mode="w", zarr_format=3)
        self._root.attrs.update({"eomm:kind": KIND, "eomm:version": VERSION, "eomm:complete": False})
        self._root.attrs.update({**attributes, **grid.attributes(), "coordinates": "spatial_ref"})
        for name, array, dims, attrs in [
            ("time", day.astype(np.int32), ("time",), CF_TIME),
            ("x", grid.x, ("x",), {"units": "m", "standard_name": "projection_x_coordinate"}),
            ("y", grid.y, ("y",), {"units": "m", "standard_name": "projection_y_coordinate"}),
            ("spatial_ref", np.array(0, np.int32), (), grid.spatial_ref()),
        ]:
            self._root.create_array(name, data=array, dimension_names=dims, attributes=attrs)
        shape = (len(day), grid.height, grid.width)
        shard = (SHARD_DATES, *block)
        self._arrays: dict[str, tensorstore.TensorStore] = {}
        self._writing: dict[str, Any] = {}
        self._create(
            "embedding",
            (*shape, length),
            dtype,
            chunks=(CHUNK_DATES, TILE, TILE, length),
            shards=(*shard, length),
            long_name=f"embedding vector, {'zero' if clear_only else 'from its context alone'} where not valid",
        )
        self._create("valid", shape, "bool", chunks=shard, long_name="the date's pixel is clear")
        for name in observations:
            self._create(
                f"observations_{name}",
                shape,
                "uint8",
                chunks=shard,
                long_name=f"valid {name} acquisitions in the window; 0 where {name} was not used",
            )
        for name in offsets:
            self._create(
                f"{name}_offset_days",
                shape,
                "int16",
                chunks=shard,
                fill=NO_OFFSET,
                units="1",  # not "days": xarray would turn the numbers into time spans
                long_name=f"days from the date to the {name} acquisition used; missing where none was",
                _FillValue=int(NO_OFFSET),
            )

    def _create(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        *,
        chunks: tuple[int, ...],
        shards: tuple[int, ...] | None = None,
        fill: float = 0,
        **attributes: Any,
    ) -> None:
        dims = ("time", "y", "x", "embedding")[: len(shape)]
        array = self._root.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            shards=shards,
            dimension_names=dims,
            fill_value=fill,
            attributes={"grid_mapping": "spatial_ref", **attributes},
        )
        assert array.shape == shape
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(self._path / name)}}
        self._arrays[name] = tensorstore.open(spec, open=True, write=True).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._writing.values():
            future.exception()  # waits; the error in flight is the one to report

    def write(self, name: str, dates: slice, y: slice, x: slice, data: np.ndarray) -> None:
        """Write a block; `data` may exceed the grid and must not change until the next write of this array."""
        self._finish(name)
        array = self._arrays[name]
        y, x = (slice(s.start, min(s.stop, n)) for s, n in zip((y, x), array.shape[1:3], strict=True))
        self._writing[name] = array[dates, y, x].write(data[:, : y.stop - y.start, : x.stop - x.start])

    def _finish(self, name: str) -> None:
        if name in self._writing:
            wait(self._writing.pop(name), self._path)

    def complete(self) -> None:
        """Wait for every write, then mark the store as finished."""
        for name in list(self._writing):
            self._finish(name)
        with warnings.catch_warnings():
            # Not yet in the Zarr 3 specification; xarray writes and looks for it, and warns where it is missing.
            warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
            zarr.consolidate_metadata(self._path)
        self._root = zarr.open_group(self._path, mode="r+")
        self._root.attrs["eomm:complete"] = True


def wait(future: Any, path: Path) -> None:
    """Wait for a write. Raises UsageError when the disk is full."""
    try:
        future.result()
    except (ValueError, OSError) as e:
        if "No space left" in str(e) or "quota" in str(e):
            raise disk_full(path.with_name(path.name.removesuffix(".partial"))) from e
        raise


def open_embedding(path: Path | str) -> xr.Dataset:
    """A finished embedding cube, read lazily, with the CRS as coordinate `spatial_ref`.

    Raises:
        DataError: not an embedding cube, unfinished, or damaged.
    """
    path = Path(path)
    open_attributes(path, kind=KIND)
    return xr.open_zarr(path, consolidated=False, chunks=None)
