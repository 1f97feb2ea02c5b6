"""One STAC item to the files of one scene, by odc-stac. Not which items, nor what is done about failures (fetch)."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import rasterio

from data_prep.fetch import catalogues, items
from data_prep.fetch.catalogues import FILES, Catalogue
from data_prep.fetch.items import check_href, short
from eomm.data.grid import Grid
from eomm.data.raster import GEOTIFF, JPEG2000, open_raster
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.digest import digest_text, sha256
from eomm.store.fields import Json
from eomm.store.folders import new_file

SIGN_TIMEOUT_S = 120


def fetch_item(
    out: Path, item: Any, catalogue: Catalogue, grid: Grid, *, parallel: int, settings: Mapping[str, str]
) -> Json:
    """Write an item's window on the site's grid to the files of one scene.

    Args:
        out: the folder.
        item: a pystac Item with absolute references.
        catalogue: says what the item's assets are.
        grid: the site's, 10 m.
        parallel: how many assets are read at a time.
        settings: for GDAL (`Net.gdal`).

    Returns:
        {"state": "complete", "files": [{"name", "bytes", "sha256"}]}, {"state": "empty"} where the item has nothing at
        the site, or {"state": "failed", "reason"}, with "may_pass" where another try may help.

    Raises:
        UsageError: the files cannot be written, or the extra `stac` is missing.
    """
    try:
        catalogues.check_item(item, catalogue)
        catalogues.check_numbers(item, catalogue)
        tags, files = catalogues.tags_of(item, catalogue), FILES[catalogue.modality]
        _check_assets(item, catalogue)
        loaded = _load_all(item, catalogue, grid, parallel, settings)
        if not any(_seen(values) for ending, values in loaded.items() if ending != "_SCL"):
            return {"state": "empty"}
        stem, written = _stem(tags, item.id, catalogue.modality), []
        for ending, (gsd, layers) in files.items():
            path = out / f"{stem}{ending}.tif"
            _write(path, loaded[ending], _at(grid, gsd), layers=layers, tags=tags)
            written.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)})
        return {"state": "complete", "files": written}
    except _Unread as e:
        return {"state": "failed", "reason": str(e), "may_pass": True}
    except (ContractError, DataError) as e:
        return {"state": "failed", "reason": str(e)}


def _check_assets(item: Any, catalogue: Catalogue) -> None:
    """Raise DataError where an asset is missing, or leads where a catalogue's must not."""
    layers = [layer for _, layers in FILES[catalogue.modality].values() for layer in layers]
    assets = [catalogue.assets[layer] for layer in layers]
    if lacking := sorted(a for a in assets if a not in item.assets):
        raise DataError(f"item {item.id}: has no asset {' '.join(lacking)}")
    for asset in assets:
        check_href(item.assets[asset].href, catalogue.address)


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
        with rasterio.Env(**settings), _image(item.assets[asset].href):
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


@contextmanager
def _image(href: str) -> Iterator[None]:
    """Holds an asset open as GeoTIFF or JPEG 2000, so that it is nothing else while odc-stac reads it.

    GDAL takes any content for what it looks like: a VRT would make it read files of this machine, or other servers.
    Held open, what has been read of the file is not asked for twice.

    Raises:
        RasterioError: it is of another kind, or cannot be read.
    """
    with open_raster(href, (*GEOTIFF, *JPEG2000), remote=items.is_remote(href)):
        yield


_REFLECTANCE = ("uint16", 0, "bilinear")  # dtype, no data, resampling
_KINDS = {"_SCL": ("uint8", 0, "nearest"), "": ("float32", -32768, "average")}


def _seen(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any() if values.dtype.kind == "f" else values.any())


def _write(path: Path, values: np.ndarray, grid: Grid, *, layers: Sequence[str], tags: Mapping[str, str]) -> None:
    try:
        with new_file(path) as partial:
            _write_tiff(partial, values, grid, layers=layers, tags=tags)
    except (rasterio.errors.RasterioError, OSError) as e:
        raise UsageError(f"{path}: cannot be written ({e}); is the disk full? What is complete stays: run again") from e


def _write_tiff(path: Path, values: np.ndarray, grid: Grid, *, layers: Sequence[str], tags: Mapping[str, str]) -> None:
    nodata = float("nan") if values.dtype.kind == "f" else 0
    predictor = 3 if values.dtype.kind == "f" else 2
    with rasterio.open(
        path, "w", driver="GTiff", height=grid.height, width=grid.width, count=len(layers), dtype=values.dtype,
        crs=grid.crs, transform=rasterio.Affine(*grid.transform), nodata=nodata, compress="deflate",
        predictor=predictor, tiled=True, blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(values)
        file.descriptions = tuple(layers)
        file.update_tags(**tags)


def _at(grid: Grid, gsd: int) -> Grid:
    """The same ground in pixels of another size."""
    step = gsd // 10
    a, b, c, d, e, f = grid.transform
    transform = (a * step, b, c, d, e * step, f)
    return Grid(crs=grid.crs, transform=transform, height=grid.height // step, width=grid.width // step)


def _stem(tags: Mapping[str, str], item: str, modality: str) -> str:
    """Begins as the mappings' patterns expect, then has the time, so that names sort; tiles of one pass share these."""
    time = re.sub("[-:Z]", "", tags["DATETIME"])
    sensor = modality.upper()
    platform = tags.get("PLATFORM", "")
    return file_safe(f"{platform if platform.startswith(sensor) else sensor + platform}_{time}_{item}")


def file_safe(text: str) -> str:
    """A text as a part of a file's name; where it has to be changed, with 8 hex digits of what it was."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    if safe == text and len(safe) <= 120:
        return safe
    return f"{safe[:100].strip('-.')}-{digest_text(text)[:8]}"


def _sign(item: Any) -> Any:
    try:
        import planetary_computer
    except ImportError as e:
        raise UsageError(f"{e}: fetching needs an extra; pip install 'eomm[stac]'") from e
    # Before each item, since signatures last about an hour; in a thread, since it asks for tokens without a timeout.
    signed: Future[Any] = Future()

    def run() -> None:
        try:
            signed.set_result(planetary_computer.sign(item))
        except OSError as e:  # what requests raises
            signed.set_exception(e)

    Thread(target=run, daemon=True).start()
    try:
        return signed.result(timeout=SIGN_TIMEOUT_S)
    except OSError as e:
        raise _Unread(f"cannot be signed: {short(e)}") from e
