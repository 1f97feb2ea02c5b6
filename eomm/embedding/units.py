"""The units of an embedding: which there are, who does which, what is done. Not what a unit computes (run.py).

A unit is a block of pixels at up to SHARD_DATES dates, which is one file of every array. While a store is made, it
lies in `<out>.partial` with the notes on its units (eomm/store/notes.py).
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import IO, Any, TypeVar

from eomm.data.attributes import open_attributes, to_deep
from eomm.embedding.store import KIND, SHARD_DATES
from eomm.errors import DataError, UsageError
from eomm.store.fields import COUNT, Fields, Json, check
from eomm.store.folders import check_free, entered, partial_of, put_in_place, read_json, recover
from eomm.store.notes import FOLDER, Notes

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A block of pixels at some dates.

    Attributes:
        number: in the order of all units of a store.
        dates: positions in its time axis.
        y: rows.
        x: columns; both may exceed the grid.
    """

    number: int
    dates: slice
    y: slice
    x: slice


def list_units(count: int, shape: tuple[int, int], block: tuple[int, int]) -> list[Unit]:
    """All units of `count` dates of a site, those of a block together."""
    places = product(range(0, shape[0], block[0]), range(0, shape[1], block[1]), range(0, max(count, 1), SHARD_DATES))
    return [
        Unit(
            number=i,
            dates=slice(first, min(first + SHARD_DATES, count)),
            y=slice(row, row + block[0]),
            x=slice(col, col + block[1]),
        )
        for i, (row, col, first) in enumerate(places)
    ]


