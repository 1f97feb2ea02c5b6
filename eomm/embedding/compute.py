"""What a unit computes: the vectors of a block of pixels at some dates, and the flags that go with them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from eomm.embedding.append import Base, fresh_dates
from eomm.embedding.dense import FAR, FEW, BlockEmbedder, average, fuse_dates, quantise
from eomm.embedding.expected_error import expected_error
from eomm.embedding.layers import FLAGS, NO_OFFSET, TOLD, in_steps
from eomm.embedding.plan import Plan
from eomm.embedding.store import missing_of
from eomm.embedding.units import Unit
from eomm.errors import DataError
from eomm.store.fields import Json

SPARSE = 3  # fewer valid acquisitions beside the target are flagged


def open_series(plan: Plan, unit: Unit) -> dict[str, BlockEmbedder]:
    """Every modality over the block of a unit."""
    found = {}
    for name in plan.used:
        y, x = (slice(0, 1), slice(0, 1)) if plan.site_wide[name] else (unit.y, unit.x)
        params = plan.model.params[name]["encoder"]
        found[name] = BlockEmbedder(plan.model.encoders[name], params, plan.cube[name], plan.schedule(name), y, x)
    return found


def embed_unit(
    plan: Plan, series: dict[str, BlockEmbedder], unit: Unit, base: Base | None = None
) -> tuple[dict[str, np.ndarray], Json]:
    """What is written of a unit, by array name, and what is noted of it."""
    fresh = fresh_dates(unit, base)
    layers, figures = embed_dates(plan, series, fresh, unit) if len(fresh) else ({}, {})
    return (base.fill(layers, fresh, unit, plan) if base else layers), figures


@dataclass(frozen=True)
class Used:
    """One modality at some dates of a block.

    Attributes:
        vectors: of each date's acquisition, on the device, [1, 1, d] where it has a single pixel; zero where there
            is none.
        told: what the encoder tells of them, by name, NaN where there is none.
        valid: where that acquisition is valid.
        observations: valid acquisitions in its window.
        days_before: from the last valid acquisition before it in its window, FAR where there is none.
        days_after: to the next one.
        offset_days: its day minus the date's; 0 where there is none, and of a static layer.
    """

    vectors: tuple[Float[Array, "_ _ d"], ...]
    told: dict[str, Float[np.ndarray, "date y x"]]
    valid: Bool[np.ndarray, "date y x"]
    observations: UInt8[np.ndarray, "date y x"]
    days_before: Int[np.ndarray, "date y x"]
    days_after: Int[np.ndarray, "date y x"]
    offset_days: Int[np.ndarray, " date"]

    def at(self, places: Int[np.ndarray, " n"]) -> "Used":
        """Some of its dates."""
        rest = {f.name: getattr(self, f.name)[places] for f in dataclasses.fields(self)[2:]}
        told = {name: numbers[places] for name, numbers in self.told.items()}
        return Used(tuple(self.vectors[p] for p in places), told, **rest)


def embed_dates(
    plan: Plan, series: dict[str, BlockEmbedder], dates: Int[np.ndarray, " n"], unit: Unit
) -> tuple[dict[str, np.ndarray], Json]:
    """Everything that is written of some dates of a block, by array name, and what is noted."""
    count, dates = len(dates), padded(dates)
    near = padded(plan.near(dates))
    around = {name: gather(plan, name, series[name], near) for name in plan.used}
    places = np.searchsorted(near, dates)
    used = {name: u.at(places) for name, u in around.items()}
    valid = clear(plan, used)
    wanted = valid.copy() if plan.clear_only else np.ones_like(valid)
    wanted[count:] = False
    vectors = averaged(plan, around, near, places) if plan.average_days else fused(plan, used, wanted)
    embedding, figures = stored(plan, vectors, wanted, unit)
    layers = {"embedding": embedding, **beside(plan, used, valid, wanted, unit)}
    return {name: values[:count] for name, values in layers.items()}, figures


def padded(dates: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Dates, the last of them repeated up to a multiple of FEW."""
    return np.pad(dates, (0, -len(dates) % FEW), mode="edge")


def clear(plan: Plan, used: dict[str, "Used"]) -> Bool[np.ndarray, "date y x"]:
    """Where a date counts as clear: where the reference is valid, or without it any modality."""
    lead = used.get(plan.reference)
    found: Bool[np.ndarray, "date y x"] = lead.valid if lead else np.any([u.valid for u in used.values()], axis=0)
    return found


def beside(
    plan: Plan, used: dict[str, "Used"], valid: np.ndarray, wanted: np.ndarray, unit: Unit
) -> dict[str, np.ndarray]:
    """The layers beside the vectors, by name (layers.py)."""
    lead, found = used.get(plan.reference), {"valid": valid, "flags": flags(plan, used, valid, unit)}
    for name, u in used.items():
        found[f"observations_{name}"] = u.observations
        if name != plan.reference:
            found[f"observations_{name}"] = np.where(u.valid, u.observations, 0).astype(np.uint8)
        if name in plan.sensors:
            days = np.where(u.valid, u.offset_days[:, None, None], NO_OFFSET)
            found[f"{name}_offset_days"] = days.astype(np.int16)
    if lead and (fit := plan.model.info.get("calibration", {}).get("error")):
        seen = lead.observations - lead.valid
        error = expected_error(fit, lead.days_before, lead.days_after, seen)
        found["expected_error"] = in_steps(error, fit["step"], wanted)
    if lead and plan.told:
        days = np.minimum(lead.days_before, lead.days_after)
        numbers = {"days_to_nearest": np.where(days < FAR, days, np.nan), **lead.told}
        found |= {name: in_steps(numbers[name], TOLD[name][1], wanted) for name in plan.told}
    return found


