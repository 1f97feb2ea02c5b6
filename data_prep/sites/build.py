"""Many sites to cubes, each a unit of its own: on one process or many, resumed where it stopped. Records come after.

Finished sites are kept; what failed is noted and tried again by the next run (units.py).
"""

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.options import CubeOptions
from data_prep.fetch.place import site_grid
from data_prep.fetch.run import FetchOptions, fetch_scenes
from data_prep.mappings.mapping import load_mapping
from data_prep.records.build import build_patches
from data_prep.records.manifest import content_of
from data_prep.records.split import SplitConfig
from data_prep.sites.table import Site
from data_prep.sites.units import Request, SiteFolder, status
from eomm.data.cube import Cube, open_cube
from eomm.data.grid import Grid
from eomm.errors import DataError, UsageError
from eomm.store.digest import digest
from eomm.store.fields import Json
from eomm.store.many import do_sites
from eomm.store.progress import NamedProgress
from eomm.store.workers import Pool

PLACE = "{site}"
SIZE_M = 1280


def build_sites(
    out: Path | str,
    *,
    sites: Sequence[Site],
    sources: Sequence[tuple[str, str]] = (),
    catalogues: Sequence[str] = (),
    dates: tuple[date, date] | None = None,
    size_m: float | None = None,
    options: CubeOptions = CubeOptions(),
    pool: Pool = Pool(),
    overwrite: bool = False,
    progress: NamedProgress | None = None,
) -> Json:
    """Build the cubes of many sites, and say how far they are; a site that fails stops no other.

    Args:
        out: the folder; what of it is finished and of the same request is kept.
        sites: what to build.
        sources: pairs of a mapping and a path in which "{site}" stands for the site's name.
        catalogues: from which scenes are fetched first, to `out`/scenes/SITE: see `data_prep.fetch.run`, or the address
            of a catalogue of Sentinel-2, with "#" and a collection behind it where it has several.
        dates: first and last to fetch.
        size_m: side of the square around a site to fetch, and to cut out of its sources, where the list does not say
            one. When None, SIZE_M is fetched, and sources are not cut: a cube has all the ground that they cover.
        options: how every cube is made.
        pool: who does it; its workers must see the same files.
        overwrite: build again what was made of something else.
        progress: called with ("sites", finished or failed, in all).

    Returns:
        As `data_prep.sites.units.status`.

    Raises:
        UsageError: two sites have one name; `out` holds something else; a finished cube was made of something else; no
            worker can be had.
        DiskFull: what is finished stays.
        ContractError: a mapping cannot be.
        DataError: a mapping cannot be read.
    """
    if not (sources or catalogues):
        raise UsageError("sites: no source given; name at least one folder and its mapping, or a catalogue")
    names = Counter(s.name.casefold() for s in sites)  # as file systems may take them
    if twice := [s.name for s in sites if names[s.name.casefold()] > 1]:
        raise UsageError(f"sites: {', '.join(twice[:6])} are one name; give each site its own")
    if catalogues and not dates:
        raise UsageError("sites: scenes can only be fetched of given dates; name the first and the last")
    folder = SiteFolder(Path(out).absolute())
    digests = [digest(load_mapping(mapping).to_dict()) for mapping, _ in sources]
    size_m = size_m or (SIZE_M if catalogues else None)
    asked = _of_all(options, catalogues, dates)
    requests = {s.name: _request(s, sources, digests, s.size_m or size_m) | asked for s in sites}
    found = {name: made["request"] for name in requests if (made := folder.made(name))}
    if not overwrite:
        _check_same(folder.path, [name for name, request in found.items() if request != requests[name]], len(sites))
    folder.begin([dataclasses.asdict(s) for s in sites])
    missing = [(name, request) for name, request in requests.items() if found.get(name) != request]
    report = partial(progress, "sites") if progress else None
    build = partial(build_site, str(folder.path))
    do_sites(build, missing, folder.notes, pool, finished=len(requests) - len(missing), progress=report)
    return status(folder.path)


def _of_all(options: CubeOptions, catalogues: Sequence[str], dates: tuple[date, date] | None) -> Request:
    """What the requests of all sites have in common."""
    asked: Request = {"accept": sorted(options.accept), "resampling": options.resampling}
    asked |= {"speckle": "none"}  # the last two as folders of before say it
    asked |= {"screen": options.screen} if options.screen != "none" else {}
    fetched = {"catalogues": list(catalogues), "dates": [str(d) for d in dates or ()]}
    return asked | (fetched if catalogues else {})


def _check_same(folder: Path, other: Sequence[str], count: int) -> None:
    """Raise UsageError where finished sites, of so many, were made of something else than is asked for."""
    if other:
        some = ", ".join(other[:5]) + (" …" if len(other) > 5 else "")
        raise UsageError(
            f"{folder}: {some} ({len(other)} of {count} sites) were made of other sources, mappings or "
            "options; ask for the same, say --overwrite to build them again, or choose another folder"
        )


