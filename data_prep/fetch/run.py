"""Scenes of a site from a STAC catalogue to small local GeoTIFFs. A step of its own: cubes are built from the files.

Every item becomes the files of one scene on the site's grid, written under another name and renamed when complete;
notes beside them (`eomm.store.notes`, a folder for each catalogue) say what was asked for, what is there and what
failed. Run again, only what is missing is fetched. Bands keep their own resolution: the cube resamples them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from data_prep.fetch import catalogues
from data_prep.fetch.catalogues import Catalogue
from data_prep.fetch.item import fetch_item, file_safe
from data_prep.fetch.items import find_items, is_remote, wait
from data_prep.fetch.net import Net
from eomm.data.grid import Grid
from eomm.errors import DataError, UsageError
from eomm.store.descriptions import FETCHED
from eomm.store.digest import sha256
from eomm.store.fields import Json, check
from eomm.store.folders import locked
from eomm.store.notes import REQUEST, Notes
from eomm.store.progress import NamedProgress


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """What is fetched: the options of `prepare fetch`. Raises UsageError where the last day lies before the first.

    Attributes:
        site: the site's name.
        source: a name of `catalogues.KNOWN`, or the address or path of a STAC API or static catalogue.
        dates: first and last day, UTC, both included.
        collection: of one's own catalogue; None for all.
        like: the known catalogue that one's own names its assets like; found by the assets' names where None.
        net: how it is asked.
    """

    site: str
    source: str
    dates: tuple[date, date]
    collection: str | None = None
    like: str | None = None
    net: Net = Net()

    def __post_init__(self) -> None:
        if self.dates[1] < self.dates[0]:
            raise UsageError(f"dates {self.dates[0]} to {self.dates[1]}: expected the first day before the last")


def choose_catalogue(options: FetchOptions) -> Catalogue:
    """The catalogue that `--from` names: a known one, or one's own, whose assets are not known yet without `like`.

    Raises:
        UsageError: `like` is unknown, or is given for a known catalogue; or credentials are missing.
    """
    source, like, known = options.source, options.like, catalogues.KNOWN
    if source in known:
        if like or options.collection:
            raise UsageError(f"--from {source} is a known catalogue; leave out --like and --collection")
        _check_credentials(known[source])
        return known[source]
    if not is_remote(source) and not Path(source).is_file():
        raise UsageError(f"--from {source}: neither a known catalogue ({', '.join(known)}), nor an address, nor a file")
    if like is None:
        return Catalogue(name=source, modality="s2", address=source, collection=options.collection, assets={})
    if like not in known:
        raise UsageError(f"--like {like}: unknown; choose one of {', '.join(known)}")
    return catalogues.own_catalogue(source, options.collection, known[like])


def fetch_scenes(out: Path | str, grid: Grid, options: FetchOptions, *, progress: NamedProgress | None = None) -> Json:
    """Fetch a site's scenes; what is complete already is not fetched again.

    Args:
        out: folder of the scenes; several catalogues may share it.
        grid: the site's (`place.site_grid`).
        options: what is fetched.
        progress: told how far it is.

    Returns:
        What was asked for; "notes", their folder; "items" by id, each {"state": "complete", "empty" or "failed", …};
        and counts: "found", "fetched" (now), "complete", "empty"; "missing", a list of {"item", "time", "reason"}.

    Raises:
        UsageError: a bad option, the extra `stac` or credentials missing, a folder fetched for another grid, another
            process that fetches the same, or files that cannot be written.
        DataError: the catalogue cannot be searched, or has nothing of this site and these days; a note is damaged.
    """
    out, catalogue = Path(out), choose_catalogue(options)
    found = _find(catalogue, grid, options)
    if not catalogue.assets:
        like = catalogues.recognise(sorted(found[0].assets), address=catalogue.address)
        catalogue = catalogues.own_catalogue(catalogue.address, catalogue.collection, like)
    own = "" if catalogue.name in catalogues.KNOWN else f" {catalogue.modality} {catalogue.collection or ''}"
    notes = Notes(out / f"fetch-{file_safe(catalogue.name + own)}")
    fetched = 0
    with locked(notes.folder), _environment(catalogue.settings):
        asked = _begin(notes, options.site, catalogue, grid)
        for done, total, item, entry in _entries(out, found, catalogue, grid, notes, options.net):
            fetched += entry["state"] == "complete"
            if entry["state"] == "failed":
                notes.failed(_unit(item), entry["reason"])
            else:
                notes.done(_unit(item), entry)
            if progress:
                progress(f"fetch {options.site}", done, total)
        items = {i.id: _entry(notes, i) for i in found}
    states = [entry["state"] for entry in items.values()]
    return {
        **asked,
        "notes": str(notes.folder),
        "items": items,
        "found": len(found),
        "fetched": fetched,
        "complete": states.count("complete"),
        "empty": states.count("empty"),
        "missing": [
            {"item": i, "time": e["time"], "reason": e["reason"]} for i, e in items.items() if e["state"] == "failed"
        ],
    }


def _find(catalogue: Catalogue, grid: Grid, options: FetchOptions) -> list[Any]:
    """The items of a site and of the days that are asked for. Raises DataError where there is none."""
    box, (first, last) = grid.box(), options.dates
    found = find_items(catalogue, bbox=box, first=first, last=last, net=options.net)
    if not found:
        raise DataError(
            f"{catalogue.address}: nothing from {first} to {last} touches {', '.join(f'{v:.5f}' for v in box)} "
            f"(collection {catalogue.collection or 'any'}); are place, days and collection right?"
        )
    return found


def _unit(item: Any) -> str:
    """The name of an item's note."""
    return f"item-{file_safe(item.id)}"