def averaged(
    plan: Plan, used: dict[str, "Used"], near: Int[np.ndarray, " m"], places: Int[np.ndarray, " n"]
) -> Float[Array, "n y x d"]:
    """Vectors on the device, each the mean of its own and of those of clear dates at most `average_days` away.

    Args:
        plan: of the embedding.
        used: every modality at the dates at hand.
        near: positions of these in the store, ascending; the last may stand there several times.
        places: which of them are wanted.
    """
    days, distinct = plan.day[near], np.arange(len(near)) <= np.searchsorted(near, near[-1])
    inside = (np.abs(days[places][:, None] - days) <= plan.average_days) & distinct
    seen = clear(plan, used)
    return average(fused(plan, used, np.ones_like(seen)), seen, inside, places)


def fused(plan: Plan, used: dict[str, "Used"], wanted: Bool[np.ndarray, "date y x"]) -> Float[Array, "date y x d"]:
    """Vectors on the device, each date's own, zero where not wanted."""
    # As `forward.lead` and `forward.follow` say it, of what is on the host to be written.
    present = {n: np.ones_like(wanted) if n == plan.reference else u.valid for n, u in used.items()}
    parts = {n: (u.vectors, present[n], u.offset_days.astype(np.float32)) for n, u in used.items()}
    model = plan.model
    return fuse_dates(model.params.get("fusion"), parts, wanted, fusion=model.fusion, length=plan.length)


def stored(
    plan: Plan, vectors: Float[Array, "date y x d"], wanted: Bool[np.ndarray, "date y x"], unit: Unit
) -> tuple[np.ndarray, Json]:
    """Vectors as they are written, missing where not wanted, and what quantisation costs.

    Raises DataError where they are not finite.
    """
    inside = np.zeros_like(wanted)
    grid = plan.cube[plan.reference].grid
    inside[:, : grid.height - unit.y.start, : grid.width - unit.x.start] = True
    figures: dict[str, Any] = {}
    if plan.scale is None:
        embedding = np.asarray(vectors)
        finite = bool(np.isfinite(embedding).all())
        embedding = embedding.astype(plan.dtype)
    else:
        steps, found = quantise(vectors, plan.scale, wanted & inside)
        embedding, noted = np.asarray(steps), {k: float(v) for k, v in found.items()}
        finite = bool(noted.pop("finite"))
        figures |= noted
    if not finite:
        raise DataError(
            f"model {plan.model.hash}: its vectors on {plan.cube.path} are not finite; the model is damaged or diverged"
        )
    missing = np.asarray(missing_of(plan.dtype), embedding.dtype)
    return np.where(wanted[..., None], embedding, missing), figures


def flags(plan: Plan, used: dict[str, Used], valid: np.ndarray, unit: Unit) -> UInt8[np.ndarray, "date y x"]:
    """What limits each vector, see `embed_store.FLAGS`."""
    grid, halo = plan.cube[plan.reference].grid, plan.halo
    rows, cols = (np.arange(s.start, s.stop) for s in (unit.y, unit.x))
    inside = ((rows >= halo) & (rows < grid.height - halo))[:, None] & ((cols >= halo) & (cols < grid.width - halo))
    lead = used.get(plan.reference)
    others = [used[n].valid for n in plan.sensors]
    dated = [n for n, modality in plan.model.modalities.items() if not modality.static]
    true = {
        "edge": ~inside,
        "clouded": ~valid,
        "alone": ~np.any(others, axis=0) if others else len(dated) > 1,
        "sparse": lead.observations - lead.valid < SPARSE if lead else False,
    }
    found = np.zeros(valid.shape, np.uint8)
    for name, where in true.items():
        found |= np.broadcast_to(where, valid.shape) * np.uint8(FLAGS[name])
    return found


def gather(plan: Plan, name: str, series: BlockEmbedder, dates: Int[np.ndarray, " n"]) -> Used:
    """One modality at some dates: each acquisition is embedded once, however many dates use it."""
    at = plan.at[name][dates]
    there = at >= 0
    distinct = np.unique(at[there]).tolist()
    found = dict(zip(distinct, series.take(distinct), strict=True))
    none = jnp.zeros((*((1, 1) if plan.site_wide[name] else plan.block), plan.model.encoders[name].dim))
    shape = (len(at), *plan.block)
    valid, observations = np.zeros(shape, bool), np.zeros(shape, np.uint8)
    days_before, days_after = np.full(shape, FAR, np.int32), np.full(shape, FAR, np.int32)
    told: dict[str, np.ndarray] = {}
    offset_days = np.zeros(len(at), np.int32)
    if not plan.cube[name].modality.static:
        offset_days[there] = plan.cube[name].day[plan.cube[name].usable][at[there]] - plan.day[dates][there]
    for i in np.flatnonzero(there):
        e = found[at[i]]
        valid[i], days_before[i], days_after[i] = e.valid, e.days_before, e.days_after
        observations[i] = np.minimum(e.observations, 255)
        for told_name, numbers in e.told.items():
            told.setdefault(told_name, np.full(shape, np.nan, np.float32))[i] = numbers
    vectors = tuple(found[p].vectors if p >= 0 else none for p in at.tolist())
    return Used(vectors, told, valid, observations, days_before, days_after, offset_days)
