"""What a page may ask for: layers [date, channel, y, x] of an embedding cube and of the cube it was made of.

Numbers stay as they are stored, small integers with a scale; float vectors become int8. Not what a page does with them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int8

from eomm.data.attributes import attributes_of
from eomm.data.cube import Cube, CubeGroup, open_cube
from eomm.data.grid import Grid, to_date
from eomm.embedding.blocks import days_of
from eomm.embedding.layers import FLAGS, NO_NUMBER, TOLD, in_steps
from eomm.embedding.read import MISSING, VERSION, open_embedding
from eomm.errors import ContractError, DataError
from eomm.store.folders import entered

NO_VALUE = np.iinfo(np.int16).min  # of a band where the acquisition is not valid; cubes store none below -32,767
CLOUDED = FLAGS["clouded"]
SAMPLE_DATES, SAMPLE_TILES, TILE = 16, 6, 16  # what scales and colours are drawn from: 16 px is a store's inner chunk


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one layer's numbers are.

    Attributes:
        dtype: "int8", "int16", "uint8" or "uint16".
        channels: how many there are.
        missing: the number that stands for none; None where there is always one.
    """

    dtype: str
    channels: int
    missing: int | None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a number beside the vectors is.

    Attributes:
        step: by which what is stored is multiplied.
        unit: empty where it has none.
        meaning: a sentence.
    """

    step: float
    unit: str
    meaning: str


class Layers:
    """An embedding cube and its cube, read window by window.

    Args:
        embedding: an embedding cube, or a composite of one.
        cube: that it was made of; without one there is no true colour and there are no bands.

    Attributes:
        path: the embedding cube.
        attributes: of the store.
        grid: of both.
        day: int [date], days since 1970-01-01.
        length: of the vectors.
        scale: by which int8 vectors are multiplied, a number for each.
        group: the cube's reference modality, None without a cube.
        told: numbers that the store tells of its vectors, such as "expected_error", by name.
        table: what there is, by name: "vectors" and "flags", perhaps "bands", and what is told.

    Raises:
        DataError: a store is missing, unfinished or damaged; the cube lacks a date of the embedding; nothing is valid.
        ContractError: cube and embedding are of different sites or grids.
    """

    def __init__(self, embedding: Path | str, cube: Cube | Path | str | None = None):
        self.path = entered(embedding)
        self._store = open_embedding(self.path, decode=False)
        self.attributes: dict[str, Any] = attributes_of(self._store)
        self.grid = Grid.from_attributes(self.attributes)
        self.day: Int[np.ndarray, " date"] = days_of(self._store)
        self.length: int = self._store.sizes["feature"]
        self._hidden = int(self.attributes.get("eomm:version", 1)) < VERSION  # zeros where there is no vector
        self.group: CubeGroup | None = None
        if cube is not None:
            self.group = self._matching(cube if isinstance(cube, Cube) else open_cube(cube))
            self._acquisition = self._acquisitions(self.group)
        self.table = {"vectors": Layer(dtype="int8", channels=self.length, missing=MISSING)}
        self.table["flags"] = Layer(dtype="uint8", channels=1, missing=None)
        if self.group is not None:
            self.table["bands"] = Layer(dtype="int16", channels=len(self.group.modality.bands), missing=NO_VALUE)
        self.told = {name: told for name in ("expected_error", *TOLD) if (told := self._told_of(name))}
        for name in self.told:
            self.table[name] = Layer(dtype="uint16", channels=1, missing=int(NO_NUMBER))
        self.scale: Float32[np.ndarray, " d"] = self._scale()

    @property
    def site(self) -> str:
        """The site's name."""
        return str(self.attributes.get("site", self.path.name))

    def read(self, name: str, dates: slice | Int[np.ndarray, " n"], rows: slice, cols: slice) -> np.ndarray:
        """A layer's numbers in a window, [date, channel, y, x]; steps of slices count."""
        if name == "bands":
            return self._bands(dates, rows, cols)
        if name == "flags":
            return self._flags(dates, rows, cols)[:, None]
        if name in self.told:
            values = np.asarray(self._store[name][dates, rows, cols].values, np.float64)
            return in_steps(values, self.told[name].step, np.isfinite(values))[:, None]
        return self.quantised(self._vectors(dates, rows, cols)).transpose(0, 3, 1, 2)

    def clear_share(self) -> Float32[np.ndarray, " date"]:
        """The share of each date's pixels that are clear."""
        step = 16  # dates of a chunk
        parts = [self._store["valid"][t : t + step].values for t in range(0, len(self.day), step)]
        return np.concatenate([p.astype(bool).mean((1, 2)) for p in parts]).astype(np.float32)

    def sample(self, name: str) -> np.ndarray:
        """Numbers of a layer [n, channel] from tiles spread over space and time, all of a small store."""
        found = [self.read(name, *window) for window in self._windows()]
        return np.concatenate([f.transpose(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in found])

    def _windows(self) -> Iterator[tuple[np.ndarray, slice, slice]]:
        """Dates, rows and columns of the sample."""
        dates = spread(len(self.day), SAMPLE_DATES)
        rows, cols = (tiles(size) for size in (self.grid.height, self.grid.width))
        yield from ((dates, y, x) for y in rows for x in cols)

    def quantised(self, vectors: np.ndarray) -> Int8[np.ndarray, "*n d"]:
        """Vectors as int8: those of a store of int8 as they are, others in steps of `scale`, NaN as missing."""
        if vectors.dtype == np.int8:
            return vectors
        steps = np.clip(np.rint(vectors / self.scale), -127, 127)
        return np.where(np.isfinite(vectors), steps, MISSING).astype(np.int8)

    def _scale(self) -> np.ndarray:
        if self._store["embedding"].dtype == np.int8:
            return np.asarray(self._store["embedding_scale"].values, np.float32)
        self.scale = np.ones(self.length, np.float32)
        top = np.zeros(self.length, np.float32)
        for window in self._windows():
            found = np.abs(self._vectors(*window).astype(np.float32))
            top = np.fmax(top, np.nanmax(found, axis=(0, 1, 2), initial=0.0))
        return np.where(top > 0, top / 127, 1).astype(np.float32)

    def _vectors(self, dates: Any, rows: slice, cols: slice) -> np.ndarray:
        found = np.asarray(self._store["embedding"][dates, rows, cols].values)
        if self._hidden:
            missing = MISSING if found.dtype == np.int8 else np.nan
            clear = self._store["valid"][dates, rows, cols].values.astype(bool)
            found = np.where(clear[..., None], found, found.dtype.type(missing))
        return found

    def _flags(self, dates: Any, rows: slice, cols: slice) -> np.ndarray:
        clear = self._store["valid"][dates, rows, cols].values.astype(bool)
        stored = self._store["flags"][dates, rows, cols].values if "flags" in self._store else np.zeros_like(clear)
        kept = np.asarray(stored, np.uint8) & ~np.uint8(CLOUDED)
        return kept | np.where(clear, 0, CLOUDED).astype(np.uint8)

    def _told_of(self, name: str) -> "Told | None":
        if name not in self._store:
            return None
        about = self._store[name].attrs
        step = float(self._store[name].encoding.get("scale_factor", 1.0))
        unit = str(about.get("units", "1"))
        error = "reflectance" if name == "expected_error" and unit == "1" else unit
        return Told(step=step, unit="" if error == "1" else error, meaning=str(about.get("long_name", "")))

    def _bands(self, dates: Any, rows: slice, cols: slice) -> np.ndarray:
        assert self.group is not None
        at = self._acquisition[dates]
        values, clear = self.group.read(at, slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        values, clear = values[:, :: rows.step, :: cols.step], clear[:, :: rows.step, :: cols.step]
        return np.where(clear[..., None], values, NO_VALUE).transpose(0, 3, 1, 2)

    def _matching(self, cube: Cube) -> CubeGroup:
        """The modality of the cube whose dates are embedded."""
        if cube.site != self.site:
            raise ContractError(
                f"{self.path}: is of site {self.site!r}, the cube {cube.path} of {cube.site!r}; name its own by --cube"
            )
        name = str(self.attributes.get("provenance", {}).get("reference", "s2"))
        group = cube[name]
        if group.grid != self.grid:
            raise ContractError(
                f"{self.path}: lies on {self.grid.text}, {name} of {cube.path} on {group.grid.text}; name the cube "
                "that it was made of"
            )
        return group

    def _acquisitions(self, group: CubeGroup) -> Int[np.ndarray, " date"]:
        """The acquisition of each date: of several usable ones of a day the first for the first date of that day."""
        usable = np.flatnonzero(group.usable)
        found, last = np.zeros(len(self.day), np.int64), -1
        for i, day in enumerate(self.day):
            later = usable[(usable > last) & (group.day[usable] == day)]
            if not len(later):
                raise DataError(
                    f"{group.path}: has no usable acquisition of {to_date(day)}, which {self.path} holds; name the "
                    "cube that it was made of, or none"
                )
            found[i] = last = later[0]
        return found


def spread(count: int, most: int) -> Int[np.ndarray, " n"]:
    """At most so many positions, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def tiles(size: int) -> list[slice]:
    """Tiles of a store's inner chunks, evenly over an axis."""
    starts = spread(-(-size // TILE), SAMPLE_TILES) * TILE
    return [slice(int(s), min(int(s) + TILE, size)) for s in starts]