def build_site(out: str, site: tuple[str, Request]) -> None:
    """One unit: the cube of one site, and the note that it is done. Raises what `build_cube` raises."""
    (name, request), folder, begun = site, SiteFolder(out), time.monotonic()
    folder.notes.forget(name)
    sources = [Source(mapping=mapping, path=path) for mapping, path in request["sources"]]
    sources += [_fetch(folder.path / "scenes" / name, request, one) for one in request.get("catalogues", ())]
    options = CubeOptions(**{name: request[name] for name in ("accept", "resampling", "screen") if name in request})
    where, window = folder.cube(name), _window(request)
    path = build_cube(where, site=name, sources=sources, options=options, window=window, overwrite=True)
    cube = open_cube(path)
    try:
        check_place(cube, request["lon"], request["lat"])
    except DataError:
        shutil.rmtree(path)
        raise
    seconds = round(time.monotonic() - begun, 1)
    folder.notes.done(name, {"request": request, "content": content_of(cube), "seconds": seconds})


def build_site_records(
    out: Path | str,
    *,
    sites: Sequence[Site],
    by: str | None = None,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    **options: Any,
) -> Path:
    """Cut the records of all finished sites to `out`/records; sites that failed are left out.

    Records that are there and of the same cubes and options are kept, others are replaced.

    Args:
        out: the folder of `build_sites`.
        sites: the list; where it has a column `split`, every site goes where it says.
        by: column whose value is a site's stratum, by which training may balance what it draws.
        fractions: split other than train -> share of the sites.
        seed: by which they are drawn.
        options: of `build_patches`.

    Raises:
        UsageError: no site is finished, some sites have a split and others not, and as `build_patches`.
        ContractError: see `build_patches`.
        DataError: see `build_patches`.
    """
    folder = SiteFolder(Path(out).absolute())
    done = [s for s in sites if folder.made(s.name)]
    if not done:
        raise UsageError(f"{folder.path}: none of {len(sites)} sites is finished; see eomm prepare status")
    named: dict[str, list[str]] = {}
    for site in (s for s in done if s.split):
        named.setdefault(str(site.split), []).append(site.name)
    split = SplitConfig(sites=named, fractions=fractions or {}, seed=seed)
    strata = {s.name: s.value(by) for s in done} if by else {}
    cubes = [folder.cube(s.name) for s in done]
    return build_patches(folder.records, cubes=cubes, split=split, strata=strata, overwrite=True, **options)


def check_place(cube: Cube, lon: float, lat: float) -> None:
    """Whether a site lies in its cube: a folder under another site's name is found out. Raises DataError."""
    for group in cube.groups.values():
        if group.grid.crs == "LOCAL" or group.grid.height * group.grid.width == 1:
            continue
        row, col = group.grid.pixel(*group.grid.from_degrees(lon, lat))
        if not (0 <= col <= group.grid.width and 0 <= row <= group.grid.height):
            there = group.grid.to_degrees(float(group.grid.x.mean()), float(group.grid.y.mean()))
            raise DataError(
                f"{cube.site}: its scenes lie around {there[0]:.4f}, {there[1]:.4f}, the list has it at {lon:.4f}, "
                f"{lat:.4f} (longitude, latitude), outside of them; mend the list, or the folder's name"
            )


def _request(site: Site, sources: Sequence[tuple[str, str]], digests: Sequence[str], size_m: float | None) -> Request:
    """What a site's cube is made of; a mapping of one's own by its absolute path, every mapping by its content too."""
    named = [
        [str(Path(mapping).absolute()) if Path(mapping).is_file() else mapping, str(Path(_fill(path, site)).absolute())]
        for mapping, path in sources
    ]
    place = {"lon": site.lon, "lat": site.lat, "size_m": size_m}
    return {"site": site.name, **place, "sources": named, "mappings": list(digests)}


def _window(request: Request) -> Grid | None:
    """The site's grid, where its size is known."""
    size_m = request["size_m"]
    return site_grid(at=(request["lon"], request["lat"]), size_m=size_m) if size_m else None


def _fetch(scenes: Path, request: Request, catalogue: str) -> Source:
    """Fetch what is missing of a site's scenes. Raises DataError while some cannot be had."""
    grid = _window(request)
    assert grid is not None  # where something is fetched, a size is known
    first, last = (date.fromisoformat(d) for d in request["dates"])
    address, _, collection = catalogue.partition("#")
    options = FetchOptions(site=request["site"], source=address, collection=collection or None, dates=(first, last))
    found = fetch_scenes(scenes, grid, options)
    if missing := found["missing"]:
        raise DataError(
            f"{scenes}: {len(missing)} of {found['found']} items of {catalogue} are missing, such as "
            f"{missing[0]['item']}: {missing[0]['reason']}; run again to fetch them"
        )
    return Source(path=scenes, mapping=f"fetched_{found['modality']}")


def _fill(path: str, site: Site) -> str:
    if PLACE not in path:
        raise UsageError(f"source {path}: lacks {PLACE}, which stands for a site's name, as in data/{PLACE}/s2")
    return path.replace(PLACE, site.name)
