"""What is embedded, decided and checked before anything is computed: dates, acquisitions, blocks, memory."""

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int

from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import to_date, within
from eomm.data.modality import check_contract, in_order
from eomm.embedding.dense import CHUNK, TARGETS, Schedule, features_of, schedule
from eomm.embedding.layers import TOLD
from eomm.embedding.store import DTYPES, SHARD_DATES, TILE, Layout
from eomm.embedding.units import Unit, list_units
from eomm.errors import DataError, UsageError
from eomm.models import forward
from eomm.models.directory import Model
from eomm.models.interface import tells_of
from eomm.store.digest import digest
from eomm.store.fields import Json

# Base size, 2 cores: blocks of 64 px are no slower than 128 (26,300 against 22,200 pixel-dates per second on a busy
# machine) and peak at 1.3 instead of 3.0 GiB.
BLOCK = 64  # px on a side
FEW_DAYS = 256  # days are padded to multiples of it, so that pairing them compiles once for sites of any length
REFERENCE = "s2"  # the modality whose usable dates are embedded; a model without it uses its first


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
        dtype: of the written vectors.
        clear_only: whether only clear pixels get a vector.
        block: (rows, columns).
        at: by modality used, the position of each date's acquisition, -1 where none is near enough.
        site_wide: by modality used, whether it has a single pixel for all of the reference's.
        told: layers that say how far the reference's state holds, of `layers.TOLD`.
        average_days: vectors are means over the clear dates at most so many days away; 0: each date's own.
    """

    model: Model
    cube: Cube
    reference: str
    used: tuple[str, ...]
    day: Int[np.ndarray, " date"]
    length: int
    dtype: str
    clear_only: bool
    block: tuple[int, int]
    at: dict[str, Int[np.ndarray, " date"]]
    site_wide: dict[str, bool]
    told: tuple[str, ...] = ()
    average_days: int = 0

    @property
    def scale(self) -> Float32[np.ndarray, " d"] | None:
        """What int8 vectors are multiples of; None for other dtypes."""
        if self.dtype != "int8":
            return None
        return np.asarray(self.model.info["calibration"]["scale"][: self.length], np.float32)

    @property
    def halo(self) -> int:
        """Pixels by which a window exceeds its target, over all modalities used."""
        return max(0 if self.site_wide[n] else self.model.encoders[n].halo for n in self.used)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Modalities beside the reference that have dates, of which the nearest acquisition is used."""
        return tuple(n for n in self.used if n != self.reference and not self.model.modalities[n].static)

    @property
    def units(self) -> list[Unit]:
        """Of the store, in order."""
        grid = self.cube[self.reference].grid
        return list_units(len(self.day), (grid.height, grid.width), self.block)

    def schedule(self, name: str) -> Schedule:
        """How one modality's acquisitions are embedded: always all, so that a part gives the same to the bit."""
        at = self.at[name]
        return schedule(np.unique(at[at >= 0]), self.model.encoders[name].frames)

    def layout(self) -> Layout:
        """Of the store."""
        quality = self.model.info.get("calibration", {}).get("error") if self.reference in self.used else None
        return Layout(
            grid=self.cube[self.reference].grid,
            day=self.day,
            length=self.length,
            dtype=self.dtype,
            scale=self.scale,
            block=self.block,
            observations=self.used,
            offsets=self.sensors,
            clear_only=self.clear_only,
            error_unit=(quality["unit"], quality["step"]) if quality else None,
            told=self.told,
            average_days=self.average_days,
        )

    def request(self) -> Json:
        """What two runs must share to make one store together, JSON types."""
        return {
            "model": self.model.hash,
            "calibration": digest(self.model.info.get("calibration")),
            "cube": cube_digest(self.cube),
            "modalities": list(self.used),
            "dates": [str(to_date(self.day[0])), str(to_date(self.day[-1])), len(self.day)],
            "length": self.length,
            "dtype": self.dtype,
            "clear_only": self.clear_only,
            **({"layers": list(self.told)} if self.told else {}),
            **({"average_days": self.average_days} if self.average_days else {}),
            "block": list(self.block),
            "units": len(self.units),
            "eomm": importlib.metadata.version("eomm"),
        }

    def windows(self) -> list[tuple[int, str]]:
        """Every day with a digest of what its vectors depend on besides model and grid: the window's acquisitions.

        The digests are empty where the cube does not note what its acquisitions hold.
        """
        content = {n: contents_of(self.cube[n]) for n in self.used}
        if not all(content.values()):
            return [(int(day), "") for day in self.day]
        days = {n: self.cube[n].day[self.cube[n].usable].tolist() for n in self.used}

        def window(i: int) -> Json:
            found = {}
            for n in self.used:
                position, (before, after) = int(self.at[n][i]), self.model.encoders[n].frames
                if position >= 0:
                    part = slice(max(0, position - before), position + after + 1)
                    found[n] = [position - part.start, days[n][part], content[n][part]]
            return found

        found = [(day, digest(window(i))) for i, day in enumerate(self.day.tolist())]
        if not self.average_days:
            return found
        return [(day, digest([own, *(found[j] for j in self.near([i]))])) for i, (day, own) in enumerate(found)]

    def near(self, dates: Sequence[int] | Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """Positions of the dates whose vectors enter those of some dates."""
        dates = np.asarray(dates)
        if not self.average_days:
            return dates
        apart = np.abs(self.day[:, None] - self.day[dates])
        return np.flatnonzero((apart <= self.average_days).any(axis=1))

    def memory_bytes(self) -> int:
        """An estimate of what embedding a block holds at once, the process itself (0.6 GiB or so) not counted.

        Per modality the features of one stretch of keys (on an accelerator with as much again for a key and for a value
        of each; a CPU has those of a few rows), their inputs and one group's vectors; besides, one shard's
        fused vectors twice (being made, being written) and its layers.
        """
        total, pixels = 0, math.prod(self.block)
        runs = (np.arange(i, min(i + SHARD_DATES, len(self.day))) for i in range(0, len(self.day), SHARD_DATES))
        dates = max(SHARD_DATES, *(len(self.near(run)) for run in runs))
        for n in self.used:
            encoder = self.model.encoders[n]
            place = self.schedule(n)
            height, width = (1, 1) if self.site_wide[n] else self.block
            shape = (CHUNK, height + 2 * encoder.halo, width + 2 * encoder.halo)
            bands, group = len(self.model.modalities[n].bands), self.cube[n]
            meta = {k: jax.ShapeDtypeStruct((CHUNK,), v.dtype) for k, v in group.meta().items()}
            features = jax.eval_shape(
                partial(features_of, encoder=encoder, one_by_one=False),
                self.model.params[n]["encoder"],
                jax.ShapeDtypeStruct((*shape, bands), np.int16),
                jax.ShapeDtypeStruct(shape, bool),
                meta,
            )
            chunk = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(features))
            held = place.keys // CHUNK * (1 if forward.on_cpu() else 3) + 1
            total += chunk * held + 4 * math.prod(shape) * (2 * bands + 1)
            vectors = max(TARGETS, dates) * encoder.dim * 4
            total += height * width * vectors * (3 if len(self.used) > 1 else 2)
        layers = 8 + 4 * len(self.used) + 2 * len(self.told)
        return total + pixels * (dates * 4 * self.model.dim + SHARD_DATES * (2 * 4 * self.model.dim + layers))


