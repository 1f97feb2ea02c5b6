"""Which crops of which cubes a record set takes, checked against each other, and the shards they fill. Cuts nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.records.crops import CropConfig
from data_prep.records.cut import Window, corners_of, series_of
from data_prep.records.shards import Piece, Shard
from data_prep.records.split import HALO_PX, Part, SplitConfig
from eomm.data.cube import Cube, open_cube
from eomm.data.draw import Draw, longest_runs
from eomm.data.grid import to_date
from eomm.data.modality import check_contract
from eomm.data.records import PatchShape
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.fields import Json

WINDOW_PX = 2 * HALO_PX + 1  # below it a crop holds no window of an encoder


@dataclass(frozen=True)
class Take:
    """What one split takes of one cube.

    Attributes:
        cube: the cube.
        part: of it.
        corners: (row, col) of the crops, [crops, 2].
        windows: the series at every crop.
    """

    cube: Cube
    part: Part
    corners: np.ndarray
    windows: Sequence[Window]


def open_cubes(paths: Sequence[Path | str], config: CropConfig, modalities: Sequence[str] | None) -> list[Cube]:
    """The cubes in an order of their own, checked against each other."""
    cubes = sorted(_opened(paths), key=lambda c: (c.site, c.path.name, c[config.reference].day.tolist()))
    first, names = cubes[0], list(modalities or cubes[0])
    if modalities is not None and config.reference not in modalities:
        raise UsageError(f"patches: modalities {', '.join(modalities)} lack the reference {config.reference!r}; add it")
    if unknown := set(config.windows) - set(names):
        raise UsageError(f"patches: windows name {', '.join(unknown)}; taken are {', '.join(names)}")
    for cube in cubes:
        if modalities is None and set(cube) != set(first):
            raise ContractError(
                f"{cube.path} holds {', '.join(cube)}, {first.path} holds {', '.join(first)}; name the modalities "
                "to take, or prepare the cubes alike"
            )
        _check_alike(cube, first, names)
        _check_large_enough(cube, config)
    for name in (config.reference, *config.windows):
        _check_dated(first, name)
    return cubes


def _opened(paths: Sequence[Path | str]) -> list[Cube]:
    if not paths:
        raise UsageError("patches: no cube given; name at least one")
    if len({Path(p).resolve() for p in paths}) < len(paths):
        raise UsageError("patches: a cube is given twice; name each once")
    return [open_cube(p) for p in paths]


def _check_dated(cube: Cube, name: str) -> None:
    if cube[name].modality.static:
        raise UsageError(
            f"patches: {name} is static: it has no dates for records to follow, and every record has it. Choose a "
            "reference with dates, and no window for it"
        )


def _check_alike(cube: Cube, first: Cube, names: Sequence[str]) -> None:
    """Raise where two cubes follow other contracts, or one is simulated and the other real."""
    for name in names:
        check_contract(cube[name].modality, first[name].modality, found_in=str(cube.path), expected_by=str(first.path))
    if cube.simulated != first.simulated:
        real, simulated = sorted((cube, first), key=lambda c: c.simulated)
        raise UsageError(
            f"{simulated.path} is simulated and {real.path} is real; a record set holds one kind: cut two sets"
        )


def _check_large_enough(cube: Cube, config: CropConfig) -> None:
    """Raise DataError where no crop fits into a cube, or nothing in it is usable."""
    grid, group = cube[config.reference].grid, cube[config.reference]
    if min(grid.height, grid.width) < config.crop_px:
        raise DataError(
            f"{cube.path}: {grid.height} x {grid.width} px is smaller than a crop of {config.crop_px} px; choose "
            f"crops of at most {min(grid.height, grid.width)} px (--crop-px), or a larger site"
        )
    if not group.usable.any():
        raise DataError(f"{cube.path}: no usable {config.reference} acquisition; leave this cube out")


def check_held_out(split: SplitConfig, cubes: Sequence[Cube], reference: str) -> None:
    """Raise UsageError where a day to hold out is none of any cube."""
    days = {int(d) for c in cubes for d in c[reference].day}
    unknown = [str(to_date(d)) for d in split.hold_out_days if d not in days]
    if unknown:
        raise UsageError(f"split: held-out days without a {reference} acquisition in any cube: {', '.join(unknown)}")


def check_not_empty(
    split: SplitConfig, found: set[str], cubes: Sequence[Cube], shares: Sequence[Sequence[Part]], config: CropConfig
) -> None:
    """Raise UsageError where a split has no crop, saying what was left for it."""
    for name in split.cut:
        if name not in found:
            left = "; ".join(
                f"{c.site}: columns {list(p.columns)}, usable acquisitions {list(p.times)}"
                for c, share in zip(cubes, shares, strict=True)
                for p in share
                if p.split == name
            )
            raise UsageError(
                f"split: {name} is empty: no crop of {config.crop_px} px fits beside the buffers of "
                f"{split.space_buffer_px} px and {max(config.window)} acquisitions (left: {left or 'no site'}); "
                f"{_what_fits(name, cubes, shares, config)}"
            )


def _what_fits(name: str, cubes: Sequence[Cube], shares: Sequence[Sequence[Part]], config: CropConfig) -> str:
    """Which crops the widest block of a split holds."""
    sides = [
        min(cube[config.reference].grid.height, stop - start)
        for cube, share in zip(cubes, shares, strict=True)
        for part in share
        if part.split == name
        for start, stop in part.columns
    ]
    side = max(sides, default=0)
    if WINDOW_PX <= side < config.crop_px:
        return f"crops of at most {side} px fit (--crop-px {side}), or choose another block, or more sites"
    return "choose larger blocks, longer series, or more sites"


def list_takes(
    split: SplitConfig,
    cubes: Sequence[Cube],
    shares: Sequence[Sequence[Part]],
    names: Sequence[str],
    config: CropConfig,
) -> Iterator[Take]:
    """What the splits that are cut take of each cube, in the order of `cubes`."""
    for cube, share in zip(cubes, shares, strict=True):
        for part in share:
            if part.split not in split.cut:
                continue
            windows = series_of(cube, part, names, held_out=split.held_out_of(part.split), config=config)
            corners = corners_of(cube, part, config)
            if windows and len(corners):
                yield Take(cube, part, corners, windows)


def list_shards(takes: Sequence[Take], splits: Sequence[str], shard_records: int) -> Iterator[Shard]:
    """Shards of at most `shard_records` records, from the crops in their order; small cubes share one."""
    number = 0
    for split in splits:
        pieces: list[Piece] = []
        room = shard_records
        for take in (t for t in takes if t.part.split == split):
            count = len(take.windows)
            runs = [(a, min(a + shard_records, count)) for a in range(0, count, shard_records)]
            for run in runs:
                each, done = run[1] - run[0], 0
                while done < len(take.corners):
                    if each > room:
                        yield Shard(number=number, split=split, pieces=tuple(pieces))
                        number, pieces, room = number + 1, [], shard_records
                    chosen = take.corners[done : done + room // each]
                    corners = tuple((int(row), int(col)) for row, col in chosen)
                    pieces.append(
                        Piece(cube=str(take.cube.path.absolute()), part=take.part, corners=corners, series=run)
                    )
                    done, room = done + len(chosen), room - len(chosen) * each
        if pieces:
            yield Shard(number=number, split=split, pieces=tuple(pieces))
            number += 1


def describe_draws(takes: Sequence[Take], shapes: Mapping[str, PatchShape], config: CropConfig) -> Json:
    """What a set without copies tells of the crops that batches draw from its records: "draw" and "drawn".

    Nothing for sets whose records are used whole. The drawing itself is eomm/data/draw.py.

    Raises:
        UsageError: a modality has a grid of its own of several pixels.
    """
    if not config.margin_px:
        return {}
    lead = shapes[config.reference]
    windows = {n: config.around(s.modality) for n, s in shapes.items() if n != config.reference}
    for shape in shapes.values():
        _check_grid(shape, lead, config.reference)
    inner = config.draw_px - 2 * config.margin_px
    places = ((config.crop_px - 2 * config.margin_px) / inner) ** 2
    draw = Draw(
        reference=config.reference,
        crop_px=config.draw_px,
        margin_px=config.margin_px,
        acquisitions=config.draw_acquisitions,
        windows=windows,
        lengths=_longest(takes, windows, config),
        per_record=max(1, round(places * lead.acquisitions / config.draw_acquisitions)),
    )
    drawn = draw.shapes(shapes)
    sizes = {n: {"acquisitions": s.acquisitions, "height": s.height, "width": s.width} for n, s in drawn.items()}
    return {"draw": draw.to_manifest(), "drawn": sizes}


def _check_grid(shape: PatchShape, lead: PatchShape, reference: str) -> None:
    """Raise UsageError where a modality has a grid of its own of several pixels."""
    if not shape.site_wide and (shape.height, shape.width) != (lead.height, lead.width):
        raise UsageError(
            f"patches: {shape.modality.name} has a grid of its own ({shape.height} x {shape.width} px for "
            f"{lead.height} x {lead.width} of {reference}); expected the same grid or a single pixel where records "
            "have a margin. Prepare both on one grid, or cut with margin_px 0"
        )


def _longest(takes: Sequence[Take], windows: Mapping[str, tuple[int, int]], config: CropConfig) -> dict[str, int]:
    """Modality -> the most acquisitions that a drawn run has."""
    lengths: dict[str, int] = {}
    for take, window in ((t, w) for t in takes for w in t.windows):
        day = {n: take.cube[n].day[window.indices[n]] for n in (config.reference, *windows)}
        found = longest_runs(day, windows, config.reference, config.draw_acquisitions)
        lengths = {n: max(lengths.get(n, 1), length) for n, length in found.items()}
    return lengths
