"""Continuing an embedding cube with a newer cube of its site: which dates are kept, and how. See run.py."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from eomm.data.attributes import open_attributes
from eomm.data.grid import to_date
from eomm.embedding.plan import Plan
from eomm.embedding.read import KIND, VERSION
from eomm.embedding.store import missing_of, open_array
from eomm.embedding.units import Unit, place_of
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.digest import digest
from eomm.store.fields import Json
from eomm.store.identity import Identity
from eomm.store.shards import ATTRIBUTE, DIGITS, NONE, check_present, places, shard_file


@dataclass(frozen=True, kw_only=True)
class Base:
    """A finished store, of which dates whose windows did not change are kept.

    Attributes:
        path: the store.
        version: its form; one of before today's is written anew in today's, its numbers as they are.
        identity: tells whether it is still this store that lies there.
        files: checksums of its files by array and place.
        request: what it was made of, a digest.
        block: its (rows, columns).
        kept: position of a date here -> there.
        changed: dates embedded again because their windows changed.
        new: dates that it lacks.
        dropped: dates of it that are no longer usable, as when a later acquisition told haze from ground.
        quantisation: what it says that quantisation cost, or None.
    """

    path: Path
    version: int
    identity: Identity
    files: Mapping[str, Mapping[tuple[int, ...], str]]
    request: str
    block: tuple[int, int]
    kept: Mapping[int, int]
    changed: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    quantisation: Mapping[str, Any] | None

    def summary(self) -> Json:
        """For the store that continues it."""
        converted = {"converted_from_version": self.version} if self.version < VERSION else {}
        kept = {"kept": len(self.kept), "changed": self.changed, "new": self.new, "dropped": self.dropped}
        return {**kept, **converted}

    def link(self, partial: Path, unit: Unit, plan: Plan) -> dict[str, str] | None:
        """Take over a unit's files where all its dates are kept at their places.

        Returns:
            Checksums by array; None where they are not, or the store is of an earlier form.

        Raises:
            DataError: a file is missing, or the store was replaced.
        """
        if self.version < VERSION:
            return None
        if any(self.kept.get(d) != d for d in range(unit.dates.start, unit.dates.stop)):
            return None
        found = {}
        for name in plan.layout().arrays:
            place = place_of(unit, self.block, name)
            found[name] = self.files[name][place]
            if found[name] != NONE:
                take_file(shard_file(self.path / name, place), shard_file(partial / name, place))
        self.identity.check()
        return found

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
            stored = self._read(name, there, y, x)
            if name == "embedding" and self.version < VERSION and plan.clear_only:
                clear = self._read("valid", there, y, x)
                stored = np.where(clear[..., None], stored, np.asarray(missing_of(plan.dtype), stored.dtype))
            whole = np.zeros((len(dates), *stored.shape[1:]), stored.dtype)
            whole[np.searchsorted(dates, old)] = stored
            if len(fresh):
                whole[np.searchsorted(dates, fresh)] = layers[name][:, : y.stop - y.start, : x.stop - x.start]
            found[name] = whole
        return found

    def _read(self, name: str, dates: Sequence[int], y: slice, x: slice) -> np.ndarray:
        try:
            found = np.asarray(open_array(self.path / name)[dates, y, x].read().result())
        except (ValueError, OSError) as e:
            raise DataError(f"{self.path}: {name} cannot be read ({str(e)[:300]}); the store is damaged") from e
        finally:
            self.identity.check()
        return found

    def is_whole(self, plan: Plan) -> bool:
        """Whether nothing came and nothing went: the store is what the plan asks for."""
        return self.version == VERSION and not self.dropped and self.kept == {i: i for i in range(len(plan.day))}


def continued(out: Path, plan: Plan) -> tuple[Plan, Base]:
    """A plan as a finished store goes on, with its blocks and its layers, and what can be kept. Errors: `open_base`."""
    told = tuple(name for name in plan.told if (out / name / "zarr.json").is_file())  # one of before them has none
    plan = replace(plan, told=told)
    base = open_base(out, plan)
    return replace(plan, block=base.block), base


def take_file(there: Path, here: Path) -> None:
    """Link a file, or copy it where links are not to be had. Raises DataError where it is missing."""
    here.parent.mkdir(parents=True, exist_ok=True)
    here.unlink(missing_ok=True)
    try:
        os.link(there, here)  # neither store ever changes a file in place
    except FileNotFoundError as e:
        raise DataError(f"{there}: missing; the store is damaged, embed anew with --overwrite") from e
    except OSError:
        shutil.copy2(there, here)


def open_base(out: Path, plan: Plan) -> Base:
    """What of a finished store a plan can keep.

    Raises:
        DataError: no finished embedding.
        UsageError: it was made by another model or with other options, or holds dates that the cube has not.
        ContractError: it is of another site, grid or contract.
    """
    open_attributes(out, kind=KIND, newest=VERSION)
    identity = Identity(out / "zarr.json")
    attributes = open_attributes(out, kind=KIND, newest=VERSION)
    listed = attributes.pop(ATTRIBUTE, {})
    check_present(out, listed)
    _check_continuable(out, attributes, plan)
    there, here = [(int(day), str(window)) for day, window in attributes["eomm:windows"]], plan.windows()
    if not all(window for _, window in [*there, *here]):
        raise DataError(
            f"{out} or {plan.cube.path}: was made before cubes noted what each acquisition holds; prepare the cube "
            "and embed anew"
        )
    days_there = {day for day, _ in there}
    dropped = _dropped(out, days_there - {day for day, _ in here}, plan)
    places = {key: i for i, key in enumerate(there)}
    kept = {i: places[key] for i, key in enumerate(here) if key in places}
    again = [day for i, (day, _) in enumerate(here) if i not in kept]
    return Base(
        path=out,
        version=int(attributes.get("eomm:version", 1)),
        identity=identity,
        files={name: by_place(out / name, text) for name, text in listed.items()},
        request=digest(attributes["eomm:request"]),
        block=(int(attributes["eomm:request"]["block"][0]), int(attributes["eomm:request"]["block"][1])),
        kept=kept,
        changed=_dates(d for d in again if d in days_there),
        new=_dates(d for d in again if d not in days_there),
        dropped=_dates(dropped),
        quantisation=attributes.get("quantisation"),
    )


def _dates(days: Iterable[int]) -> tuple[str, ...]:
    return tuple(str(to_date(day)) for day in days)


def _dropped(out: Path, gone: set[int], plan: Plan) -> list[int]:
    """Days of a store that the cube no longer calls usable. Raises UsageError where it has one of them not at all."""
    lead = plan.cube[plan.reference]
    if unknown := [day for day in sorted(gone) if day not in lead.day[~lead.usable]]:
        raise UsageError(
            f"{out}: holds {', '.join(_dates(unknown[:5]))}, which {plan.cube.path} (or --dates) has not; a store is "
            "continued with a cube that has all its dates"
        )
    return sorted(gone)


def _check_continuable(out: Path, attributes: dict[str, Any], plan: Plan) -> None:
    if "eomm:request" not in attributes:
        raise DataError(f"{out}: does not tell what it was made of; it is an export, or of an earlier version of eomm")
    check_same_site(attributes, plan, str(out))
    lacks = [name for name in plan.layout().arrays if not (out / name / "zarr.json").is_file()]
    if lacks:
        raise UsageError(f"{out}: cannot be continued, it has no {', '.join(lacks)}; embed anew with --overwrite")


def by_place(array: Path, text: str) -> dict[tuple[int, ...], str]:
    """Checksums of an array's files, by their places."""
    sums = [text[i : i + DIGITS] for i in range(DIGITS, len(text), DIGITS)]
    return dict(zip(places(array), sums, strict=True))