def make_plan(
    model: Model,
    cube: Cube,
    *,
    block: int = BLOCK,
    modalities: Sequence[str] | None = None,
    dates: tuple[date, date] | None = None,
    length: int | None = None,
    dtype: str = "float32",
    clear_only: bool = True,
    average_days: int = 0,
    square: bool = False,
) -> Plan:
    """Check the request and decide which acquisition serves each date. Arguments and errors as in `embed`."""
    used = check_options(
        model, block=block, modalities=modalities, length=length, dtype=dtype, average_days=average_days
    )
    reference = reference_among(model, used)
    lead = cube[reference]
    for name in dict.fromkeys((reference, *used)):
        check_contract(
            cube[name].modality, model.modalities[name], found_in=str(cube.path), expected_by=f"model {model.hash}"
        )
        check_order(cube, name)
    site_wide = {name: cube.site_wide(name, reference) for name in used}
    days = {name: cube[name].day[cube[name].usable] for name in {reference, *used}}
    day = days[reference]
    if not len(day):
        raise DataError(f"{cube.path}: no usable {reference} acquisition, so no date to embed")
    chosen = within(day, dates)
    if dates and not len(chosen):
        raise UsageError(
            f"dates {dates[0]} to {dates[1]}: no usable {reference} acquisition there; {cube.path} has "
            f"{len(day)} from {to_date(day[0])} to {to_date(day[-1])}"
        )
    reach = {n: forward.reach(model.modalities[n], model.fusion) for n in used} if model.fusion else {}
    return Plan(
        model=model,
        cube=cube,
        reference=reference,
        used=tuple(used),
        day=day[chosen],
        length=length or model.dim,
        dtype=dtype,
        clear_only=clear_only,
        block=sides(lead.grid.height, lead.grid.width, block, square=square),
        at={n: chosen if n == reference else nearest(day[chosen], days[n], reach[n]) for n in used},
        site_wide=site_wide,
        told=told_of(model, reference) if reference in used else (),
        average_days=average_days,
    )


