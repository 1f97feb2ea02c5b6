"""Model + cube -> embedding cube: every usable date, every pixel, block by block. Not the networks (models/).

A block of the cube is read once with its halo and embedded date by date in the order of time; memory depends on
the block, not on the cube or the length of the series.
"""

import importlib.metadata
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from eomm.cube import EPOCH, Cube, open_cube, to_date
from eomm.dense import Schedule, Series, fuse_dates, schedule
from eomm.embed_store import DTYPES, NO_OFFSET, SHARD_DATES, TILE, Writer, open_embedding
from eomm.errors import DataError, UsageError
from eomm.modalities import check_contract
from eomm.model import Model, load_model, plain
from eomm.storage import new_directory

__all__ = ["embed", "open_embedding"]

# Base size, 2 cores: blocks of 64 px are no slower than 128 (26,300 against 22,200 pixel-dates per second on a busy
# machine) and peak at 1.3 instead of 3.0 GiB.
BLOCK = 64  # px on a side
REFERENCE = "s2"  # the modality whose usable dates are embedded; a model without it uses its first


def embed(
    model: Model | Path | str,
    cube: Cube | Path | str,
    out: Path | str,
    *,
    block: int = BLOCK,
    modalities: Sequence[str] | None = None,
    dates: tuple[date, date] | None = None,
    length: int | None = None,
    dtype: str = "float32",
    clear_only: bool = True,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Embed every pixel of a cube at every usable date of the reference modality; `open_embedding` reads the result.

    Of every other modality the nearest usable acquisition is used (ties: the earlier), unless it is farther than
    the fusion head's `max_offset_days` or invalid at the pixel. A modality of a single pixel serves all pixels.

    Args:
        model: a model or its directory.
        cube: a cube or its directory.
        out: the embedding cube, a Zarr store.
        block: pixels on a side embedded at a time, made even over the cube and rounded up to a multiple of 16.
        modalities: which of the model's to use; the others count as absent. All when None.
        dates: first and last date, both included; windows reach beyond them. All when None.
        length: keep so many leading numbers of each vector.
        dtype: of the vectors, "float32" or "float16".
        clear_only: vectors only where the date's pixel is clear; else everywhere, those of clouded pixels from their
            context alone (`valid` is false there).
        overwrite: replace an existing store.
        progress: called with (parts done, parts in all).

    Raises:
        ContractError: the cube follows another contract than the model, or a modality lies on another grid than the
            reference with more than a single pixel.
        DataError: a store is missing, unfinished or damaged; a modality is missing; no date is usable.
        UsageError: `out` exists, an option is wrong, or the disk is full.
    """
    model = model if isinstance(model, Model) else load_model(model)
    cube = cube if isinstance(cube, Cube) else open_cube(cube)
    plan = make_plan(model, cube, block=block, modalities=modalities, dates=dates, length=length)
    if Path(out).resolve() == cube.path.resolve():
        raise UsageError(f"{out}: is the cube itself; choose another path for its embedding")
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    grid = cube[plan.reference].grid
    corners = list(product(range(0, grid.height, plan.block[0]), range(0, grid.width, plan.block[1])))
    parts = [slice(i, min(i + SHARD_DATES, len(plan.day))) for i in range(0, len(plan.day), SHARD_DATES)]
    with (
        new_directory(out, overwrite=overwrite) as partial,
        Writer(
            partial,
            grid=grid,
            day=plan.day,
            length=plan.length,
            dtype=dtype,
            block=plan.block,
            observations=plan.used,
            offsets=[n for n in plan.used if n != plan.reference],
            clear_only=clear_only,
            attributes=describe(plan, dtype=dtype, clear_only=clear_only),
        ) as writer,
    ):
        for i, (row, col) in enumerate(corners):
            y, x = slice(row, row + plan.block[0]), slice(col, col + plan.block[1])
            series = {name: plan.series(name, y, x) for name in plan.used}
            for j, part in enumerate(parts):
                for name, data in embed_part(plan, series, part, clear_only=clear_only).items():
                    writer.write(name, part, y, x, data.astype(dtype) if name == "embedding" else data)
                if progress:
                    progress(i * len(parts) + j + 1, len(corners) * len(parts))
        writer.complete()
    return Path(out)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is embedded, checked; positions count the usable acquisitions of a modality.

    Attributes:
        model: the model.
        cube: the cube.
        reference: the modality whose dates are embedded.
        used: modalities that enter, the reference first where it is among them.
        day: of every date.
        length: of the written vectors.
        block: (rows, columns).
        at: by modality used, the position of each date's acquisition, -1 where none is near enough.
        schedules: by modality used.
        site_wide: by modality used, whether it has a single pixel for all of the reference's.
    """

    model: Model
    cube: Cube
    reference: str
    used: tuple[str, ...]
    day: Int[np.ndarray, " date"]
    length: int
    block: tuple[int, int]
    at: dict[str, Int[np.ndarray, " date"]]
    schedules: dict[str, Schedule]
    site_wide: dict[str, bool]

    def series(self, name: str, y: slice, x: slice) -> Series:
        """One modality over one block; of a modality of a single pixel that pixel."""
        if self.site_wide[name]:
            y = x = slice(0, 1)
        params = self.model.params[name]["encoder"]
        return Series(self.model.encoders[name], params, self.cube[name], self.schedules[name], y, x)


def make_plan(
    model: Model,
    cube: Cube,
    *,
    block: int,
    modalities: Sequence[str] | None,
    dates: tuple[date, date] | None,
    length: int | None,
) -> Plan:
    """Check the request and decide which acquisition serves each date. Errors as in `embed`."""
    unknown = [n for n in modalities or () if n not in model.encoders]
    used = sorted(modalities or model.encoders, key=lambda n: (n != REFERENCE, n))
    if unknown or not used or len(set(used)) < len(used):
        raise UsageError(f"modalities {modalities}: the model has {', '.join(model.encoders)}; name each once")
    if model.fusion is None and len(used) > 1:
        raise UsageError(f"the model has encoders for {', '.join(used)} and no fusion head; choose one modality")
    if block < 1:
        raise UsageError(f"block is {block}; expected at least 1 pixel")
    if length is not None and not 1 <= length <= model.dim:
        raise UsageError(f"length is {length}; the model's vectors have {model.dim} numbers")
    reference = REFERENCE if model.fusion and REFERENCE in model.encoders else used[0]
    lead = cube[reference]
    for name in dict.fromkeys((reference, *used)):
        check_contract(
            cube[name].modality, model.modalities[name], found_in=str(cube.path), expected_by=f"model {model.hash}"
        )
    site_wide = {name: cube.site_wide(name, reference) for name in used}
    days = {name: cube[name].day[cube[name].usable] for name in {reference, *used}}
    day = days[reference]
    if not len(day):
        raise DataError(f"{cube.path}: no usable {reference} acquisition, so no date to embed")
    chosen = np.arange(len(day))
    if dates is not None:
        low, high = ((d - EPOCH).days for d in dates)
        chosen = chosen[(day >= low) & (day <= high)]
        if not len(chosen):
            raise UsageError(
                f"dates {dates[0]} to {dates[1]}: no usable {reference} acquisition there; {cube.path} has "
                f"{len(day)} from {to_date(day[0])} to {to_date(day[-1])}"
            )
    reach = model.fusion.max_offset_days if model.fusion else 0
    at = {n: chosen if n == reference else nearest(day[chosen], days[n], reach) for n in used}
    return Plan(
        model=model,
        cube=cube,
        reference=reference,
        used=tuple(used),
        day=day[chosen],
        length=length or model.dim,
        block=(even(lead.grid.height, block), even(lead.grid.width, block)),
        at=at,
        schedules={n: schedule(np.unique(at[n][at[n] >= 0]), model.encoders[n].frames) for n in used},
        site_wide=site_wide,
    )


def nearest(
    target_day: Int[np.ndarray, " n"], day: Int[np.ndarray, " t"], max_offset_days: int
) -> Int[np.ndarray, " n"]:
    """Position of the nearest day (ties: the earlier), or -1 where all are farther than `max_offset_days`."""
    if not len(day):
        return np.full(len(target_day), -1)
    apart = np.abs(day[None].astype(np.int64) - target_day[:, None])
    return np.where(apart.min(axis=1) <= max_offset_days, apart.argmin(axis=1), -1)


def even(size: int, block: int) -> int:
    """Side of equal blocks, at most about `block`, that cover `size` pixels; a multiple of TILE."""
    return math.ceil(size / math.ceil(size / block) / TILE) * TILE


@dataclass(frozen=True)
class Used:
    """One modality at some dates of a block.

    Attributes:
        vectors: of each date's acquisition, on the device, [1, 1, d] where it has a single pixel; zero where there
            is none.
        valid: where that acquisition is valid.
        observations: valid acquisitions in its window.
        offset_days: its day minus the date's; 0 where there is none.
    """

    vectors: tuple[Float[Array, "_ _ d"], ...]
    valid: Bool[np.ndarray, "date y x"]
    observations: UInt8[np.ndarray, "date y x"]
    offset_days: Int[np.ndarray, " date"]


def embed_part(plan: Plan, series: dict[str, Series], part: slice, *, clear_only: bool) -> dict[str, np.ndarray]:
    """Everything that is written for some dates of one block, by array name."""
    model = plan.model
    used = {name: gather(plan, name, series[name], part) for name in plan.used}
    if plan.reference in used:
        valid = used[plan.reference].valid
    else:
        valid = np.any([u.valid for u in used.values()], axis=0)
    wanted = valid if clear_only else np.ones_like(valid)
    layers = {"valid": valid}
    for name, u in used.items():
        layers[f"observations_{name}"] = u.observations
        if name != plan.reference:
            layers[f"observations_{name}"] = np.where(u.valid, u.observations, 0).astype(np.uint8)
            days = np.where(u.valid, u.offset_days[:, None, None], NO_OFFSET)
            layers[f"{name}_offset_days"] = days.astype(np.int16)
    # The reference is present at its own date, clear or not: its encoder knows what it did not see, as in training.
    present = {n: np.ones_like(valid) if n == plan.reference else u.valid for n, u in used.items()}
    offset = {n: u.offset_days.astype(np.float32) for n, u in used.items()}
    vectors = {n: u.vectors for n, u in used.items()}
    for name, dim in model.fusion.inputs if model.fusion else ():
        if name not in used:
            present[name], offset[name] = np.zeros_like(valid), np.zeros(len(valid), np.float32)
            vectors[name] = (jnp.zeros((1, 1, dim)),) * len(valid)
    fused = fuse_dates(
        model.params.get("fusion"),
        vectors,
        present,
        offset,
        wanted,
        fusion=model.fusion,
        length=plan.length,
    )
    embedding = np.asarray(fused)
    if not np.isfinite(embedding).all():
        raise DataError(
            f"model {model.hash}: its vectors on {plan.cube.path} are not finite; the model is damaged or diverged"
        )
    return {"embedding": embedding, **layers}


def gather(plan: Plan, name: str, series: Series, part: slice) -> Used:
    """One modality at some dates: each acquisition is embedded once, however many dates use it."""
    at = plan.at[name][part]
    there = at >= 0
    distinct = np.unique(at[there]).tolist()
    found = dict(zip(distinct, series.take(distinct), strict=True))
    none = jnp.zeros((*((1, 1) if plan.site_wide[name] else plan.block), plan.model.encoders[name].dim))
    valid = np.zeros((len(at), *plan.block), bool)
    observations = np.zeros(valid.shape, np.uint8)
    offset_days = np.zeros(len(at), np.int32)
    offset_days[there] = plan.cube[name].day[plan.cube[name].usable][at[there]] - plan.day[part][there]
    for i in np.flatnonzero(there):
        valid[i] = found[at[i]].valid
        observations[i] = np.minimum(found[at[i]].observations, 255)
    return Used(tuple(found[p].vectors if p >= 0 else none for p in at.tolist()), valid, observations, offset_days)


def describe(plan: Plan, *, dtype: str, clear_only: bool) -> dict[str, Any]:
    """Contracts and provenance for the store's root attributes."""
    model, cube = plan.model, plan.cube
    lead = cube[plan.reference]
    device = jax.devices()[0]
    chosen = np.flatnonzero(lead.usable)[np.isin(lead.day[lead.usable], plan.day)]
    versions = {name: importlib.metadata.version(name) for name in ("eomm", "jax", "flax", "numpy", "zarr")}
    return {
        "site": cube.site,
        "eomm:model": model.hash,
        "eomm:contracts": {n: cube[n].modality.to_dict() for n in plan.used},
        "acquisitions": [asdict(lead.acquisitions[i]) for i in chosen],
        "provenance": {
            "simulated": bool(cube.provenance.get("simulated", False)),
            "model": model.hash,
            "model_info": plain(model.info),
            "modalities": list(plan.used),
            "reference": plan.reference,
            "cube": {"name": cube.path.name, "site": cube.site, "provenance": dict(cube.provenance)},
            "usable_acquisitions": {n: int(cube[n].usable.sum()) for n in plan.used},
            "block": list(plan.block),
            "dtype": dtype,
            "clear_only": clear_only,
            "device": f"{device.platform}: {device.device_kind}",
            "versions": versions,
        },
    }
