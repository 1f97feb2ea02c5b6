"""Cubes to patch records: which crops of which acquisitions, and the record set they make. Splits are in split.py.

A location's pixels are read once for all its series, streamed into a spool on disk, and copied from there to shards
in an order drawn by the seed. Memory holds one location, whatever the number of records.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.cut import CropConfig, cut, plan, smallest_shapes
from data_prep.manifest import describe_crops, describe_source, describe_split, is_simulated
from data_prep.series import Progress
from data_prep.shards import Spool, Statistics
from data_prep.split import Part, SplitConfig, assign_sites, parts
from eomm.cube import Cube, open_cube, to_date
from eomm.errors import ContractError, DataError, UsageError
from eomm.modalities import check_contract
from eomm.patches import Codec, finish_records
from eomm.storage import new_directory


def build_patches(
    out: Path | str,
    *,
    cubes: Sequence[Path | str],
    split: SplitConfig,
    crop_px: int = 32,
    acquisitions: int = 32,
    stride_px: int | None = None,
    stride_acquisitions: int | None = None,
    window: tuple[int, int] = (8, 8),
    windows: Mapping[str, tuple[int, int]] | None = None,
    reference: str = "s2",
    min_clear: int = 4,
    clear_fraction: float = 0.5,
    modalities: Sequence[str] | None = None,
    shard_records: int = 256,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Cut the records of a training set from finished cubes; the order of `cubes` does not matter.

    Args:
        out: directory of the record set.
        cubes: finished cubes under the same contracts.
        split: who trains and who tests.
        crop_px: see `CropConfig`, also for the arguments from here to `clear_fraction`.
        acquisitions: length of a reference series.
        stride_px: from crop to crop.
        stride_acquisitions: from series to series.
        window: acquisitions of other modalities before and after.
        windows: the same of single modalities, instead.
        reference: leading modality.
        min_clear: clear acquisitions that a record needs.
        clear_fraction: of a crop valid for an acquisition to count as clear.
        modalities: which to take; all of the cubes when None.
        shard_records: at most so many records in a file.
        seed: of the drawn split and of the order of records.
        overwrite: replace an existing set.
        progress: called with ("cutting patches", locations done, locations in all).

    Raises:
        UsageError: `out` exists; simulated and real cubes mixed; a split that cannot be made or is empty.
        ContractError: the cubes follow different contracts or hold different modalities.
        DataError: a cube is damaged, smaller than a crop, or nothing in it is usable.
    """
    config = CropConfig(
        crop_px=crop_px,
        acquisitions=acquisitions,
        stride_px=stride_px,
        stride_acquisitions=stride_acquisitions,
        window=window,
        windows=windows or {},
        reference=reference,
        min_clear=min_clear,
        clear_fraction=clear_fraction,
    )
    opened = _open(cubes, config, modalities)
    names = sorted(modalities or opened[0].groups)
    _check_held_out(split, opened, reference)
    split_of = assign_sites(split, opened, reference=reference, seed=seed)
    shares = [parts(split, c, split_of[c.site], reference=reference, window=window) for c in opened]
    locations = [
        place
        for cube, share in zip(opened, shares, strict=True)
        for part in share
        if part.split in split.cut
        for place in plan(cube, part, names, held_out=split.held_out_of(part.split), config=config)
    ]
    _check_not_empty(split, {place.split for place in locations}, opened, shares, config)
    shapes = smallest_shapes(locations, opened[0], names, config)
    codec, statistics = Codec(shapes), Statistics({n: s.modality for n, s in shapes.items()})
    skipped = Counter[str]()
    with new_directory(out, overwrite=overwrite) as partial:
        spool = Spool(partial)
        try:
            for done, place in enumerate(locations):
                for patch in cut(place, shapes):
                    if not _clear_enough(patch[reference], config):
                        skipped[place.split] += 1
                        continue
                    spool.write(place.split, codec.encode(patch))
                    if place.split == "train":
                        statistics.add(patch)
                if progress:
                    progress("cutting patches", done + 1, len(locations))
            _check_kept(split, spool.counts, skipped, config)
            files = spool.to_shards(shard_records=shard_records, seed=seed)
        finally:
            spool.close()
        manifest = {
            "simulated": is_simulated(opened[0]),
            "seed": seed,
            "split": describe_split(split, opened, split_of, shares, config),
            "crop": describe_crops(config),
            "counts": {s: {"records": spool.counts[s], "skipped": skipped[s]} for s in split.cut},
            "statistics": statistics.to_dict(),
            "sources": [describe_source(c, names) for c in opened],
        }
        finish_records(partial, shapes=shapes, files=files, manifest=manifest)
    return Path(out)


