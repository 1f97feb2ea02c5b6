"""One shard of a record set: crops of cubes in, a file of records out, and what is in it. Not which crops are cut.

Those are in takes.py. A shard is an independent unit: any process can write it, and it is the same whoever does.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from data_prep.records.crops import CropConfig
from data_prep.records.cut import cut, locate, series_of
from data_prep.records.split import Part
from eomm.data.cube import open_cube
from eomm.data.modality import Modality
from eomm.data.records import Codec, Patch, PatchShape
from eomm.store.digest import sha256
from eomm.store.fields import Json
from eomm.store.notes import FOLDER, Notes

# Random access needs one record a group. zstd:1 writes twice as fast as the default (zstd:3) at the same size.
SHARD_OPTIONS = "group_size:1,zstd:1"
LOW, HIGH = 0.001, 0.999  # quantiles in the manifest


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Crops of one cube, and which of the series that each has.

    Attributes:
        cube: its path.
        part: of the cube, from which the series are.
        corners: (row, col) of the crops.
        series: first and behind the last.
    """

    cube: str
    part: Part
    corners: tuple[tuple[int, int], ...]
    series: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What one file holds.

    Attributes:
        number: in the order of all shards of a set.
        split: whose records.
        pieces: in order.
    """

    number: int
    split: str
    pieces: tuple[Piece, ...]

    @property
    def crops(self) -> int:
        """How many crops are read, which is what takes the time."""
        return sum(len(p.corners) for p in self.pieces)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all shards of a set share.

    Attributes:
        shapes: by modality.
        config: how records are cut.
        held_out: by split, days whose reference acquisitions its records may not have.
        measured: splits whose values go into the statistics.
    """

    shapes: Mapping[str, PatchShape]
    config: CropConfig
    held_out: Mapping[str, tuple[int, ...]]
    measured: tuple[str, ...] = ("train",)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """ArrayRecord reports the system's errors as RuntimeError; give a full disk its own name back."""
    try:
        yield
    except RuntimeError as e:
        full = "No space left" in str(e) or "quota" in str(e)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(e)[:300], str(path)) from e


def write_shard(directory: str, recipe: Recipe, shard: Shard, *, tick: Callable[[], None] | None = None) -> Json:
    """Write a shard, and beside it what is in it; one that is there already is only described.

    Args:
        directory: of the unfinished record set; the file goes to its folder of units, under the shard's number.
        recipe: of the set.
        shard: which.
        tick: called after every crop.

    Returns:
        {"split", "records", "skipped", "sites": {site: records, in the file's order}, "bytes", "sha256"}.

    Raises:
        DataError: a cube cannot be read.
        OSError: the file cannot be written.
    """
    if there := written(Path(directory), shard.number):
        return there
    folder = Path(directory) / FOLDER
    path = folder / f"{shard.number}.array_record"
    codec, statistics = Codec(recipe.shapes), Statistics({n: s.modality for n, s in recipe.shapes.items()})
    unfinished = path.with_name(path.name + f".{os.getpid()}.partial")
    sites, skipped = Counter[str](), 0
    writer = None
    try:
        with _writing(path):
            writer = ArrayRecordWriter(str(unfinished), SHARD_OPTIONS)
            for patch in _patches(shard, recipe, tick):
                clear = patch[recipe.config.reference]["valid"].mean((1, 2)) >= recipe.config.clear_fraction
                if clear.sum() < recipe.config.min_clear:
                    skipped += 1
                    continue
                writer.write(codec.encode(patch))
                sites[patch["site"]] += 1
                if shard.split in recipe.measured:
                    statistics.add(patch)
            writer.close()
            writer = None
        if shard.split in recipe.measured:
            statistics.save(folder / f"{shard.number}.npz")
        found = {"split": shard.split, "records": sites.total(), "skipped": skipped, "sites": dict(sites)}
        found |= {"bytes": unfinished.stat().st_size, "sha256": sha256(unfinished)}
        os.replace(unfinished, path)
        Notes(folder).done(shard.number, found)
        return found
    finally:
        if writer is not None:
            _abandon(writer)
        unfinished.unlink(missing_ok=True)


def write_file(path: Path, shapes: Mapping[str, PatchShape], patches: Sequence[Patch]) -> Json:
    """Write patches, those of a site together, as one file of a set. Raises OSError where it cannot be written.

    Returns:
        {"records", "sites": {site: records, in the file's order}, "bytes", "sha256"}.
    """
    codec = Codec(shapes)
    with _writing(path):
        writer = ArrayRecordWriter(str(path), SHARD_OPTIONS)
        for patch in patches:
            writer.write(codec.encode(patch))
        writer.close()
    sites = Counter(str(p["site"]) for p in patches)
    return {"records": len(patches), "sites": dict(sites), "bytes": path.stat().st_size, "sha256": sha256(path)}


def written(directory: Path, number: int) -> Json | None:
    """What is in a shard, if it is there: what `write_shard` told of it."""
    units = directory / FOLDER
    return Notes(units).made(number) if (units / f"{number}.array_record").is_file() else None


def _abandon(writer: Any) -> None:
    """Close a file that another error has ended."""
    try:
        writer.close()
    except RuntimeError:  # the error that matters is on its way
        return


def _patches(shard: Shard, recipe: Recipe, tick: Callable[[], None] | None) -> Iterator[Patch]:
    names, config = list(recipe.shapes), recipe.config
    for piece in shard.pieces:
        cube = open_cube(piece.cube)
        windows = series_of(cube, piece.part, names, held_out=recipe.held_out[shard.split], config=config)
        chosen = windows[slice(*piece.series)]
        for place in locate(cube, shard.split, piece.corners, chosen, names, config):
            yield from cut(place, recipe.shapes)
            if tick:
                tick()


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

    def save(self, path: Path) -> None:
        """Keep what was counted, for `load`."""
        kept: dict[str, np.ndarray] = {}  # of 65,536 values few occur
        for name, histogram in self._histograms.items():
            at = np.flatnonzero(histogram)
            kept |= {f"{name}/at": at.astype(np.int32), f"{name}/count": histogram.flat[at]}
        np.savez(path, **kept)  # type: ignore[arg-type]

    def load(self, paths: Sequence[Path]) -> None:
        """Add what was counted elsewhere."""
        for path in paths:
            with np.load(path) as saved:
                for name, histogram in self._histograms.items():
                    histogram.flat[saved[f"{name}/at"]] += saved[f"{name}/count"]

    def to_dict(self) -> dict[str, Json]:
        """Modality -> {"mean", "std", "low", "high": per band, physical units; "valid": pixel-dates counted}."""
        return {name: self._of(name) for name in self._modalities}

    def _of(self, name: str) -> Json:
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
