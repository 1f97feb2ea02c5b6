"""Continuing an embedding cube with a newer cube of its site: which dates are kept, and how. See run.py."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from eomm.data.cube import open_attributes
from eomm.data.grid import to_date
from eomm.embedding.plan import Plan, check_same_site, digest
from eomm.embedding.store import KIND, SHARD_DATES, open_array
from eomm.embedding.units import Unit
from eomm.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Base:
    """A finished store, of which dates whose windows did not change are kept.

    Attributes:
        path: the store.
        request: what it was made of, a digest.
        block: its (rows, columns).
        kept: position of a date here -> there.
        changed: dates embedded again because their windows changed.
        new: dates that it lacks.
        dropped: dates of it that are no longer usable, as when a later acquisition told haze from ground.
        quantisation: what it says that quantisation cost, or None.
    """

    path: Path
    request: str
    block: tuple[int, int]
    kept: Mapping[int, int]
    changed: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    quantisation: Mapping[str, Any] | None

    def summary(self) -> dict[str, Any]:
        """For the store that continues it."""
        return {"kept": len(self.kept), "changed": self.changed, "new": self.new, "dropped": self.dropped}

    def link(self, partial: Path, unit: Unit, plan: Plan) -> bool:
        """Take over a unit's files where all its dates are kept at their places; False where they are not."""
        if any(self.kept.get(d) != d for d in range(unit.dates.start, unit.dates.stop)):
            return False
        place = (unit.dates.start // SHARD_DATES, unit.y.start // self.block[0], unit.x.start // self.block[1])
        for name in plan.layout().arrays:
            key = Path(name, "c", *map(str, place), *(["0"] if name == "embedding" else []))
            if not (self.path / key).exists():  # a shard of nothing but the fill value has no file
                continue
            (partial / key).parent.mkdir(parents=True, exist_ok=True)
            (partial / key).unlink(missing_ok=True)
            try:
                os.link(self.path / key, partial / key)  # neither store ever changes a file in place
            except OSError:
                shutil.copy2(self.path / key, partial / key)
        return True

    def fill(
        self, layers: Mapping[str, np.ndarray], fresh: Int[np.ndarray, " n"], unit: Unit, plan: Plan
    ) -> dict[str, np.ndarray]:
        """A unit's layers at all its dates, those kept as they are stored."""
        dates = np.arange(unit.dates.start, unit.dates.stop)
        old = np.setdiff1d(dates, fresh)
        if not len(old):
            return dict(layers)
        grid, found = plan.cube[plan.reference].grid, {}
        y, x = slice(unit.y.start, min(unit.y.stop, grid.height)), slice(unit.x.start, min(unit.x.stop, grid.width))
        there = [self.kept[int(d)] for d in old]
        for name in plan.layout().arrays:
            stored = open_array(self.path / name)[there, y, x].read().result()
            whole = np.zeros((len(dates), *stored.shape[1:]), stored.dtype)
            whole[np.searchsorted(dates, old)] = stored
            if len(fresh):
                whole[np.searchsorted(dates, fresh)] = layers[name][:, : y.stop - y.start, : x.stop - x.start]
            found[name] = whole
        return found


def open_base(out: Path, plan: Plan) -> Base:
    """What of a finished store a plan can keep.

    Raises:
        DataError: no finished embedding.
        UsageError: it was made by another model or with other options, or holds dates that the cube has not.
        ContractError: it is of another site, grid or contract.
    """
    attributes = open_attributes(out, kind=KIND)
    if "eomm:request" not in attributes:
        raise DataError(f"{out}: does not tell what it was made of; it is an export, or of an earlier version of eomm")
    check_same_site(attributes, plan, str(out))
    there, here = [(int(day), str(window)) for day, window in attributes["eomm:windows"]], plan.windows()
    if not all(window for _, window in [*there, *here]):
        raise DataError(
            f"{out} or {plan.cube.path}: was made before cubes noted what each acquisition holds; prepare the cube "
            "and embed anew"
        )
    days_there, days_here = {day for day, _ in there}, {day for day, _ in here}
    lead = plan.cube[plan.reference]
    dropped = sorted(days_there - days_here)
    unknown = [d for d in dropped if d not in lead.day[~lead.usable]]
    if unknown:
        raise UsageError(
            f"{out}: holds {', '.join(str(to_date(d)) for d in unknown[:5])}, which {plan.cube.path} (or --dates) has "
            "not; a store is continued with a cube that has all its dates"
        )
    places = {key: i for i, key in enumerate(there)}
    kept = {i: places[key] for i, key in enumerate(here) if key in places}
    again = [day for i, (day, _) in enumerate(here) if i not in kept]
    return Base(
        path=out,
        request=digest(attributes["eomm:request"]),
        block=(int(attributes["eomm:request"]["block"][0]), int(attributes["eomm:request"]["block"][1])),
        kept=kept,
        changed=tuple(str(to_date(d)) for d in again if d in days_there),
        new=tuple(str(to_date(d)) for d in again if d not in days_there),
        dropped=tuple(str(to_date(d)) for d in dropped),
        quantisation=attributes.get("quantisation"),
    )


def fresh_dates(unit: Unit, base: Base | None) -> Int[np.ndarray, " n"]:
    """Dates of a unit that are not kept from an earlier store."""
    dates = np.arange(unit.dates.start, unit.dates.stop)
    return dates if base is None else dates[[int(d) not in base.kept for d in dates]]
