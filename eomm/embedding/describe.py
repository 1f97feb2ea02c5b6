"""What an embedding cube says of itself: contracts, provenance, what quantisation cost. See store.py."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eomm.data.arrays import finish
from eomm.embedding.append import Base
from eomm.embedding.plan import Plan, cube_digest
from eomm.embedding.units import place_of
from eomm.models.directory import plain
from eomm.store.fields import Json


def describe(plan: Plan, request: Mapping[str, Any], base: Base | None) -> Json:
    """Contracts and provenance for the store's root attributes."""
    model, cube = plan.model, plan.cube
    lead = cube[plan.reference]
    device = jax.devices()[0]
    chosen = np.flatnonzero(lead.usable)[np.isin(lead.day[lead.usable], plan.day)]
    versions = {name: importlib.metadata.version(name) for name in ("eomm", "jax", "flax", "numpy", "zarr")}
    return {
        "site": cube.site,
        "eomm:model": model.hash,
        "eomm:cube": cube_digest(cube),
        "eomm:contracts": {n: cube[n].modality.to_dict() for n in plan.used},
        "eomm:request": dict(request),
        "eomm:windows": [list(w) for w in plan.windows()],
        "acquisitions": [asdict(lead.acquisitions[i]) for i in chosen],
        "provenance": {
            "simulated": cube.simulated,
            "model": model.hash,
            "model_info": plain(model.info),
            "modalities": list(plan.used),
            "reference": plan.reference,
            "cube": {"name": cube.path.name, "site": cube.site, "provenance": dict(cube.provenance)},
            "usable_acquisitions": {n: int(cube[n].usable.sum()) for n in plan.used},
            "unusable_acquisitions": int((~lead.usable).sum()),
            "units": request["units"],
            "block": list(plan.block),
            "dtype": plan.dtype,
            "clear_only": plan.clear_only,
            "average_days": plan.average_days,
            "memory_bytes_estimated": plan.memory_bytes(),
            "device": f"{device.platform}: {device.device_kind}",
            "versions": versions,
            **({"continued": base.summary()} if base else {}),
        },
    }


def quantisation_of(figures: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None) -> Json:
    """What quantisation cost, of what units noted and of an earlier store."""
    total = {k: sum(f.get(k, 0) for f in figures) for k in ("clipped", "cosine_error", "counted")}
    largest = max((f.get("max_cosine_error", 0.0) for f in figures), default=0.0)
    if before:
        total["clipped"] += before["clipped_values"]
        total["cosine_error"] += before["mean_cosine_error"] * before["of_vectors"]
        total["counted"] += before["of_vectors"]
        largest = max(largest, before["max_cosine_error"])
    return {
        "mean_cosine_error": total["cosine_error"] / max(total["counted"], 1),
        "max_cosine_error": largest,
        "clipped_values": int(total["clipped"]),
        "of_vectors": int(total["counted"]),
    }


def close(
    path: Path,
    plan: Plan,
    base: Base | None,
    figures: Sequence[Mapping[str, Any]],
    seam: Mapping[str, Any] | None,
) -> None:
    """Complete a store: what its units noted, in their order, and the seam's figure.

    What quantisation cost is of all vectors ever computed for the store, those of the store it continues included.
    """
    attributes: Json = {}
    if plan.scale is not None:
        cost = quantisation_of(figures, base.quantisation if base else None)
        attributes["quantisation"] = cost | plan.model.info["calibration"].get("int8", {})
    if seam:
        attributes["seam"] = dict(seam)
    known: dict[str, dict[tuple[int, ...], str]] = {name: {} for name in plan.layout().arrays}
    for unit, noted in zip(plan.units, figures, strict=True):
        for name, checksum in noted.get("files", {}).items():
            known[name][place_of(unit, plan.block, name)] = checksum
    finish(path, attributes, known)
