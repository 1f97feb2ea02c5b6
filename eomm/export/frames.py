"""What an export shows, frame by frame: the dates of an embedding cube, or means over its months, seasons or years.

Every form (COG, GeoParquet, Zarr) asks for blocks of frames from here; nothing larger than a block is held.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float32

from eomm.data.attributes import attributes_of
from eomm.data.grid import EPOCH, Grid, to_date, within
from eomm.embedding.blocks import TOGETHER, blocks, days_of
from eomm.embedding.run import open_embedding
from eomm.errors import DataError, UsageError
from eomm.store.folders import entered
from eomm.store.progress import Progress

COMPOSITES = ("month", "season", "year")
SEASONS = ("DJF", "MAM", "JJA", "SON")
COUNT = "dates"  # the layer of a composite that says over how many dates a pixel's mean is


@dataclass(frozen=True)
class Frame:
    """One map of an export.

    Attributes:
        name: "2018-05-06", "2018-05", "2018-JJA" or "2018"; distinct, also where two acquisitions share a day.
        first: its day, or the period's first, days since 1970-01-01.
        last: the period's last day, included.
        dates: positions in the store; one, or those of the period.
    """

    name: str
    first: int
    last: int
    dates: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """Some frames of a part of the grid.

    Attributes:
        vectors: zero where there is none.
        present: where there is a vector: valid, or with `cloudy` any that the store has.
        layers: what else is known of each pixel; floats are NaN where unknown.
    """

    vectors: Float32[np.ndarray, "n y x d"]
    present: Bool[np.ndarray, "n y x"]
    layers: dict[str, np.ndarray]


class Frames:
    """The frames of one embedding cube.

    Args:
        path: the embedding cube.
        dates: first and last, both included; all when None.
        length: keep so many leading numbers of each vector.
        composite: None, "month", "season" or "year"; a frame is then the mean over the period's dates, pixel by
            pixel over those where it has a vector, and December counts to the winter of the next year.
        cloudy: also the vectors of clouded pixels, where the store has them (`eomm embed --cloudy`).

    Attributes:
        path: the embedding cube.
        grid: of the cube.
        scale: of each number where the store holds int8 (vector = int8 * scale), else None.
        frames: in the order of time.
        layers: names of what a `Block` has beside its vectors.
        flags: those of them that are flags, bit by bit.
        attributes: of the store.

    Raises:
        DataError: not a finished embedding cube.
        UsageError: an option is wrong, or no date is left.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        dates: tuple[date, date] | None = None,
        length: int | None = None,
        composite: str | None = None,
        cloudy: bool = False,
    ):
        self.path = entered(path)
        self._ds = open_embedding(self.path, masked=not cloudy)
        self.attributes: Mapping[str, Any] = attributes_of(self._ds)
        # A composite has no vectors but those it calls valid; a cube says whether it has others.
        everywhere = "eomm:export" not in self.attributes and not self.attributes["provenance"].get("clear_only", True)
        self._cloudy, self._composite = cloudy and everywhere, composite
        self.grid = Grid.from_attributes(self.attributes)
        full = self._ds.sizes["feature"]
        if length is not None and not 1 <= length <= full:
            raise UsageError(f"length is {length}; the vectors of {self.path} have {full} numbers")
        self.length = length or full
        scale = open_embedding(self.path, decode=False).get("embedding_scale")
        self.scale = None if scale is None else scale.values[: self.length].astype(np.float32)
        self.layers = (COUNT,) if composite else tuple(layers_of(self._ds))
        self.flags = tuple(n for n in self.layers if not composite and "flag_masks" in self._ds[n].attrs)
        day = days_of(self._ds)
        chosen = within(day, dates)
        if not len(chosen):
            raise UsageError(f"{self.path}: no date{between(dates)}; it has {len(day)}{between(ends(day))}")
        self.frames = periods(day, chosen, composite) if composite else singles(day, chosen)

    def read(self, part: slice, y: slice, x: slice) -> Block:
        """Some frames of a part of the grid. Raises DataError where the store is damaged."""
        frames = self.frames[part]
        try:
            if self._composite:
                return self._means(frames, y, x)
            return self._dates([f.dates[0] for f in frames], y, x)
        except DataError:
            raise
        except (ValueError, OSError, RuntimeError) as e:
            raise DataError(f"{self.path}: cannot be read ({str(e)[:300]}); the store is damaged") from e

    def blocks(
        self, progress: Progress | None = None, areas: Sequence[tuple[slice, slice]] | None = None
    ) -> Iterator[tuple[slice, slice, slice, Block]]:
        """All frames, block by block, some frames at a time: (frames, rows, columns, block). Errors as of `read`.

        Args:
            progress: called with (blocks done, blocks in all).
            areas: (rows, columns) to read; all blocks of the grid when None.
        """
        areas, parts = blocks(self.grid) if areas is None else areas, parts_of(self.frames)
        for done, (part, (y, x)) in enumerate(itertools.product(parts, areas), 1):
            yield part, y, x, self.read(part, y, x)
            if progress:
                progress(done, len(parts) * len(areas))

    def _dates(self, positions: Sequence[int], y: slice, x: slice) -> Block:
        ds = self._ds.isel(time=list(positions), y=y, x=x)
        vectors = ds["embedding"].isel(feature=slice(self.length)).values.astype(np.float32, copy=False)
        present = ds["valid"].values.astype(bool)
        if self._cloudy:
            present = np.ones_like(present)
        vectors[~present] = 0  # in place: at 64 numbers a block takes 134 MB
        return Block(vectors, present, {} if self._composite else {name: ds[name].values for name in self.layers})

    def _means(self, frames: Sequence[Frame], y: slice, x: slice) -> Block:
        shape = (len(frames), y.stop - y.start, x.stop - x.start)
        total = np.zeros((*shape, self.length), np.float32)
        count = np.zeros(shape, np.uint16)
        for i, frame in enumerate(frames):
            for start in range(0, len(frame.dates), TOGETHER):
                block = self._dates(frame.dates[start : start + TOGETHER], y, x)
                total[i] += block.vectors.sum(0)
                count[i] += block.present.sum(0, dtype=np.uint16)
        total /= np.maximum(count, 1)[..., None].astype(np.float32)
        return Block(total, count > 0, {COUNT: count})