def share(units: Sequence[Item], index: int, count: int) -> list[Item]:
    """Shard `index` of `count`: a run of units, or whatever is shared, so that those of a block stay together."""
    return list(units[index * len(units) // count : (index + 1) * len(units) // count])


def check_shard(shard: tuple[int, int]) -> None:
    """Raise UsageError unless a shard (i, n) is part i of n, counted from 0."""
    if not 0 <= shard[0] < shard[1]:
        raise UsageError(f"shard {shard[0]} of {shard[1]}: expected 0 <= i < n")


def place_of(unit: Unit, block: tuple[int, int], name: str) -> tuple[int, ...]:
    """Which shard of an array a unit is."""
    place = (unit.dates.start // SHARD_DATES, unit.y.start // block[0], unit.x.start // block[1])
    return (*place, 0) if name == "embedding" else place


def by_block(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Runs of units of one block, in order of time."""
    for _, run in groupby(units, key=lambda u: (u.y.start, u.x.start)):
        yield list(run)


class Run:
    """An embedding being made, by this process and perhaps by others.

    Attributes:
        partial: the unfinished store.
        notes: on its units, which are called by their numbers.
        begun_here: whether this process made it.
    """

    def __init__(self, out: Path, *, begun_here: bool = False):
        self.out, self.partial, self.begun_here = out, partial_of(out), begun_here
        self.notes = Notes(self.partial / FOLDER)

    @classmethod
    def open(
        cls, out: Path, request: Mapping[str, Any], make: Callable[[Path], None], *, overwrite: bool
    ) -> "Run | None":
        """Begin an embedding or go on with it; None where it is complete already.

        Args:
            out: the store to be.
            request: what is made, JSON types; another one is another store.
            make: writes an unfinished store into an empty directory.
            overwrite: replace what `out` and `out`.partial hold of another request.

        Raises:
            UsageError: `out` holds, or is about to hold, something else.
        """
        recover(out)
        run = cls(out)
        while True:  # of several processes that begin at once one makes the store, the others come round and find it
            if request == requested(out):
                return None
            check_free(out, overwrite=overwrite, kind="embedding")
            if not run.partial.exists():
                if not run._begin(request, make):
                    continue
                run = cls(out, begun_here=True)
                if request == requested(out):  # another process has completed it since we looked
                    run.discard()
                    return None
                return run
            found = _noted(run.notes)
            if found == request:
                return run
            if not overwrite:
                raise UsageError(
                    f"{run.partial}: {difference(found, request)}. Ask for the same to go on, or say --overwrite to "
                    "begin anew"
                )
            aside = run._beside()
            with suppress(FileNotFoundError), ExitStack() as stack:  # another process was faster
                if found is not None:
                    run._lock(stack, "whole", fcntl.LOCK_EX)
                os.rename(run.partial, aside)
                if _noted(Notes(aside / FOLDER)) == request:  # and has begun anew meanwhile
                    os.rename(aside, run.partial)
                shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def claimed(self, shard: tuple[int, int]) -> Iterator[bool]:
        """Be the only process that does a shard; False where the store has been completed meanwhile.

        All of a store excludes its shards, and a shard another process that does the same: that one is waited for,
        since a cluster gives a task anew when it has lost a worker from sight.

        Raises:
            UsageError: another process is embedding it.
        """
        index, count = shard
        with ExitStack() as stack:
            try:
                whole = self._lock(stack, "whole", fcntl.LOCK_EX if count == 1 else fcntl.LOCK_SH)
                part = stack.enter_context(open(self.notes.folder / f"part-{index}-of-{count}", "a"))
                fcntl.flock(part, fcntl.LOCK_EX)
                there = os.path.samestat(os.fstat(whole.fileno()), os.stat(self.notes.folder / "whole"))
            except FileNotFoundError:
                there = False
            yield there

    def _lock(self, stack: ExitStack, name: str, how: int) -> IO[str]:
        file = stack.enter_context(open(self.notes.folder / name, "a"))
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise UsageError(
                f"{self.out}: another process is embedding it; wait for it, or stop it: what is done stays"
            ) from e
        return file

    def _begin(self, request: Mapping[str, Any], make: Callable[[Path], None]) -> bool:
        beside = self._beside()
        try:
            beside.mkdir(parents=True)
            make(beside)
            Notes(beside / FOLDER).begin(request)
            os.rename(beside, self.partial)
            return True
        except OSError:
            if not self.partial.exists():
                raise
            return False
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _beside(self) -> Path:
        return self.out.with_name(f"{self.out.name}.{uuid.uuid4().hex[:8]}.partial")

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of `units` that are not done."""
        finished = self.notes.finished()
        return [u for u in units if str(u.number) not in finished]

    def figures(self) -> list[Json]:
        """What was noted of every finished unit, in their order."""
        return [self.notes.made(n) or {} for n in sorted(map(int, self.notes.finished()))]

    def finish(self, units: Sequence[Unit], complete: Callable[[Path, list[Json]], None]) -> None:
        """Complete the store and move it into place, once; `complete` gets it and what was noted of its units.

        Nothing happens where one of all `units` is missing, or another process was faster.
        """
        try:
            lock = open(self.notes.folder / "lock", "a")
        except FileNotFoundError:
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process
            ours = self.notes.folder / "lock"
            if not ours.exists() or not os.path.samestat(os.fstat(lock.fileno()), ours.stat()) or self.missing(units):
                return
            complete(self.partial, self.figures())
            put_in_place(self.partial, self.out)
        tidy(self.out)

    def discard(self) -> None:
        """Remove an unfinished store that this process began, unless something of it is done."""
        if self.begun_here and not self.notes.finished():
            shutil.rmtree(self.partial, ignore_errors=True)


def tidy(store: Path) -> None:
    """Remove the notes on units from a finished store."""
    shutil.rmtree(store / FOLDER, ignore_errors=True)


def _noted(notes: Notes) -> Any:
    """What is made; None also where the note is damaged, which `overwrite` replaces."""
    try:
        return notes.request
    except DataError:
        return None


def requested(store: Path) -> Any:
    """What a finished store was made of, or None."""
    try:
        return to_deep(read_json(store / "zarr.json")["attributes"]).get("eomm:request")
    except (DataError, KeyError, AttributeError):
        return None


def difference(found: Any, request: Mapping[str, Any]) -> str:
    """How the request of an unfinished store differs from another one, in words."""
    if not isinstance(found, Mapping):
        return "is something else than an unfinished embedding"
    names = [n for n in {**found, **request} if found.get(n) != request.get(n)]
    return "is of another request: " + ", ".join(f"{n} {found.get(n)!r} there, {request.get(n)!r} now" for n in names)


def status(out: Path | str) -> Json:
    """How far an embedding is, finished or not; reads no vector.

    Raises:
        DataError: there is none.
    """
    out = entered(out)
    recover(out)
    run = Run(out)
    request = run.notes.request
    if not run.partial.exists() or (request is None and out.exists()):
        request = open_attributes(out, kind=KIND).get("eomm:request")
        if request is None:
            raise DataError(f"{out}: does not tell its units; it is an export, or of an earlier version of eomm")
        units = request["units"]
        return {"embedding": str(out), "complete": True, "units": units, "done": units, "missing": 0, "failed": {}}
    if request is None:
        raise DataError(f"{run.partial}: is no unfinished embedding; remove it and embed again")
    check(request, Fields({"units": COUNT}), str(run.partial), remedy="remove it and embed again")
    done, total = len(run.notes.finished()), request["units"]
    return {
        "embedding": str(out),
        "complete": False,
        "units": total,
        "done": done,
        "missing": total - done,
        "failed": dict(sorted(run.notes.failures().items(), key=lambda item: int(item[0]))),
    }