def _open(paths: Sequence[Path | str], config: CropConfig, modalities: Sequence[str] | None) -> list[Cube]:
    """The cubes in an order of their own, checked against each other."""
    if not paths:
        raise UsageError("patches: no cube given; name at least one")
    distinct = {Path(p).resolve() for p in paths}
    if len(distinct) < len(paths):
        raise UsageError("patches: a cube is given twice; name each once")
    cubes = [open_cube(p) for p in paths]
    cubes.sort(key=lambda c: (c.site, c.path.name, c[config.reference].day.tolist()))
    first = cubes[0]
    for cube in cubes:
        if modalities is None and set(cube) != set(first):
            raise ContractError(
                f"{cube.path} holds {', '.join(cube)}, {first.path} holds {', '.join(first)}; name the modalities "
                "to take, or prepare the cubes alike"
            )
        for name in modalities or first:
            check_contract(
                cube[name].modality, first[name].modality, found_in=str(cube.path), expected_by=str(first.path)
            )
        if is_simulated(cube) != is_simulated(first):
            real, simulated = sorted((cube, first), key=is_simulated)
            raise UsageError(
                f"{simulated.path} is simulated and {real.path} is real; a record set holds one kind: cut two sets"
            )
        grid, group = cube[config.reference].grid, cube[config.reference]
        if min(grid.height, grid.width) < config.crop_px:
            raise DataError(
                f"{cube.path}: {grid.height} x {grid.width} px is smaller than a crop of {config.crop_px} px; choose "
                "smaller crops or a larger site"
            )
        if not group.usable.any():
            raise DataError(f"{cube.path}: no usable {config.reference} acquisition; leave this cube out")
    unknown = set(config.windows) - set(modalities or cubes[0])
    if unknown:
        raise UsageError(f"patches: windows name {', '.join(unknown)}; taken are {', '.join(modalities or cubes[0])}")
    if modalities is not None and config.reference not in modalities:
        raise UsageError(f"patches: modalities {', '.join(modalities)} lack the reference {config.reference!r}; add it")
    return cubes


def _clear_enough(fields: Mapping[str, np.ndarray], config: CropConfig) -> bool:
    clear = fields["valid"].mean(axis=(1, 2)) >= config.clear_fraction
    return int(clear.sum()) >= config.min_clear


def _check_held_out(split: SplitConfig, cubes: Sequence[Cube], reference: str) -> None:
    days = {int(d) for c in cubes for d in c[reference].day}
    unknown = [str(to_date(d)) for d in split.hold_out_days if d not in days]
    if unknown:
        raise UsageError(f"split: held-out days without a {reference} acquisition in any cube: {', '.join(unknown)}")


def _check_not_empty(
    split: SplitConfig, found: set[str], cubes: Sequence[Cube], shares: Sequence[Sequence[Part]], config: CropConfig
) -> None:
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
                "choose smaller crops, larger blocks, or more sites"
            )


def _check_kept(split: SplitConfig, kept: Counter[str], skipped: Counter[str], config: CropConfig) -> None:
    for name in split.cut:
        if not kept[name]:
            raise DataError(
                f"split: {name} is empty: all of {skipped[name]} crops have fewer than {config.min_clear} "
                f"{config.reference} acquisitions with {config.clear_fraction:.0%} of the crop valid; lower "
                "min_clear, take longer series, or prepare a clearer site"
            )
