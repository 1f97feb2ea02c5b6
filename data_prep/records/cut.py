"""One location of one cube to patches: which acquisitions, which pixels of which grid, padded. Writes nothing."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.records.crops import CropConfig
from data_prep.records.split import Part
from eomm.data.cube import Cube
from eomm.data.draw import run_around
from eomm.data.records import Patch, PatchShape
from eomm.errors import ContractError, DataError

Area = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Window:
    """The acquisitions of one record.

    Attributes:
        indices: modality -> ascending indices into the cube's acquisitions; may be empty but for the reference.
    """

    indices: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Location:
    """A crop of a cube and the series to cut there.

    Attributes:
        cube: where from.
        split: where to.
        row: first row, in pixels of the reference.
        col: first column.
        windows: one per record.
        areas: modality -> the pixels of its own grid that cover the crop.
    """

    cube: Cube
    split: str
    row: int
    col: int
    windows: Sequence[Window]
    areas: Mapping[str, Area]


def starts(low: int, high: int, size: int, stride: int, *, even: bool = False) -> list[int]:
    """Where pieces of `size` begin so that they cover [low, high): every `stride`, and one flush with the end."""
    last = high - size
    if last < low:
        return []
    if even:  # no piece overlaps the one before by more than another
        count = -(-(last - low) // stride) + 1
        return sorted({round(s) for s in np.linspace(low, last, count)})
    return sorted({*range(low, last + 1, stride), last})


def _around(cube: Cube, name: str, config: CropConfig, days: tuple[int, int], low: float, high: float) -> np.ndarray:
    """The usable acquisitions of a modality around the days of a series, those of other splits' days left out."""
    group, (before, after) = cube[name], config.around(cube[name].modality)
    other = np.flatnonzero(group.usable)
    run = run_around(group.day[other], days, before, after)
    day = group.day[other[run]]
    return other[run][(day >= low) & (day <= high) | group.modality.static]


def covering(cube: Cube, name: str, reference: str, *, row: int, col: int, size: int) -> Area:
    """Pixels of a modality's own grid that cover a crop of the reference grid; all of a 1 x 1 grid.

    Raises:
        ContractError: the two grids cannot be compared: they are in different CRS.
    """
    own, lead = cube[name].grid, cube[reference].grid
    if own == lead:
        return slice(row, row + size), slice(col, col + size)
    if own.height == own.width == 1:
        return slice(0, 1), slice(0, 1)
    if own.crs != lead.crs:
        raise ContractError(
            f"{cube.path}: {name} is in {own.crs}, {reference} in {lead.crs}; bring both to one CRS when preparing"
        )
    west, south, east, north = lead.part(slice(row, row + size), slice(col, col + size)).bounds
    (top, left), (bottom, right) = own.pixel(west, north), own.pixel(east, south)
    rows, cols = (slice(math.floor(a + 1e-6), math.ceil(b - 1e-6)) for a, b in ((top, bottom), (left, right)))
    return rows, cols


def series_of(
    cube: Cube, part: Part, names: Sequence[str], *, held_out: Sequence[int], config: CropConfig
) -> list[Window]:
    """The series that every crop of `part` has: of consecutive usable reference acquisitions, and what others saw.

    A modality gives every usable acquisition from so many before the first reference day to so many after the last,
    but stays within the days of the part where those end at another split's block. Held-out reference acquisitions are
    as if they had not been taken.
    """
    group, length = cube[config.reference], config.acquisitions
    usable, windows = np.flatnonzero(group.usable), []
    for begin, end in part.times:
        low = group.day[usable[begin]] if begin > 0 else -np.inf
        high = group.day[usable[end - 1]] if end < len(usable) else np.inf
        taken = usable[begin:end]
        taken = taken[~np.isin(group.day[taken], np.asarray(held_out, np.int32))]
        pieces = min(length, len(taken)), config.strides[1]
        for start in starts(0, len(taken), *pieces, even=bool(config.margin_px)) if len(taken) else ():
            chosen = taken[start : start + length]
            days = int(group.day[chosen[0]]), int(group.day[chosen[-1]])
            others = [n for n in names if n != config.reference]
            around = {n: _around(cube, n, config, days, low, high) for n in others}
            windows.append(Window({config.reference: chosen, **around}))
    return windows


