"""An embedding cube as xarray has it, every array read when it is asked for. Not how a store is laid out (store.py)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import xarray as xr
from jaxtyping import Float32
from xarray.backends import BackendArray
from xarray.core import indexing

from eomm.data.arrays import DIGEST, open_array
from eomm.data.attributes import open_attributes, to_flat
from eomm.embedding.layers import TOLD
from eomm.embedding.read import KIND, MISSING, VERSION
from eomm.errors import DataError
from eomm.store.folders import read_json
from eomm.store.identity import Identity
from eomm.store.shards import ATTRIBUTE, arrays_in, check_present

ORDER = ("embedding", "embedding_scale", "valid", "flags", "expected_error", *TOLD)  # of variables; the others by name


def dataset_of(path: Path, *, decode: bool, masked: bool) -> xr.Dataset:
    """`open_embedding` of a store whose root has been looked at."""
    identity = Identity(path / "zarr.json")
    about = open_attributes(path, kind=KIND, newest=VERSION)
    check_present(path, about.pop(ATTRIBUTE, {}))
    about.pop(DIGEST, None)
    variables = {array.name: open_variable(array, identity) for array in arrays_in(path)}
    missing = {"embedding", "valid", "time"} - set(variables)
    if missing:
        raise DataError(f"{path}: lacks {', '.join(sorted(missing))}; the store is damaged")
    vectors = variables.pop("embedding")
    scale = scale_of(path, vectors, variables)
    data = xr.decode_cf(xr.Dataset(variables, attrs=to_flat(about)))
    if decode:
        clouded = not about.get("provenance", {}).get("clear_only", False)
        needs_mask = masked and (about.get("eomm:version", 1) < VERSION or clouded)
        mask = open_array(path / "valid") if needs_mask else None
        array = Vectors(path / "embedding", identity, scale=scale, mask=mask)
        kept = {k: v for k, v in vectors.attrs.items() if k not in ("_FillValue", "scale_factor")}
        vectors = xr.Variable(vectors.dims, indexing.LazilyIndexedArray(array), kept)
        data = data.drop_vars("embedding_scale", errors="ignore")
    elif scale is not None:
        data["embedding_scale"] = ("feature", scale)
    found = data.assign(embedding=vectors)
    names = sorted(map(str, found.data_vars), key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    identity.check()
    return found[names]


def open_variable(array: Path, identity: Identity) -> xr.Variable:
    """One array with its dimensions and attributes, as stored: those over time, y and x lazily."""
    head = read_json(array / "zarr.json")
    dims = ["feature" if d == "embedding" else d for d in head.get("dimension_names") or ()]
    lazy = Stored(array, identity)
    if len(dims) != len(lazy.shape):
        raise DataError(f"{array}: has dimensions {dims} for {len(lazy.shape)} axes; the store is damaged")
    if len(dims) < 3:
        return xr.Variable(dims, lazy.read(()), head.get("attributes"))
    return xr.Variable(dims, indexing.LazilyIndexedArray(lazy), head.get("attributes"))


def scale_of(
    path: Path, vectors: xr.Variable, variables: Mapping[str, xr.Variable]
) -> Float32[np.ndarray, " d"] | None:
    """What int8 vectors are to be multiplied by, a number for each dimension; None for other dtypes.

    Raises:
        DataError: there is none, or one that is not above zero.
    """
    if vectors.dtype != np.int8:
        return None
    stated = vectors.attrs.get("scale_factor")
    if "embedding_scale" in variables:
        stated = variables["embedding_scale"].values
    try:
        scale = np.broadcast_to(np.asarray(stated, np.float32), vectors.shape[-1:])
    except (ValueError, TypeError) as e:
        raise DataError(f"{path}: its int8 vectors have no scale ({e}); the store is damaged, embed again") from e
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise DataError(f"{path}: a scale of its int8 vectors is not above 0; the store is damaged, embed again")
    return scale


class Stored(BackendArray):
    """An array as it is stored, read when it is asked for."""

    def __init__(self, path: Path, identity: Identity):
        self._array, self._identity, self._name = open_array(path), identity, str(path)
        self.shape, self.dtype = tuple(self._array.shape), np.dtype(self._array.dtype.numpy_dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Numbers at an outer index. Raises DataError where they are damaged or another store's."""
        return self._taken([self._array], [key])[0]

    def _taken(self, arrays: list[tensorstore.TensorStore], keys: list[tuple[Any, ...]]) -> list[np.ndarray]:
        reads = [(array.oindex[key] if key else array).read() for array, key in zip(arrays, keys, strict=True)]
        try:
            found = [np.asarray(read.result()) for read in reads]
        except (ValueError, OSError) as e:
            self._identity.check()  # which is the nearer reason
            raise DataError(f"{self._name}: cannot be read ({str(e)[:300]}); the store is damaged") from e
        self._identity.check()
        return found


class Vectors(Stored):
    """Vectors decoded and masked as they are read."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        scale: Float32[np.ndarray, " d"] | None,
        mask: tensorstore.TensorStore | None,
    ):
        super().__init__(path, identity)
        self._scale, self._mask = scale, mask
        if scale is not None:
            self.dtype = np.dtype(np.float32)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """As of `Stored`, NaN where there is no vector or the mask says so."""
        arrays, keys = [self._array], [key]
        if self._mask is not None:
            arrays, keys = [*arrays, self._mask], [*keys, key[:3]]
        raw, *valid = self._taken(arrays, keys)
        found = raw
        if self._scale is not None:
            found = np.asarray(raw * self._scale[key[3]], np.float32)
            found[raw == MISSING] = np.nan
        if valid:
            mask = valid[0][..., None] if isinstance(key[3], slice | np.ndarray) else valid[0]
            found = np.where(mask, found, found.dtype.type(np.nan))
        return found