def _entry(notes: Notes, item: Any) -> Json:
    """What is noted of an item."""
    made = read_note(notes, _unit(item)) or {"state": "failed", "reason": notes.failure(_unit(item))}
    return {"time": catalogues.time_of(item).isoformat(), **made}


def read_note(notes: Notes, unit: str) -> Json | None:
    """What was noted of an item that was fetched, or lies beside the site. Raises DataError where the note is none."""
    made = notes.made(unit)
    return None if made is None else dict(check(made, FETCHED, f"{notes.folder / unit}.json", remedy="remove it"))


def _entries(
    out: Path, found: Sequence[Any], catalogue: Catalogue, grid: Grid, notes: Notes, net: Net
) -> Iterator[tuple[int, int, Any, Json]]:
    """Fetch what is not complete, those that failed again after all others: (done, in all, item, its entry)."""
    todo = [i for i in found if not _is_complete(out, notes, i)]
    total = len(todo)
    for attempt in range(net.tries):
        again: list[Any] = []
        for k, item in enumerate(todo, 1):
            _forget(out, notes, item)
            entry = fetch_item(out, item, catalogue, grid, parallel=net.parallel, settings=net.gdal)
            if entry.pop("may_pass", False):
                again.append(item)
            yield total - len(todo) + k - len(again), total, item, entry
        todo = again
        if not todo or attempt == net.tries - 1:
            return
        wait(attempt + 1)


def _begin(notes: Notes, site: str, catalogue: Catalogue, grid: Grid) -> Json:
    """Note what is asked for.

    Raises:
        UsageError: the notes are of another request.
        DataError: what was asked for before cannot be read.
    """
    asked: Json = {
        "site": site,
        "from": catalogue.name,
        "address": catalogue.address,
        "collection": catalogue.collection,
        "modality": catalogue.modality,
        "grid": {**asdict(grid), "transform": list(grid.transform)},
    }
    noted = notes.request
    noted = asked if noted is None else check(noted, dict, f"{notes.folder / REQUEST}", remedy=f"remove {notes.folder}")
    for k in (k for k, v in asked.items() if noted.get(k) != v):
        raise UsageError(
            f"{notes.folder}: these scenes were fetched for another request: {k} is {noted.get(k)}, expected "
            f"{asked[k]}; choose another --out"
        )
    notes.begin(asked)
    return asked


def _is_complete(out: Path, notes: Notes, item: Any) -> bool:
    """Whether an item's files are there and unchanged; one that lies beside the site stays so."""
    made = read_note(notes, _unit(item))
    return made is not None and all(
        (path := out / Path(f["name"]).name).is_file()
        and path.stat().st_size == f["bytes"]
        and sha256(path) == f["sha256"]
        for f in made.get("files", ())
    )


def _forget(out: Path, notes: Notes, item: Any) -> None:
    """Remove what is left of an item's files, so that no cube is built from damaged ones."""
    for file in (read_note(notes, _unit(item)) or {}).get("files", ()):
        (out / Path(file["name"]).name).unlink(missing_ok=True)
    notes.forget(_unit(item))


def _check_credentials(catalogue: Catalogue) -> None:
    lacking = [v for v in catalogue.credentials if not os.environ.get(v)]
    if lacking:
        raise UsageError(
            f"--from {catalogue.name}: its files need your own keys; make them at {catalogue.get_credentials} and set "
            f"the environment variables {' and '.join(lacking)}"
        )


class _environment:
    """Sets environment variables that are not set, for as long as it lasts."""

    def __init__(self, settings: Mapping[str, str]):
        self.own = {k: v for k, v in settings.items() if k not in os.environ}

    def __enter__(self) -> None:
        os.environ.update(self.own)

    def __exit__(self, *_: object) -> None:
        for k in self.own:
            os.environ.pop(k, None)
