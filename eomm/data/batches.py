"""Records to batches of NumPy arrays: order, hosts, threads, exact position. No JAX in here.

The order is drawn over the whole split and cut into global batches before hosts take their rows, so that global
batch k holds the same records in the same rows on 1, 2 or 4 hosts, and the position is one number: the next batch.
"""

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from google.protobuf.message import DecodeError

from eomm.data.draw import Draw
from eomm.data.order import POOL, Order, order_batches
from eomm.data.records import Codec, Patch, PatchShape, RecordSet
from eomm.errors import DataError, UsageError
from eomm.store.fields import Json

KEEP_BYTES = 1 << 28  # a split that fits is decoded once: series of pixels train faster than they can be decoded

Batch = dict[str, dict[str, np.ndarray]]  # {modality: {field: [b, ...]}}
Skip = Callable[[DataError], None]  # told of a record that cannot be read and is left out


class RecordSource:
    """Random access to the decoded records of one split; only the modalities asked for are decoded.

    Args:
        records: an opened record set.
        split: which of its splits.
        modalities: names; all of the set where None.
        check_files: whether every shard must be there and whole; otherwise reading its records tells.

    Raises:
        DataError: the split or a shard is missing; on reading, a record is damaged.
        UsageError: the set has no such modality.
    """

    def __init__(
        self, records: RecordSet, *, split: str, modalities: Sequence[str] | None = None, check_files: bool = True
    ):
        self.shapes = _shapes(records, modalities)
        described = records.manifest.get("draw")
        self.draw = Draw.from_manifest(described) if described else None
        needed = set(self.shapes) | ({self.draw.reference} if self.draw and self.shapes else set())
        stored = {n: s for n, s in records.stored.items() if n in needed}
        self._codec = Codec(stored)  # fields of other modalities are skipped while decoding
        self._files = records.files(split, check=check_files)
        count_of = {records.path / f["name"]: f["records"] for f in records.manifest["files"]}
        counts = [count_of[f] for f in self._files]
        self._ends = list(itertools.accumulate(counts))
        # With explicit counts no shard is opened before it is read, and a shard whose index is damaged, which
        # array_record reports as an empty one, fails by name instead of vanishing from the epoch.
        paths = [f"{file}[0:{count}]" for file, count in zip(self._files, counts, strict=True) if count]
        self._raw = grain.sources.ArrayRecordDataSource(paths) if paths else []
        self._kept: dict[int, Patch] | None = {} if len(self) * record_bytes(stored) <= KEEP_BYTES else None
        if self.draw and self._kept is None:  # a record gives many crops, one after the other
            self._read = functools.lru_cache(maxsize=2 * POOL)(self._read)  # type: ignore[method-assign]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Patch:
        if self._kept is None:
            return self._read(index)
        if index not in self._kept:
            self._kept[index] = self._read(index)
        return self._kept[index]

    def _read(self, index: int) -> Patch:
        try:
            return self._codec.decode(self._raw[index])
        except (RuntimeError, ValueError, KeyError, OSError, DecodeError) as e:
            shard, row = self.locate(index)
            raise DataError(
                f"{shard}: record {row} cannot be read ({str(e)[:200]}); the shard is damaged or missing, "
                "copy it again or cut the records again"
            ) from e

    def locate(self, index: int) -> tuple[Path, int]:
        """Shard of a record, and its row there."""
        shard = bisect.bisect_right(self._ends, index)
        return self._files[shard], index - (self._ends[shard - 1] if shard else 0)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How the records of an order are read.

    Attributes:
        modalities: names; all of the set where None.
        host: (i, n): this one of n.
        threads: that read and decode, each a batch at a time; 0 reads in the caller's thread.
        skip: where given, a record that cannot be read is replaced by an empty one and `skip` is told why, from any
            thread and as far ahead as batches are read.
    """

    modalities: Sequence[str] | None = None
    host: tuple[int, int] = (0, 1)
    threads: int = 2
    skip: Skip | None = None


def batches(
    records: RecordSet,
    *,
    split: str,
    batch_size: int,
    seed: int,
    once: bool = False,
    balance: str = "",
    modalities: Sequence[str] | None = None,
    host: tuple[int, int] = (0, 1),
    threads: int = 2,
    skip: Skip | None = None,
) -> grain.DatasetIterator[Batch]:
    """Iterate over this host's rows of the global batches, `batch_size // host[1]` records each.

    Rows [i * local, (i + 1) * local) of every global batch belong to host i. `get_state()` is
    `{"next_index": k}`, k being the number of batches taken: restoring it, on any number of hosts and threads,
    continues with the same global batch. With `once` the last batch is filled up with empty records (`present` and
    `valid` all 0). Close the iterator after use: it holds threads.

    Args:
        records: an opened record set.
        split: as of `eomm.data.order.Order`, like the next four.
        batch_size: records in a global batch, over all hosts.
        seed: of the order.
        once: each record once, in the set's own order.
        balance: "site" or "stratum".
        modalities: as of `Loading`, like the next three.
        host: (i, n): this one of n.
        threads: that read and decode.
        skip: is told of records that cannot be read, which are left out.

    Raises:
        DataError: the split is empty or missing; while iterating without `skip`, a record is damaged.
        UsageError: the set lacks a modality or what to balance by, or the batch cannot be divided among the hosts.
    """
    order = Order(split=split, batch_size=batch_size, seed=seed, once=once, balance=balance)
    loading = Loading(modalities=modalities, host=host, threads=threads, skip=skip)
    read = reader(records, order, loading)
    return prefetched(order_batches(records, order).map(read), loading.threads)


def reader(records: RecordSet, order: Order, loading: Loading = Loading()) -> Callable[[np.ndarray], Batch]:
    """The function from the indices of a global batch's records to this host's rows of it; errors as of `batches`."""
    (process_index, process_count), size, skip = loading.host, order.batch_size, loading.skip
    if size < 1 or size % process_count:
        raise UsageError(f"batch_size {size} cannot be divided among {process_count} hosts; choose a multiple")
    source = RecordSource(records, split=order.split, modalities=loading.modalities, check_files=skip is None)
    if not len(source):
        raise DataError(
            f"{records.path}: split {order.split!r} has no records; cut more patches or choose another split"
        )
    local = size // process_count
    rows = slice(process_index * local, (process_index + 1) * local)

    def one(element: np.ndarray) -> Patch | None:
        try:
            if source.draw is None:
                return source[int(element)]
            return source.draw.of(source[int(element[0])], source.shapes, np.random.default_rng(int(element[1])))
        except DataError as e:
            if skip is None:
                raise
            skip(e)
            return None

    def read(indices: np.ndarray) -> Batch:
        return stack([one(i) for i in indices[rows]], source.shapes, count=local)

    return read


def prefetched(dataset: grain.MapDataset[Any], threads: int) -> grain.DatasetIterator[Any]:
    """An iterator over whole batches, each read by one thread, `threads` of them ahead: they are large."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return dataset.to_iter_dataset(options).__iter__()