def corners_of(cube: Cube, part: Part, config: CropConfig) -> np.ndarray:
    """(row, col) of every crop that fits into `part`, int32 [crops, 2]."""
    height, even = cube[config.reference].grid.height, bool(config.margin_px)
    rows = starts(0, height, config.crop_px, config.strides[0], even=even)
    cols = [c for low, high in part.columns for c in starts(low, high, config.crop_px, config.strides[0], even=even)]
    return np.array(list(itertools.product(rows, cols)), np.int32).reshape(-1, 2)


def _areas(cube: Cube, names: Sequence[str], config: CropConfig, row: int, col: int) -> dict[str, Area]:
    """The pixels of each modality's own grid that cover a crop."""
    return {n: covering(cube, n, config.reference, row=row, col=col, size=config.crop_px) for n in names}


def locate(
    cube: Cube,
    split: str,
    corners: Iterable[Sequence[int]],
    windows: Sequence[Window],
    names: Sequence[str],
    config: CropConfig,
) -> Iterator[Location]:
    """The crops at `corners` with the series to cut there."""
    for row, col in ((int(row), int(col)) for row, col in corners):
        areas = _areas(cube, names, config, row, col)
        yield Location(cube=cube, split=split, row=row, col=col, windows=windows, areas=areas)


def largest(sizes: Iterable[Mapping[str, tuple[int, int, int]]]) -> dict[str, tuple[int, int, int]]:
    """The least (acquisitions, rows, columns) of each modality that all of `sizes` fit."""
    found: dict[str, tuple[int, int, int]] = {}
    for one in sizes:
        for name, (t, y, x) in one.items():
            a, b, c = found.get(name, (0, 0, 0))
            found[name] = (max(a, t), max(b, y), max(c, x))
    return found


def sizes_of(
    cube: Cube, corners: np.ndarray, windows: Sequence[Window], names: Sequence[str], config: CropConfig
) -> dict[str, tuple[int, int, int]]:
    """(acquisitions, rows, columns) of each modality that every record cut at `corners` fits."""
    rows, cols = (np.unique(c).tolist() for c in corners.T)
    places = [(row, cols[0]) for row in rows] + [(rows[0], col) for col in cols]
    reach = [_areas(cube, names, config, row, col) for row, col in places]
    sizes = {}
    for name in names:
        longest = max(len(w.indices[name]) for w in windows)
        sizes[name] = (longest, *(max(r[name][i].stop - r[name][i].start for r in reach) for i in (0, 1)))
    return sizes


def shapes_of(sizes: Mapping[str, tuple[int, int, int]], cube: Cube, config: CropConfig) -> dict[str, PatchShape]:
    """The shape of each modality in all records. Raises DataError where one has no acquisition."""
    for name, (acquisitions, _, _) in sizes.items():
        if not acquisitions:
            around = config.around(cube[name].modality)
            raise DataError(
                f"modality {name!r}: no usable acquisition within {around} of any {config.reference} series; "
                "the modalities do not overlap in time"
            )
    return {
        name: PatchShape(modality=cube[name].modality, acquisitions=t, height=y, width=x)
        for name, (t, y, x) in sizes.items()
    }


def cut(place: Location, shapes: Mapping[str, PatchShape]) -> Iterator[Patch]:
    """The patches of a location; each modality's pixels are read once for all of them."""
    read = {}
    for name, shape in shapes.items():
        used = np.unique(np.concatenate([w.indices[name] for w in place.windows]))
        y, x = (
            slice(s.start, s.start + n) for s, n in zip(place.areas[name], (shape.height, shape.width), strict=True)
        )
        first, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        read[name] = (first, *place.cube[name].read(slice(first, stop), y, x), place.cube[name].meta())
    lead = next(iter(place.windows[0].indices))
    for window in place.windows:
        fallback = int(place.cube[lead].day[window.indices[lead][-1]])
        patch: Patch = {"site": place.cube.site, "row": place.row, "col": place.col}
        for name, shape in shapes.items():
            first, values, valid, meta = read[name]
            at = window.indices[name]
            day = place.cube[name].day[at]
            filled = {
                "values": values[at - first],
                "valid": valid[at - first],
                "day": day,
                "present": np.ones(len(at), np.uint8),
                **{field: array[at] for field, array in meta.items()},
            }
            last = int(day[-1]) if len(day) else fallback
            patch[name] = {
                field: _pad(filled[field], dims, dtype, last if field == "day" else 0)
                for field, (dims, dtype) in shape.fields().items()
            }
        yield patch


def _pad(array: np.ndarray, dims: tuple[int, ...], dtype: type, fill: int) -> np.ndarray:
    padded: np.ndarray = np.full(dims, fill, dtype)
    padded[: len(array)] = array
    return padded
