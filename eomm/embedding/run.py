"""Model + cube -> embedding cube: every usable date, every pixel, unit by unit. Not the networks (models/).

A block of the cube is read once with its halo and embedded date by date in the order of time; memory depends on
the block, not on the cube or the length of the series. What is done already is never done again (units.py).
"""

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eomm.data.cube import Cube, open_cube
from eomm.embedding.append import Base, continued
from eomm.embedding.compute import embed_unit, open_series
from eomm.embedding.describe import close, describe
from eomm.embedding.plan import BLOCK, Plan, even, make_plan, nearest, within_memory
from eomm.embedding.stac import write_item
from eomm.embedding.store import SHARD_DATES, Writer, create, open_embedding
from eomm.embedding.units import Run, Unit, by_block, check_shard, place_of, requested, share, tidy
from eomm.errors import DataError
from eomm.models.directory import Model, load_model
from eomm.models.forward import on_cpu
from eomm.store.fields import Json
from eomm.store.folders import check_apart, entered, naming_full_disk, partial_of, recover
from eomm.store.shards import NONE, checksum, shard_file

THREADS = 4  # each holds a block's features and vectors, half a gigabyte at the default size

__all__ = ["BLOCK", "embed", "even", "nearest", "open_embedding"]


def embed(
    model: Model | Path | str,
    cube: Cube | Path | str,
    out: Path | str,
    *,
    block: int = BLOCK,
    memory_bytes: int | None = None,
    modalities: Sequence[str] | None = None,
    dates: tuple[date, date] | None = None,
    length: int | None = None,
    dtype: str = "int8",
    clear_only: bool = True,
    average_days: int = 0,
    shard: tuple[int, int] = (0, 1),
    check: bool = False,
    append: bool = False,
    overwrite: bool = False,
    square: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Embed every pixel of a cube at every usable date of the reference modality; `open_embedding` reads the result.

    Of every other modality the nearest usable acquisition is used (ties: the earlier), unless it is farther than
    the fusion head's `max_offset_days` or invalid at the pixel. A modality of a single pixel serves all pixels, a
    static layer all dates. Killed and called again it goes on; called when all is done it does nothing. Several
    devices, or the cores of a CPU, share the blocks.

    Args:
        model: a model or its directory.
        cube: a cube or its directory.
        out: the embedding cube, a Zarr store; `out`.partial until it is complete.
        block: pixels on a side embedded at a time, made even over the cube and rounded up to a multiple of 16.
        memory_bytes: smaller blocks where these would need more, over all that are embedded at once, the process
            itself not counted.
        modalities: which of the model's to use; the others count as absent. All when None.
        dates: first and last date, both included; windows reach beyond them. All when None.
        length: keep so many leading numbers of each vector.
        dtype: of the vectors, "int8" with the model's own scales, "float32" or "float16".
        clear_only: vectors only where the date's pixel is clear; else everywhere, those of clouded pixels from their
            context alone (`valid` is false there).
        average_days: store means of vectors: of each date's own and of those of the store's clear dates at most so
            many days before or after it, pixel by pixel. The layers stay the date's own. 0: no means.
        shard: (i, n), do only part i of n, counted from 0; whoever ends last completes the store.
        check: embed one seam between blocks twice, with blocks of another size, and record the largest difference.
        append: `out` is a finished store of an earlier state of the cube: compute only dates that are new or whose
            windows changed, keep the vectors of the others, and drop dates that the cube no longer calls usable. A
            store that an earlier eomm wrote in another form becomes one of today's, its numbers as they are.
        overwrite: replace an existing store.
        square: equal sides for blocks, so that cubes of unlike sizes share compiled programs.
        threads: blocks that a CPU embeds at once, with the memory of as many; its cores, at most THREADS, when None.
        progress: called with (units done, units in all).

    Raises:
        ContractError: the cube follows another contract than the model, or a modality lies on another grid than the
            reference with more than a single pixel.
        DataError: a store is missing, unfinished or damaged; a modality is missing; no date is usable; units failed.
        UsageError: `out` exists or is made of something else, an option is wrong, or the disk is full.
    """
    model_path = None if isinstance(model, Model) else model
    model = load_model(model)
    cube = cube if isinstance(cube, Cube) else open_cube(cube)
    out = entered(out)
    check_apart(out, {"the cube": cube.path, "the model": model_path})
    check_shard(shard)
    plan = make_plan(
        model,
        cube,
        block=block,
        modalities=modalities,
        dates=dates,
        length=length,
        dtype=dtype,
        clear_only=clear_only,
        average_days=average_days,
        square=square,
    )
    if memory_bytes:
        plan = within_memory(plan, memory_bytes // len(lanes(threads)), square=square)
    recover(out)
    plan, base = continued(out, plan) if append else (plan, None)
    if base and base.is_whole(plan):
        return out
    request = {**plan.request(), **({"continues": base.request} if base else {})}

    def make(path: Path) -> None:
        create(path, plan.layout(), describe(plan, request, base))

    with naming_full_disk(partial_of(out), kept=True):
        while run := Run.open(out, request, make, overwrite=overwrite or append):
            with run.claimed(shard) as there:
                if there:
                    carry_out(plan, run, base, shard, lanes(threads), progress)
                    complete(plan, run, base, check=check)
                    break
        if request == requested(out):  # else other shards are missing
            tidy(out)
            write_item(out)
    return out


def carry_out(
    plan: Plan,
    run: Run,
    base: Base | None,
    shard: tuple[int, int],
    devices: Sequence[jax.Device],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Do one shard's missing units, a run of blocks for each device.

    Raises:
        DataError: units of this shard failed.
    """
    mine = share(plan.units, *shard)
    todo = run.missing(mine)
    alone = shard == (0, 1)
    count = UnitCount(progress, done=len(mine) - len(todo), total=len(mine))
    try:
        if len(devices) == 1:  # not in a thread, which Ctrl-C would wait for
            work(plan, run, todo, base, count, alone)
        else:
            # A run of blocks for each: no device waits for another, and no halo is exchanged.
            with ThreadPoolExecutor(len(devices)) as pool:
                parts = [share(todo, i, len(devices)) for i in range(len(devices))]
                futures = [
                    pool.submit(work_on, d, plan, run, p, base, count, alone)
                    for d, p in zip(devices, parts, strict=True)
                ]
                for future in futures:
                    future.result()
    except BaseException:
        if alone:  # else others may be at their first units
            run.discard()
        raise
    found = run.notes.failures()
    if failures := {u.number: reason for u in mine if (reason := found.get(str(u.number)))}:
        number, reason = min(failures.items())
        raise DataError(
            f"{run.partial}: {len(failures)} of {len(mine)} units failed; unit {number}: {reason}. Mend it and run "
            "again: only what is missing is computed"
        )


def complete(plan: Plan, run: Run, base: Base | None, *, check: bool) -> None:
    """Put the store in its place where no unit is missing; `check` is that of `embed`."""
    if not run.missing(plan.units):
        seam = check_seam(plan) if check else None
        plan.cube.identity.check()
        run.finish(plan.units, lambda path, figures: close(path, plan, base, figures, seam))


def lanes(threads: int | None) -> list[jax.Device]:
    """The devices that embed a block each at once; a CPU as often as it has threads, whose pieces use a core each."""
    devices = jax.local_devices()
    if len(devices) > 1 or not on_cpu():
        return devices
    return devices * (threads or min(THREADS, cores()))


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class UnitCount:
    """Counts finished units, from several threads."""

    def __init__(self, report: Callable[[int, int], None] | None, *, done: int, total: int):
        self._report, self._done, self._total, self._lock = report, done, total, threading.Lock()
        if report and done:
            report(done, total)

    def __call__(self) -> None:
        with self._lock:
            self._done += 1
            if self._report:
                self._report(self._done, self._total)


def work_on(device: jax.Device, plan: Plan, *args: Any) -> None:
    """`work` on one device, with the parameters there."""
    if len(jax.local_devices()) == 1:  # threads of a CPU: placed on it, each would compile every program for itself
        work(plan, *args)
        return
    with jax.default_device(device):
        params = jax.device_put(plan.model.params, device)
        work(dataclasses.replace(plan, model=dataclasses.replace(plan.model, params=params)), *args)


def work(plan: Plan, run: Run, todo: Sequence[Unit], base: Base | None, count: Callable[[], None], alone: bool) -> None:
    """Compute units and write them. A unit whose data cannot be read is noted, unless nothing else went well."""
    with Writer(run.partial) as writer:
        for units in by_block(todo):
            series = None
            for unit in units:
                if base and (taken := base.link(run.partial, unit, plan)):
                    run.notes.done(unit.number, {"files": taken})
                    count()
                    continue
                began = time.perf_counter()
                try:
                    series = series or open_series(plan, unit)
                    layers, figures = embed_unit(plan, series, unit, base)
                except DataError as e:
                    writer.finish()
                    if alone and not run.notes.finished():
                        raise
                    run.notes.failed(unit.number, str(e))
                    series = None
                    continue
                figures["seconds"] = time.perf_counter() - began

                names = tuple(layers)

                def done(unit: Unit = unit, figures: Json = figures, names: Sequence[str] = names) -> None:
                    files = {n: shard_file(run.partial / n, place_of(unit, plan.block, n)) for n in names}
                    sums = {n: checksum(f) if f.exists() else NONE for n, f in files.items()}  # still in memory
                    run.notes.done(unit.number, figures | {"files": sums})
                    count()

                writer.write(layers, unit.dates, unit.y, unit.x, done)
        writer.finish()


# --- The seam -------------------------------------------------------------------------------------------------------


def check_seam(plan: Plan) -> Json:
    """Embed pixels round a corner of blocks twice: as planned, and in a block of half the size laid across it.

    A site of a single block has no such corner; there the smaller block lies inside.
    """
    count = len(plan.day)
    first = count // 2 // SHARD_DATES * SHARD_DATES
    dates = slice(first, min(first + SHARD_DATES, count))
    plan = dataclasses.replace(plan, dtype="float32", clear_only=False)
    half = (even(plan.block[0], plan.block[0] // 2), even(plan.block[1], plan.block[1] // 2))
    other = dataclasses.replace(plan, block=half)
    size = (plan.cube[plan.reference].grid.height, plan.cube[plan.reference].grid.width)
    y0, x0 = ((b if n > b else h) - h // 2 for n, b, h in zip(size, plan.block, half, strict=True))
    across = Unit(number=0, dates=dates, y=slice(y0, y0 + half[0]), x=slice(x0, x0 + half[1]))
    again = embed_unit(other, open_series(other, across), across)[0]["embedding"]
    largest, compared = 0.0, 0
    for unit in plan.units:
        rows, cols = overlap(unit.y, across.y, size[0]), overlap(unit.x, across.x, size[1])
        if unit.dates != dates or rows.stop <= rows.start or cols.stop <= cols.start:
            continue
        ours = embed_unit(plan, open_series(plan, unit), unit)[0]["embedding"]
        a = ours[:, shift(rows, unit.y), shift(cols, unit.x)]
        b = again[:, shift(rows, across.y), shift(cols, across.x)]
        largest, compared = max(largest, float(np.abs(a - b).max())), compared + a[..., 0].size
    return {"max_difference": largest, "pixel_dates": compared, "blocks": [list(plan.block), list(half)]}


def overlap(a: slice, b: slice, size: int) -> slice:
    """Common part of two slices, inside the grid."""
    return slice(max(a.start, b.start), min(a.stop, b.stop, size))


def shift(part: slice, block: slice) -> slice:
    """A part of the grid, counted from a block's first pixel."""
    return slice(part.start - block.start, part.stop - block.start)
