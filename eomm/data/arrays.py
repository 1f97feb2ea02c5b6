"""Zarr v3 arrays as all our stores hold them: a checksum in every chunk, and a finished store that lists its files.

Not what the arrays mean: see cube.py and eomm.embedding.store.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from eomm.data.attributes import to_deep, to_flat
from eomm.errors import DataError
from eomm.store.digest import digest
from eomm.store.shards import ATTRIBUTE, list_group

DIGEST = "eomm:digest"  # of a group: of its other attributes
CF_TIME = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
X = {"units": "m", "standard_name": "projection_x_coordinate"}
Y = {"units": "m", "standard_name": "projection_y_coordinate"}


def codecs() -> tuple[ZstdCodec, Crc32cCodec]:
    """Of the bytes of each chunk, in a shard or alone: the checksum comes last, so that it covers what lies on disk."""
    return ZstdCodec(level=0), Crc32cCodec()


def add_array(
    group: zarr.Group, name: str, data: np.ndarray, dims: Sequence[str], attributes: Mapping[str, Any] | None = None
) -> zarr.Array:
    """A small array, written at once. Texts are read as `StringDType`."""
    if data.dtype.kind == "U":
        data = data.astype(np.dtypes.StringDType())
    with warnings.catch_warnings():  # texts are younger than Zarr v3; ours are read by xarray alone, as coordinates
        warnings.simplefilter("ignore")
        return group.create_array(
            name, data=data, dimension_names=dims, attributes=dict(attributes or {}), compressors=codecs()
        )


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: str,
    dims: Sequence[str],
    chunks: tuple[int, ...],
    **more: Any,
) -> zarr.Array:
    """An empty array to be written piece by piece.

    Args:
        group: that it is in.
        name: of it.
        shape: of it.
        dtype: of it.
        dims: their names.
        chunks: what one read decompresses.
        more: arguments of zarr's `create_array`: `shards`, which are one file each, `fill_value`, `attributes`.
    """
    return group.create_array(
        name, shape=shape, dtype=dtype, chunks=chunks, dimension_names=dims, compressors=codecs(), **more
    )


def open_array(path: Path, *, write: bool = False) -> tensorstore.TensorStore:
    """One array of a store. Raises DataError where it cannot be opened."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    try:
        return tensorstore.open(spec, open=True, read=True, write=write).result()
    except ValueError as e:
        raise DataError(f"{path}: cannot be opened ({str(e)[:300]}); the store is damaged, make it again") from e


def finish(
    path: Path,
    attributes: Mapping[str, Any],
    known: Mapping[str, Mapping[tuple[int, ...], str]] | None = None,
) -> None:
    """Add what is known at the end to an unfinished store, and mark it as finished. Doing it twice does no harm.

    Every group lists its files and a digest of its attributes; metadata are consolidated in each, so that plain
    xarray opens it without a warning.

    Args:
        path: the store.
        attributes: further ones of its root.
        known: checksums of the root's files that need not be computed, by array and place.
    """
    with warnings.catch_warnings():
        # Not yet in the Zarr 3 specification; xarray writes and looks for it, and warns where it is missing. And
        # zarr warns of files beside its own.
        warnings.filterwarnings("ignore", "Consolidated metadata|Object at", category=zarr.errors.ZarrUserWarning)
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        for name, group in sorted(root.groups()):
            seal(group, path / name, {})
            zarr.consolidate_metadata(path, path=name)
        seal(root, path, attributes, known)
        root.attrs["eomm:complete"] = 1  # a number: NetCDF has no truth
        zarr.consolidate_metadata(path)


def seal(
    group: zarr.Group,
    path: Path,
    attributes: Mapping[str, Any],
    known: Mapping[str, Mapping[tuple[int, ...], str]] | None = None,
) -> None:
    """Add attributes to a group, and what its files and attributes are known by."""
    deep = {**to_deep(group.attrs), **attributes, ATTRIBUTE: list_group(path, known)}
    flat = to_flat(deep)
    group.attrs.put({**flat, DIGEST: attributes_digest(flat)})


def attributes_digest(flat: Mapping[str, Any]) -> str:
    """16 hex digits of a group's attributes as they are stored."""
    kept = {k: v for k, v in flat.items() if k not in (DIGEST, "eomm:complete")}
    return digest(kept)