def fresh_dates(unit: Unit, base: Base | None) -> Int[np.ndarray, " n"]:
    """Dates of a unit that are not kept from an earlier store."""
    dates = np.arange(unit.dates.start, unit.dates.stop)
    return dates if base is None else dates[[int(d) not in base.kept for d in dates]]


def check_same_site(found: Json, plan: Plan, store: str) -> None:
    """Raise unless a finished store can be continued by a plan: all but dates and acquisitions must be the same."""
    request = found["eomm:request"]
    now = plan.request()
    names = ("model", "calibration", "modalities", "length", "dtype", "clear_only", "average_days")
    if differ := [n for n in names if request.get(n) != now.get(n)]:
        changes = ", ".join(f"{n} {request.get(n)!r} there, {now.get(n)!r} now" for n in differ)
        raise UsageError(f"{store}: cannot be continued, {changes}; embed anew with --overwrite")
    grid = plan.cube[plan.reference].grid
    contracts = {n: plan.cube[n].modality.to_dict() for n in plan.used}
    here = {"eomm:contracts": contracts, "site": plan.cube.site, **grid.attributes()}
    if any(found.get(name) != value for name, value in here.items()):
        raise ContractError(
            f"{store} and {plan.cube.path}: another site, grid or contract; a store is continued with a newer cube of "
            "the same site"
        )
