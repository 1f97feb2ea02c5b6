"""Scenes of a site from a STAC catalogue to small local GeoTIFFs. A step of its own: cubes are built from the files.

Every item becomes the files of one scene on the site's grid, written under another name and renamed when complete;
an index beside them says what was asked for, what is there and what failed. Run again, only what is missing is
fetched. Bands keep their own resolution: the cube resamples them, whatever the source.
"""

import hashlib
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from data_prep import catalogues, items
from data_prep.catalogues import FILES, Catalogue
from data_prep.items import Bbox, check_href, find_items, is_remote, short, wait
from data_prep.passes import bounds
from eomm.cube import Grid
from eomm.errors import ContractError, DataError, UsageError
from eomm.storage import partial_of, read_json, sha256, write_json

ALIGN_M = 20
"""Corners are multiples of this: every Sentinel-2 tile begins on one, so that 10 m and 20 m bands are copied."""

Progress = Callable[[str, int, int], None]


def site_grid(
    *,
    at: tuple[float, float] | None = None,
    size_m: float = 1280,
    bbox: Bbox | None = None,
    crs: str | None = None,
) -> Grid:
    """A site's 10 m grid, aligned to Sentinel-2's.

    Args:
        at: longitude and latitude of the centre; or else `bbox`.
        size_m: side of the square around `at`, rounded up to whole 20 m pixels.
        bbox: west, south, east, north in degrees; the grid covers it.
        crs: such as "EPSG:32631"; the UTM zone of the centre where None.

    Raises:
        UsageError: neither or both of `at` and `bbox`, degrees out of range, or a CRS that is not UTM.
    """
    if (at is None) == (bbox is None):
        raise UsageError("a site needs either its centre (--at LON,LAT) or a box (--bbox W S E N)")
    west, south, east, north = bbox or (*at, *at)  # type: ignore[misc]
    if not (-180 <= west <= east <= 180 and -80 <= south <= north <= 84):
        raise UsageError(
            f"longitudes {west} to {east} and latitudes {south} to {north}: expected west <= east within -180 and 180, "
            "south <= north within -80 and 84, longitude first"
        )
    lon, lat = (west + east) / 2, (south + north) / 2
    crs = crs or f"EPSG:{32600 if lat >= 0 else 32700}"[:-2] + f"{min(int((lon + 180) // 6) + 1, 60):02d}"
    if not re.fullmatch("EPSG:32[67][0-6][0-9]", crs):
        raise UsageError(f"CRS {crs}: expected a UTM zone, EPSG:326xx or EPSG:327xx")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    if at is not None:
        x, y = to_metres.transform(lon, lat)
        side = math.ceil(size_m / ALIGN_M) * ALIGN_M
        left, top = round((x - side / 2) / ALIGN_M) * ALIGN_M, round((y + side / 2) / ALIGN_M) * ALIGN_M
        right, bottom = left + side, top - side
    else:
        edges = to_metres.transform_bounds(west, south, east, north)
        left, bottom = (math.floor(v / ALIGN_M) * ALIGN_M for v in edges[:2])
        right, top = (math.ceil(v / ALIGN_M) * ALIGN_M for v in edges[2:])
    height, width = (top - bottom) // 10, (right - left) // 10
    if not 2 <= min(height, width) <= max(height, width) <= 10_980:
        raise UsageError(f"the site has {height} x {width} pixels of 10 m; expected 2 to 10,980 (one tile) a side")
    return Grid(crs=crs, transform=(10.0, 0.0, float(left), 0.0, -10.0, float(top)), height=height, width=width)


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
    parallel: int = 8,
    tries: int = 4,
    timeout_s: float = 60,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fetch a site's scenes; what is complete already is not fetched again.

    Args:
        out: folder of the scenes; several catalogues may share it.
        site: the site's name.
        source: a name of `catalogues.KNOWN`, or the address or path of a STAC API or static catalogue.
        grid: the site's (`site_grid`).
        dates: first and last day, UTC, both included.
        collection: of one's own catalogue; None for all.
        like: the known catalogue that one's own names its assets like; found by the assets' names where None.
        parallel: how many bands of an item are read at a time.
        tries: of every request, and of every item that failed, after all others.
        timeout_s: for each answer.
        progress: told how far it is.

    Returns:
        The index (also written to `out`): "items" by id, each {"state": "complete", "empty" or "failed", …}, and the
        counts "found", "fetched" (now), "complete", "empty", and "missing", a list of {"item", "time", "reason"}.

    Raises:
        UsageError: a bad option, the extra `stac` or credentials missing, or a folder fetched for another grid.
        DataError: the catalogue cannot be searched, or has nothing of this site and these days.
    """
    out = Path(out)
    if dates[1] < dates[0]:
        raise UsageError(f"dates {dates[0]} to {dates[1]}: expected the first day before the last")
    chosen = choose_catalogue(source, collection=collection, like=like)
    search = chosen if isinstance(chosen, Catalogue) else _unknown(chosen, collection)
    _check_credentials(search)
    report = progress or (lambda what, done, total: None)
    box = _degrees(grid)
    found = find_items(search, bbox=box, first=dates[0], last=dates[1], timeout_s=timeout_s, tries=tries)
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
    index_path = out / f"fetch-{_file_safe(catalogue.name + own)}.json"
    index = _open_index(index_path, site=site, catalogue=catalogue, grid=grid)
    index["dates"] = [str(d) for d in dates]
    out.mkdir(parents=True, exist_ok=True)
    entries: dict[str, Any] = index["items"]
    todo = [i for i in found if not _is_complete(out, entries.get(i.id))]
    fetched, total = 0, len(todo)
    settings = _gdal_settings(timeout_s, tries)
    with _environment(catalogue.settings):
        for attempt in range(tries):
            again = []
            for item in todo:
                entry = _fetch_item(out, item, catalogue, grid, parallel, settings)
                entries[item.id] = {"time": catalogues.time_of(item).isoformat(), **entry}
                write_json(index_path, index)
                if entry["state"] == "failed" and entry.get("may_pass"):
                    again.append(item)
                else:
                    fetched += entry["state"] == "complete"
                report(f"fetch {site}", total - len(again) if item is todo[-1] else total - len(todo) + 1, total)
            todo = again
            if not todo or attempt == tries - 1:
                break
            wait(attempt + 1)
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


def _fetch_item(
    out: Path, item: Any, catalogue: Catalogue, grid: Grid, parallel: int, settings: Mapping[str, str]
) -> dict[str, Any]:
    """One item to its files; the index's entry. Only what no second try can mend, or a full disk, is raised."""
    try:
        catalogues.check_item(item, catalogue)
        tags = catalogues.tags_of(item, catalogue)
        files = FILES[catalogue.modality]
        assets = {layer: catalogue.assets[layer] for _, layers in files.values() for layer in layers}
        if lacking := sorted(a for a in assets.values() if a not in item.assets):
            raise DataError(f"item {item.id}: has no asset {' '.join(lacking)}")
        for asset in assets.values():
            check_href(item.assets[asset].href, catalogue.address)
        stem = _stem(tags, item.id)
        written: list[Path] = []
        loaded = _load_all(item, catalogue, grid, parallel, settings)
        if not any(_seen(values) for ending, values in loaded.items() if ending != "_SCL"):
            return {"state": "empty"}
        for ending, (gsd, layers) in files.items():
            path = out / f"{stem}{ending}.tif"
            _write(path, loaded[ending], _at(grid, gsd), layers=layers, tags=tags)
            written.append(path)
        return {
            "state": "complete",
            "files": [{"name": p.name, "bytes": p.stat().st_size, "sha256": sha256(p)} for p in written],
        }
    except _Unread as e:
        return {"state": "failed", "reason": str(e), "may_pass": True}
    except (ContractError, DataError) as e:
        return {"state": "failed", "reason": str(e)}