def layers_of(ds: xr.Dataset) -> list[str]:
    """Names of the layers [time, y, x] beside the vectors and their validity."""
    return [str(n) for n, v in ds.data_vars.items() if v.dims == ("time", "y", "x") and n != "valid"]  # in their order


def singles(day: np.ndarray, chosen: np.ndarray) -> list[Frame]:
    """A frame per date; of two on a day the second is "2018-05-06-2"."""
    frames: list[Frame] = []
    for position in chosen.tolist():
        this = int(day[position])
        before = sum(f.first == this for f in frames[-9:])
        name = f"{to_date(this)}-{before + 1}" if before else str(to_date(this))
        frames.append(Frame(name, this, this, (position,)))
    return frames


def periods(day: np.ndarray, chosen: np.ndarray, composite: str) -> list[Frame]:
    """A frame per month, season or year that has a date. Raises UsageError for another period."""
    if composite not in COMPOSITES:
        raise UsageError(f"composite {composite!r}: expected one of {', '.join(COMPOSITES)}")
    dates: dict[tuple[str, int, int], list[int]] = {}
    for position in chosen.tolist():
        dates.setdefault(period_of(to_date(int(day[position])), composite), []).append(position)
    return [Frame(*period, tuple(at)) for period, at in dates.items()]


def period_of(day: date, composite: str) -> tuple[str, int, int]:
    """Name, first and last day (since 1970-01-01) of the period that a day belongs to."""
    if composite == "year":
        name, start, months = str(day.year), date(day.year, 1, 1), 12
    elif composite == "month":
        name, start, months = f"{day:%Y-%m}", day.replace(day=1), 1
    else:
        season = day.month % 12 // 3
        year = day.year + (day.month == 12)  # winter is named after its January
        start = date(year, 3 * season, 1) if season else date(year - 1, 12, 1)
        name, months = f"{year}-{SEASONS[season]}", 3
    after = start.month - 1 + months
    end = date(start.year + after // 12, after % 12 + 1, 1)
    return name, (start - EPOCH).days, (end - EPOCH).days - 1


def parts_of(frames: Sequence[Frame]) -> list[slice]:
    """Frames that are gone through together."""
    return [slice(i, min(i + TOGETHER, len(frames))) for i in range(0, len(frames), TOGETHER)]


def ends(day: np.ndarray) -> tuple[date, date] | None:
    """First and last date of days."""
    return (to_date(day.min()), to_date(day.max())) if len(day) else None


def between(dates: tuple[date, date] | None) -> str:
    """For messages."""
    return f" from {dates[0]} to {dates[1]}" if dates else ""