def batch_records(records: RecordSet, order: Order, number: int) -> list[Json]:
    """The record in each row of global batch `number` (from 0) of `batches`: shard, record, site, row, col.

    One that cannot be read has an `error` instead of a site.
    """
    source = RecordSource(records, split=order.split, modalities=(), check_files=False)
    found = []
    for element in order_batches(records, order)[number]:
        index = np.ravel(element)[0]
        shard, row = source.locate(int(index))
        entry: Json = {"shard": shard.name, "record": row}
        try:
            entry |= source[int(index)]
        except DataError as e:
            entry["error"] = str(e)
        found.append(entry)
    return found


def count_batches(records: RecordSet, *, split: str, batch_size: int) -> int:
    """How many batches `batches(…, once=True)` yields."""
    each = records.manifest.get("draw", {}).get("per_record", 1)
    return -(-records.count(split) * each // batch_size)


def record_bytes(shapes: Mapping[str, PatchShape]) -> int:
    """Of one decoded record."""
    fields = (f for shape in shapes.values() for f in shape.fields().values())
    return sum(math.prod(dims) * np.dtype(dtype).itemsize for dims, dtype in fields)


def stack(patches: Sequence[Patch | None], shapes: dict[str, PatchShape], *, count: int) -> Batch:
    """Patches to a batch of `count` rows; rows beyond the patches, and None, are empty (all fields 0)."""

    def column(name: str, field: str, dims: tuple[int, ...], dtype: type) -> np.ndarray:
        array: np.ndarray = np.zeros((count, *dims), dtype)
        for row, patch in enumerate(patches):
            if patch is not None:
                array[row] = patch[name][field]
        return array

    return {
        name: {field: column(name, field, *spec) for field, spec in shape.fields().items()}
        for name, shape in shapes.items()
    }


def _shapes(records: RecordSet, modalities: Sequence[str] | None) -> dict[str, PatchShape]:
    unknown = [m for m in modalities or () if m not in records.shapes]
    if unknown:
        raise UsageError(
            f"{records.path}: has no modality {', '.join(map(repr, unknown))}; it has {', '.join(records.shapes)}"
        )
    return {m: records.shapes[m] for m in (records.shapes if modalities is None else modalities)}
