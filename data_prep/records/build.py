"""Cubes to patch records: which crops of which acquisitions, and the record set they make. Splits are in split.py.

Records are cut shard by shard (shards.py), each shard a unit that any process can write: crops follow each other as
they do in the cubes, and training draws an order over all shards anyway (eomm/data/batches.py). Memory holds one crop.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_prep.records.crops import CropConfig
from data_prep.records.cut import largest, shapes_of, sizes_of
from data_prep.records.manifest import (
    content_of,
    describe_balance,
    describe_crops,
    describe_source,
    describe_split,
)
from data_prep.records.shards import Recipe, Shard, Statistics, write_shard, written
from data_prep.records.split import SplitConfig, assign_sites, parts
from data_prep.records.takes import check_held_out, check_not_empty, describe_draws, list_shards, list_takes, open_cubes
from eomm.data.records import VERSION, finish_records, shard_name, size_misfit
from eomm.errors import DataError
from eomm.store.digest import digest
from eomm.store.fields import Json
from eomm.store.folders import (
    check_apart,
    check_free,
    entered,
    locked,
    naming_full_disk,
    partial_of,
    put_in_place,
    read_json,
    recover,
)
from eomm.store.notes import FOLDER, Notes
from eomm.store.progress import NamedProgress
from eomm.store.workers import Pool, run_units

Figures = dict[int, Json]  # by shard, what `write_shard` tells


def build_patches(
    out: Path | str,
    *,
    cubes: Sequence[Path | str],
    split: SplitConfig,
    crops: CropConfig = CropConfig(),
    modalities: Sequence[str] | None = None,
    strata: Mapping[str, str] = MappingProxyType({}),
    pool: Pool = Pool(),
    overwrite: bool = False,
    progress: NamedProgress | None = None,
) -> Path:
    """Cut the records of a training set from finished cubes; the order of `cubes` does not matter.

    The same cubes and options give the same shards, whatever the number of workers. Run again after an interruption
    it goes on with what is missing; a set that is complete and of the same request is kept.

    Args:
        out: directory of the record set.
        cubes: finished cubes under the same contracts.
        split: who trains and who tests.
        crops: how they are cut.
        modalities: which to take; all of the cubes when None.
        strata: site -> stratum, such as its land cover, by which training may balance what it draws.
        pool: who cuts them; its workers must see the same files.
        overwrite: replace an existing set of another request, or a damaged one.
        progress: called with ("cutting patches", crops done, crops in all).

    Raises:
        UsageError: `out` exists and is another set, or another process is writing it; simulated and real cubes mixed; a
            split that cannot be made or is empty; no worker can be had; the disk is full.
        ContractError: the cubes follow different contracts or hold different modalities.
        DataError: a cube is damaged, smaller than a crop, or nothing in it is usable.
    """
    out = entered(out).absolute()
    check_apart(out, {f"cube {Path(c).name}": c for c in cubes})
    reference, window = crops.reference, crops.window
    opened = open_cubes(cubes, crops, modalities)
    names = sorted(modalities or opened[0].groups)
    check_held_out(split, opened, reference)
    split_of = assign_sites(split, opened, reference=reference)
    shares = [parts(split, c, split_of[c.site], reference=reference, window=window) for c in opened]
    head = {
        "simulated": opened[0].simulated,
        "seed": split.seed,
        "split": describe_split(split, opened, split_of, shares, crops),
        "crop": describe_crops(crops),
        "strata": dict(sorted(strata.items())),
    }
    request = digest([VERSION, [head, names, crops.shard_records, [[c.site, content_of(c)] for c in opened]]])
    if is_complete(out, request, overwrite=overwrite):
        return out
    takes = list(list_takes(split, opened, shares, names, crops))
    check_not_empty(split, {t.part.split for t in takes}, opened, shares, crops)
    sizes = largest(sizes_of(t.cube, t.corners, t.windows, names, crops) for t in takes)
    recipe = Recipe(
        shapes=shapes_of(sizes, opened[0], crops),
        config=crops,
        held_out={s: split.held_out_of(s) for s in split.cut},
    )
    shards = list(list_shards(takes, split.cut, crops.shard_records))
    with unfinished(out, request) as folder:
        figures = _write(folder, recipe, shards, pool, progress)
        counts = _count(split, figures, crops, folder)
        files = _name(folder, shards, figures)
        manifest = {
            **head,
            "counts": counts,
            "balance": describe_balance(files, strata),
            "statistics": _statistics(folder, recipe, shards),
            "sources": [describe_source(c, names, reference) for c in opened],
            "request": request,
            **describe_draws(takes, recipe.shapes, crops),
        }
        finish_records(folder, shapes=recipe.shapes, files=files, manifest=manifest)
    return out


@contextmanager
def unfinished(out: Path, request: str) -> Iterator[Path]:
    """A directory for the shards of a request, which becomes `out`; what is finished of it stays when something fails.

    Raises:
        UsageError: another process is writing `out`.
        DiskFull: what is finished stays.
        DataError: the note on what is unfinished is damaged.
    """
    folder = partial_of(out)
    units = Notes(folder / FOLDER)
    with locked(out), naming_full_disk(out, kept=True):
        if units.request != {"request": request}:
            shutil.rmtree(folder, ignore_errors=True)
            units.begin({"request": request})
        for file in folder.iterdir():  # named by a process that was killed before it could finish
            if file.is_file():
                file.unlink()
        try:
            yield folder
        except BaseException:
            if not list(units.folder.glob("*.array_record")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(units.folder)
        put_in_place(folder, out)


def _write(
    folder: Path, recipe: Recipe, shards: Sequence[Shard], pool: Pool, progress: NamedProgress | None
) -> Figures:
    """Write all shards, here or by workers; the first error ends it."""
    total, done = sum(s.crops for s in shards), 0
    figures: Figures = {}

    def tick(crops: int = 1) -> None:
        nonlocal done
        done += crops
        if progress:
            progress("cutting patches", done, total)

    missing = []
    for shard in shards:
        if found := written(folder, shard.number):
            figures[shard.number] = found
            tick(shard.crops)
        else:
            missing.append(shard)
    write = partial(write_shard, str(folder), recipe, tick=tick if pool.alone else None)
    for shard, found, error in run_units(write, missing, pool):
        if error is not None:
            raise error
        figures[shard.number] = found
        if not pool.alone:
            tick(shard.crops)
    return figures


def _count(split: SplitConfig, figures: Figures, config: CropConfig, folder: Path) -> Json:
    """Records and skipped crops of each split that is cut. Raises DataError where one has none."""
    counts = {s: {"records": 0, "skipped": 0} for s in split.cut}
    for one in figures.values():
        for what, number in counts[one["split"]].items():
            counts[one["split"]][what] = number + one[what]
    for name, count in counts.items():
        if not count["records"]:
            shutil.rmtree(folder)
            raise DataError(
                f"split: {name} is empty: all of {count['skipped']} crops have fewer than {config.min_clear} "
                f"{config.reference} acquisitions with {config.clear_fraction:.0%} of the crop valid; lower "
                "min_clear, take longer series, or prepare a clearer site"
            )
    return counts


def _statistics(folder: Path, recipe: Recipe, shards: Sequence[Shard]) -> Json:
    statistics = Statistics({n: s.modality for n, s in recipe.shapes.items()})
    statistics.load([p for s in shards if (p := folder / FOLDER / f"{s.number}.npz").exists()])
    return dict(statistics.to_dict())


def _name(folder: Path, shards: Sequence[Shard], figures: Figures) -> list[Json]:
    """Give the shards that hold records their names, and describe them as `finish_records` wants it."""
    files = []
    for split in sorted({s.split for s in shards}):
        kept = [s.number for s in shards if s.split == split and figures[s.number]["records"]]
        for i, number in enumerate(kept):
            name = shard_name(split, i, len(kept))
            os.replace(folder / FOLDER / f"{number}.array_record", folder / name)
            files.append({"name": name} | {k: v for k, v in figures[number].items() if k != "skipped"})
    return files


def is_complete(out: Path, request: str, *, overwrite: bool) -> bool:
    """Whether a set is there, of this request, with all its files; raises UsageError where it is not and may not be."""
    recover(out)
    if _request_of(out / "manifest.json") == request:
        if not any(size_misfit(out, f) for f in read_json(out / "manifest.json")["files"]):
            return True
    check_free(out, overwrite=overwrite, kind="records")
    return False


def _request_of(file: Path) -> Any:
    try:
        return read_json(file).get("request")
    except (DataError, AttributeError):
        return None