def within_memory(plan: Plan, memory_bytes: int, *, square: bool = False) -> Plan:
    """The plan with blocks small enough; `square` as of `embed`. Raises UsageError where the smallest are too large."""
    grid = plan.cube[plan.reference].grid
    while plan.memory_bytes() > memory_bytes:
        if max(plan.block) <= TILE:
            raise UsageError(
                f"memory: the smallest blocks ({TILE} px) take {plan.memory_bytes() / 2**20:.0f} MiB, allowed are "
                f"{memory_bytes / 2**20:.0f}; allow more or take a smaller model"
            )
        plan = replace(plan, block=sides(grid.height, grid.width, max(plan.block) - TILE, square=square))
    return plan


def contents_of(group: CubeGroup) -> list[list[Any]]:
    """What a vector depends on of each usable acquisition; nothing where the cube does not note it."""
    noted = zip(group.digests, group.acquisitions, group.usable, strict=False)
    return [[digest, a.orbit, a.direction, a.incidence_deg] for digest, a, usable in noted if usable]


def check_options(
    model: Model,
    *,
    block: int = BLOCK,
    modalities: Sequence[str] | None = None,
    length: int | None = None,
    dtype: str = "float32",
    average_days: int = 0,
) -> list[str]:
    """Raise UsageError where a request cannot be met on any cube; the modalities used, in order."""
    unknown = [n for n in modalities or () if n not in model.encoders]
    used = list(modalities or model.encoders)
    if unknown or not used or len(set(used)) < len(used):
        raise UsageError(f"modalities {modalities}: the model has {', '.join(model.encoders)}; name each once")
    if model.fusion is None and len(used) > 1:
        raise UsageError(f"the model has encoders for {', '.join(used)} and no fusion head; choose one modality")
    if block < 1:
        raise UsageError(f"block is {block}; expected at least 1 pixel")
    if average_days < 0:
        raise UsageError(f"average_days is {average_days}; expected days from 1, or 0 for each date's own vectors")
    used = in_order({n: model.modalities[n] for n in used})
    reference = reference_among(model, used)
    if model.modalities[reference].static:
        raise UsageError(
            f"{reference} is static, and has no date to embed; fuse its encoder with one of a modality with dates "
            "(experiments/fusion.py), or name such a modality too"
        )
    model.check_length(length)
    check_dtype(model, dtype)
    return used


