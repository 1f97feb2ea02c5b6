"""Encoded records to shards in a drawn order, and statistics of what is in them; memory does not grow with either."""

import errno
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from eomm.modalities import Modality
from eomm.patches import Patch, shard_name
from eomm.storage import sha256

# Random access needs one record a group. zstd:1 writes twice as fast as the default (zstd:3) at the same size.
SHARD_OPTIONS = "group_size:1,zstd:1"
SPOOL_OPTIONS = "group_size:1,snappy"
LOW, HIGH = 0.001, 0.999  # quantiles in the manifest


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """ArrayRecord reports the system's errors as RuntimeError; give a full disk its own name back."""
    try:
        yield
    except RuntimeError as e:
        full = "No space left" in str(e) or "quota" in str(e)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(e)[:300], str(path)) from e


class Spool:
    """Records in the order in which they were cut, on disk; then shards in the order that the seed draws.

    Attributes:
        counts: records so far per split.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.counts = Counter[str]()
        self._spool = directory / ".spool"
        self._spool.mkdir()
        self._writers: dict[str, Any] = {}

    def write(self, split: str, record: bytes) -> None:
        """Append a record to a split."""
        with _writing(self._spool):
            if split not in self._writers:
                self._writers[split] = ArrayRecordWriter(str(self._spool / split), SPOOL_OPTIONS)
            self._writers[split].write(record)
        self.counts[split] += 1

    def to_shards(self, *, shard_records: int, seed: int) -> list[dict[str, Any]]:
        """Shards of at most `shard_records` records, described as `finish_records` wants them."""
        self._close_writers()
        files = []
        for number, split in enumerate(sorted(self.counts)):
            order = np.random.default_rng([seed, 1, number]).permutation(self.counts[split])
            shards = np.array_split(order, -(-len(order) // shard_records))
            reader = ArrayRecordReader(str(self._spool / split))
            try:
                for i, chosen in enumerate(shards):
                    path = self.directory / shard_name(split, i, len(shards))
                    with _writing(path):
                        writer = ArrayRecordWriter(str(path), SHARD_OPTIONS)
                        for at in chosen:
                            writer.write(reader.read([int(at)])[0])
                        writer.close()
                    described = {"name": path.name, "split": split, "records": len(chosen)}
                    files.append(described | {"bytes": path.stat().st_size, "sha256": sha256(path)})
            finally:
                reader.close()
        return files

    def close(self) -> None:
        """Remove the spool, also after an error."""
        try:
            self._close_writers()
        finally:
            shutil.rmtree(self._spool, ignore_errors=True)

    def _close_writers(self) -> None:
        with _writing(self._spool):
            while self._writers:
                self._writers.popitem()[1].close()


class Statistics:
    """Exact mean, deviation and quantiles per band over valid values, from a histogram of the stored int16.

    A pixel-date counts as often as records show it, as it does in training.
    """

    def __init__(self, modalities: Mapping[str, Modality]):
        self._modalities = modalities
        self._histograms = {n: np.zeros((len(m.bands), 1 << 16), np.int64) for n, m in modalities.items()}

    def add(self, patch: Patch) -> None:
        """Count the valid values of a patch."""
        for name, histogram in self._histograms.items():
            values = patch[name]["values"][patch[name]["valid"] > 0]
            for band in range(values.shape[-1]):
                histogram[band] += np.bincount(values[:, band].astype(np.int32) + (1 << 15), minlength=1 << 16)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Modality -> {"mean", "std", "low", "high": per band, physical units; "valid": pixel-dates counted}."""
        return {name: self._of(name) for name in self._modalities}

    def _of(self, name: str) -> dict[str, Any]:
        histogram, modality = self._histograms[name], self._modalities[name]
        count = int(histogram[0].sum())
        if not count:
            return {"mean": None, "std": None, "low": None, "high": None, "valid": 0}
        stored = np.arange(-(1 << 15), 1 << 15, dtype=np.float64)
        scale = np.array([b.scale for b in modality.bands])
        offset = np.array([b.offset for b in modality.bands])
        mean = histogram @ stored / count
        std = np.sqrt(np.maximum(histogram @ stored**2 / count - mean**2, 0))
        cumulative = np.cumsum(histogram, axis=1)
        low, high = (stored[np.argmax(cumulative >= q * count, axis=1)] for q in (LOW, HIGH))
        return {
            "mean": (mean * scale + offset).tolist(),
            "std": (std * np.abs(scale)).tolist(),
            "low": (low * scale + offset).tolist(),
            "high": (high * scale + offset).tolist(),
            "valid": count,
        }
