"""Scenes of a site from a STAC catalogue to small local GeoTIFFs. A step of its own: cubes are built from the files.

Every item becomes the files of one scene on the site's grid, written under another name and renamed when complete;
an index beside them says what was asked for, what is there and what failed. Run again, only what is missing is
fetched. Bands keep their own resolution: the cube resamples them, whatever the source.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
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
from eomm.store.fields import check
from eomm.store.folders import locked, read_json, write_json
from eomm.store.progress import NamedProgress


def choose_catalogue(source: str, *, collection: str | None = None, like: str | None = None) -> Catalogue | str:
    """The catalogue that `--from` names: a known one, or one's own that is like `like`; else its address.

    Raises:
        UsageError: `like` is unknown, or is given for a known catalogue.
    """
    if source in catalogues.KNOWN:
        if like or collection:
            raise UsageError(f"--from {source} is a known catalogue; leave out --like and --collection")
        return catalogues.KNOWN[source]
    if not is_remote(source) and not Path(source).is_file():
        raise UsageError(
            f"--from {source}: neither a known catalogue ({', '.join(catalogues.KNOWN)}), nor an address, nor a file"
        )
    if like is None:
        return source
    if like not in catalogues.KNOWN:
        raise UsageError(f"--like {like}: unknown; choose one of {', '.join(catalogues.KNOWN)}")
    return catalogues.own_catalogue(source, collection, catalogues.KNOWN[like])


def fetch_scenes(
    out: Path | str,
    *,
    site: str,
    source: str,
    grid: Grid,
    dates: tuple[date, date],
    collection: str | None = None,
    like: str | None = None,
    net: Net = Net(),
    progress: NamedProgress | None = None,
) -> dict[str, Any]:
    """Fetch a site's scenes; what is complete already is not fetched again.

    Args:
        out: folder of the scenes; several catalogues may share it.
        site: the site's name.
        source: a name of `catalogues.KNOWN`, or the address or path of a STAC API or static catalogue.
        grid: the site's (`place.site_grid`).
        dates: first and last day, UTC, both included.
        collection: of one's own catalogue; None for all.
        like: the known catalogue that one's own names its assets like; found by the assets' names where None.
        net: how it is asked.
        progress: told how far it is.

    Returns:
        The index (also written to `out`): "items" by id, each {"state": "complete", "empty" or "failed", …}, and the
        counts "found", "fetched" (now), "complete", "empty", and "missing", a list of {"item", "time", "reason"}.

    Raises:
        UsageError: a bad option, the extra `stac` or credentials missing, a folder fetched for another grid, another
            process that fetches the same, or files that cannot be written.
        DataError: the catalogue cannot be searched, or has nothing of this site and these days.
    """
    out = Path(out)
    if dates[1] < dates[0]:
        raise UsageError(f"dates {dates[0]} to {dates[1]}: expected the first day before the last")
    chosen = choose_catalogue(source, collection=collection, like=like)
    search = chosen
    if not isinstance(search, Catalogue):
        search = Catalogue(name=search, modality="s2", address=search, collection=collection, assets={})
    _check_credentials(search)
    box = grid.box()
    found = find_items(search, bbox=box, first=dates[0], last=dates[1], net=net)
    if not found:
        raise DataError(
            f"{search.address}: nothing from {dates[0]} to {dates[1]} touches {', '.join(f'{v:.5f}' for v in box)} "
            f"(collection {search.collection or 'any'}); are place, days and collection right?"
        )
    catalogue = (
        chosen
        if isinstance(chosen, Catalogue)
        else catalogues.own_catalogue(chosen, collection, catalogues.recognise(sorted(found[0].assets), address=chosen))
    )
    own = "" if catalogue.name in catalogues.KNOWN else f" {catalogue.modality} {catalogue.collection or ''}"
    index_path = out / f"fetch-{file_safe(catalogue.name + own)}.json"
    with locked(index_path), _environment(catalogue.settings):
        index = _open_index(index_path, site=site, catalogue=catalogue, grid=grid)
        index["dates"] = [str(d) for d in dates]
        entries: dict[str, Any] = index["items"]
        fetched = 0
        for done, total, item, entry in _entries(out, found, catalogue, grid, entries, net):
            fetched += entry["state"] == "complete"
            entries[item.id] = {"time": catalogues.time_of(item).isoformat(), **entry}
            write_json(index_path, index)
            if progress:
                progress(f"fetch {site}", done, total)
        asked = {i.id: entries[i.id] for i in found}
        index["items"] = dict(sorted(entries.items(), key=lambda e: (e[1]["time"], e[0])))
        write_json(index_path, index)
    return {
        **index,
        "index": str(index_path),
        "found": len(found),
        "fetched": fetched,
        "complete": sum(e["state"] == "complete" for e in asked.values()),
        "empty": sum(e["state"] == "empty" for e in asked.values()),
        "missing": [
            {"item": i, "time": e["time"], "reason": e["reason"]} for i, e in asked.items() if e["state"] == "failed"
        ],
    }


def _entries(
    out: Path, found: Sequence[Any], catalogue: Catalogue, grid: Grid, entries: Mapping[str, Any], net: Net
) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
    """Fetch what is not complete, those that failed again after all others: (done, in all, item, its entry)."""
    todo = [i for i in found if not _is_complete(out, entries.get(i.id))]
    total = len(todo)
    for attempt in range(net.tries):
        again: list[Any] = []
        for k, item in enumerate(todo, 1):
            _forget(out, entries.get(item.id))
            entry = fetch_item(out, item, catalogue, grid, parallel=net.parallel, settings=net.gdal)
            if entry.pop("may_pass", False):
                again.append(item)
            yield total - len(todo) + k - len(again), total, item, entry
        todo = again
        if not todo or attempt == net.tries - 1:
            return
        wait(attempt + 1)


def _open_index(path: Path, *, site: str, catalogue: Catalogue, grid: Grid) -> dict[str, Any]:
    asked = {
        "site": site,
        "from": catalogue.name,
        "address": catalogue.address,
        "collection": catalogue.collection,
        "modality": catalogue.modality,
        "grid": {**asdict(grid), "transform": list(grid.transform)},
    }
    if not path.exists():
        return {**asked, "dates": [], "items": {}}
    index: dict[str, Any] = check(read_json(path), FETCHED, str(path), remedy="choose another --out")
    differing = [k for k, v in asked.items() if index.get(k) != v]
    if differing:
        k = differing[0]
        raise UsageError(
            f"{path}: these scenes were fetched for another request: {k} is {index.get(k)}, expected {asked[k]}; "
            "choose another --out"
        )
    return index


def _is_complete(out: Path, entry: Mapping[str, Any] | None) -> bool:
    """Whether the files of an entry are there and unchanged; an item that lies beside the site stays so."""
    if entry is None or entry["state"] == "failed":
        return False
    return all(
        (path := out / Path(f["name"]).name).is_file()
        and path.stat().st_size == f["bytes"]
        and sha256(path) == f["sha256"]
        for f in entry.get("files", ())
    )


def _forget(out: Path, entry: Mapping[str, Any] | None) -> None:
    """Remove what is left of an item's files, so that no cube is built from damaged ones."""
    for file in (entry or {}).get("files", ()):
        (out / Path(file["name"]).name).unlink(missing_ok=True)


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