def reference_among(model: Model, used: Sequence[str]) -> str:
    """The modality whose dates are embedded."""
    return REFERENCE if model.fusion and REFERENCE in model.encoders else used[0]


def told_of(model: Model, reference: str) -> tuple[str, ...]:
    """Layers that say how far the state of a modality holds; none where its encoder has none."""
    tells = tells_of(model.encoders[reference])
    return tuple(name for name in TOLD if name in tells or ("support" in tells and name == "days_to_nearest"))


def check_dtype(model: Model, dtype: str) -> None:
    """Raise UsageError unless vectors of the model can be stored so."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if dtype == "int8" and "calibration" not in model.info:
        raise UsageError(
            f"model {model.hash} has no scales for int8: `eomm calibrate --model MODEL --records RECORDS` adds them; "
            "or choose the dtype float32"
        )


def check_order(cube: Cube, name: str) -> None:
    """Raise DataError unless acquisitions are distinct and in order; every cube of ours is."""
    keys = [a.key for a in cube[name].acquisitions]
    if keys != sorted(set(keys)) or cube[name].day.tolist() != [k[0] for k in keys]:
        raise DataError(f"{cube.path}: acquisitions of {name} are not distinct and in order of time; prepare it again")


def nearest(
    target_day: Int[np.ndarray, " n"], day: Int[np.ndarray, " t"], max_offset_days: int | None
) -> Int[np.ndarray, " n"]:
    """Position of the nearest day (ties: the earlier), or -1 where all are farther than `max_offset_days` (`pair`)."""
    if not len(day):
        return np.full(len(target_day), -1)
    wanted, there = (np.pad(x, (0, -len(x) % FEW_DAYS)).astype(np.int32)[None] for x in (target_day, day))
    found = pair(wanted, there, np.arange(there.size)[None] < len(day), max_offset_days)
    return np.where(found.near[0], found.at[0], -1)[: len(target_day)]


pair = jax.jit(forward.pair, static_argnames="max_offset_days")


def sides(height: int, width: int, block: int, *, square: bool) -> tuple[int, int]:
    """Sides of the blocks that cover a grid; square, the shorter side's counts for both."""
    found = even(height, block), even(width, block)
    return (min(found), min(found)) if square else found


def even(size: int, block: int) -> int:
    """Side of equal blocks, at most about `block`, that cover `size` pixels; a multiple of TILE."""
    return math.ceil(size / math.ceil(size / block) / TILE) * TILE


def cube_digest(cube: Cube) -> str:
    """16 hex digits that stand for a cube: its sources (by their hashes), contracts, grids and acquisitions."""
    groups = {
        name: [
            g.modality.to_dict(),
            g.grid.attributes(),
            [asdict(a) for a in g.acquisitions],
            g.usable.tolist(),
            g.digests,
        ]
        for name, g in sorted(cube.groups.items())
    }
    return digest([cube.site, dict(cube.provenance), groups])


def explain_use(model: Model, cube: Cube, modalities: Sequence[str] | None = None) -> dict[str, str]:
    """Modality -> "used", or why it is not: said before anything is computed. Contracts are compared by `make_plan`.

    Args:
        model: loaded.
        cube: opened.
        modalities: those asked for; all of the model's when None.
    """
    found = {}
    for name in dict.fromkeys([*model.encoders, *cube]):
        if name not in model.encoders:
            found[name] = "not used: the model has no encoder for it"
        elif name not in cube:
            found[name] = "absent: the cube has none; its place in the vector is that of a missing sensor"
        elif modalities is not None and name not in modalities:
            found[name] = "not used: not among the modalities asked for"
        elif cube[name].modality.static:
            found[name] = "used: static, at every date"
        else:
            found[name] = f"used: {int(cube[name].usable.sum())} of {len(cube[name].day)} acquisitions are usable"
    return found