class _Unread(DataError):
    """An asset that could not be read; it may be another time."""


def _load_all(
    item: Any, catalogue: Catalogue, grid: Grid, parallel: int, settings: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The item's window on the site's grid: ending of a file -> [layer, y, x]."""
    files = FILES[catalogue.modality]
    todo = [(ending, catalogue.assets[la], _at(grid, gsd)) for ending, (gsd, layers) in files.items() for la in layers]
    if catalogue.sign:
        item = _sign(item)
    with warnings.catch_warnings(), ThreadPoolExecutor(max(parallel, 1)) as pool:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # of odc's own array, when it warps
        values = list(pool.map(lambda t: _load(item, t[1], t[2], _KINDS.get(t[0], _REFLECTANCE), settings), todo))
    return {ending: np.stack([v for (e, *_), v in zip(todo, values, strict=True) if e == ending]) for ending in files}


def _load(item: Any, asset: str, grid: Grid, kind: tuple[str, float, str], settings: Mapping[str, str]) -> np.ndarray:
    """One asset's window on a grid, [y, x]: numbers as they are, no data outside the item.

    Where the item lies on the grid's pixels they are copied; else classes are taken by nearest neighbour, reflectance
    bilinearly, and radar, in linear power, as the average.
    """
    import odc.stac
    from odc.geo.geobox import GeoBox

    dtype, nodata, method = kind
    try:
        with rasterio.Env(**settings):
            data = odc.stac.load(
                [item],
                bands=[asset],
                geobox=GeoBox((grid.height, grid.width), rasterio.Affine(*grid.transform), grid.crs),
                resampling=method,
                dtype=dtype,
                stac_cfg={"*": {"assets": {asset: {"data_type": dtype, "nodata": nodata}}}},
            )
    except (rasterio.errors.RasterioError, OSError) as e:
        raise _Unread(f"asset {asset} ({item.assets[asset].href.partition('?')[0]}): {short(e)}") from e
    values = np.asarray(data[asset].values[0])
    return np.where(values == nodata, np.float32(np.nan), values) if dtype == "float32" else values


_REFLECTANCE = ("uint16", 0, "bilinear")  # dtype, no data, resampling
_KINDS = {"_SCL": ("uint8", 0, "nearest"), "": ("float32", -32768, "average")}


def _seen(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any() if values.dtype.kind == "f" else values.any())


def _write(path: Path, values: np.ndarray, grid: Grid, *, layers: Sequence[str], tags: Mapping[str, str]) -> None:
    partial = partial_of(path)
    nodata = float("nan") if values.dtype.kind == "f" else 0
    predictor = 3 if values.dtype.kind == "f" else 2
    with rasterio.open(
        partial, "w", driver="GTiff", height=grid.height, width=grid.width, count=len(layers), dtype=values.dtype,
        crs=grid.crs, transform=rasterio.Affine(*grid.transform), nodata=nodata, compress="deflate",
        predictor=predictor, tiled=True, blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(values)
        file.descriptions = tuple(layers)
        file.update_tags(**tags)
    os.replace(partial, path)


def _at(grid: Grid, gsd: int) -> Grid:
    """The same ground in pixels of another size."""
    step = gsd // 10
    a, b, c, d, e, f = grid.transform
    transform = (a * step, b, c, d, e * step, f)
    return Grid(crs=grid.crs, transform=transform, height=grid.height // step, width=grid.width // step)


def _stem(tags: Mapping[str, str], item: str) -> str:
    """Begins with platform and time, so that names sort; ends with the item, since tiles of one pass share these."""
    time = re.sub("[-:Z]", "", tags["DATETIME"])
    return _file_safe(f"{tags.get('PLATFORM', 'S')}_{time}_{item}")


def _file_safe(text: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    if safe == text and len(safe) <= 120:
        return safe
    return f"{safe[:100].strip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
    index: dict[str, Any] = read_json(path)
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


def _degrees(grid: Grid) -> Bbox:
    box: Bbox = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform_bounds(*bounds(grid))
    return box


def _unknown(address: str, collection: str | None) -> Catalogue:
    return Catalogue(name=address, modality="s2", address=address, collection=collection, assets={})


def _check_credentials(catalogue: Catalogue) -> None:
    lacking = [v for v in catalogue.credentials if not os.environ.get(v)]
    if lacking:
        raise UsageError(
            f"--from {catalogue.name}: its files need your own keys; make them at {catalogue.get_credentials} and set "
            f"the environment variables {' and '.join(lacking)}"
        )


def _sign(item: Any) -> Any:
    try:
        import planetary_computer
    except ImportError as e:
        raise UsageError(f"{e}: fetching needs an extra; pip install 'eomm[stac]'") from e
    try:
        return planetary_computer.sign(item)  # before each item: signatures last about an hour
    except OSError as e:  # what requests raises
        raise _Unread(f"cannot be signed: {short(e)}") from e


def _gdal_settings(timeout_s: float, tries: int) -> dict[str, str]:
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no guessing of files beside an asset
        "GDAL_HTTP_TIMEOUT": f"{timeout_s:g}",
        "GDAL_HTTP_CONNECTTIMEOUT": f"{min(timeout_s, 20):g}",
        "GDAL_HTTP_MAX_RETRY": str(tries - 1),  # of 429 and 5xx, with waits that double, and jitter
        "GDAL_HTTP_RETRY_DELAY": f"{items.FIRST_WAIT_S:g}",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",  # a second try must not meet the remains of the first
    }


class _environment:
    """Sets environment variables that are not set, for as long as it lasts."""

    def __init__(self, settings: Mapping[str, str]):
        self.own = {k: v for k, v in settings.items() if k not in os.environ}

    def __enter__(self) -> None:
        os.environ.update(self.own)

    def __exit__(self, *_: object) -> None:
        for k in self.own:
            os.environ.pop(k, None)
