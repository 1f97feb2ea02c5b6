"""Frames to Cloud-Optimised GeoTIFFs, one per frame, a band per number of the vectors. Not which frames there are.

GDAL makes a COG from a finished file, so a group of frames lies on disk twice until the group is done.
"""

import contextlib
import itertools
import operator
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from jaxtyping import Bool, Float32, Int
from rasterio.crs import CRS, CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from eomm.data.grid import to_date
from eomm.embedding.blocks import TILE
from eomm.errors import UsageError
from eomm.export.frames import COUNT, Block, Frame, Frames
from eomm.store.folders import disk_full
from eomm.store.progress import Progress

COMPRESSIONS = ("deflate", "zstd")
# GDAL has had signed bytes since 3.7: what reads a GeoTIFF with an older one (QGIS 3.22, R's terra 1.7) takes them for
# unsigned, with other numbers and no missing ones. So int16 is what int8 stores are written as.
NODATA = {"int8": -128, "int16": -32768}  # which stores never use
FINER = 256  # a mean's int16 numbers are multiples of the scale over this, 127 * 256 being the most that int16 holds
CACHE_MB = 256  # of GDAL's blocks; by itself it takes a share of the machine's memory


@dataclass(frozen=True)
class Layer:
    """One file per frame.

    Attributes:
        suffix: of the file's name.
        dtype: of every band.
        nodata: what is no data.
        bands: descriptions.
        pixels: [band, y, x] of a block's frame, from the block and the frame's place in it.
        scale: of every band where its numbers are to be multiplied, else None.
    """

    suffix: str
    dtype: str
    nodata: float
    bands: tuple[str, ...]
    pixels: Callable[[Any, int], np.ndarray]
    scale: Float32[np.ndarray, " band"] | None = None


def write_cogs(
    frames: Frames,
    folder: Path,
    *,
    dtype: str,
    compress: str = "deflate",
    progress: Progress | None = None,
) -> list[str]:
    """Write a COG per frame into a folder, `<site>_<date or period>.tif`; return their names.

    Bands are described as "embedding 0" and so on. Pixels without a vector are nodata: NaN, in integers -32768 (int16)
    or -128 (int8), where each band has the scale that makes its numbers vectors. Of dates these numbers are those that
    the store holds; int16 means have a scale 256 times finer. A composite has a second file per period, `…_dates.tif`,
    with the number of dates averaged. A cube of unknown position (CRS "LOCAL") gives files in metres without CRS.

    Args:
        frames: what to write.
        folder: an existing folder.
        dtype: "float32", or where the store holds int8 "int16" or "int8", which GDAL reads right from 3.7 on.
        compress: "deflate", which everything reads, or "zstd".
        progress: called with (parts done, parts in all).

    Raises:
        DataError: the store is damaged.
        UsageError: an option is wrong, or a file cannot be written.
    """
    if compress not in COMPRESSIONS:
        raise UsageError(f"compress {compress!r}: expected one of {', '.join(COMPRESSIONS)}")
    return write_layers(frames, folder, _layers(frames, dtype), frames.blocks(progress), compress=compress)


def write_layers(
    frames: Frames,
    folder: Path,
    layers: Sequence[Layer],
    blocks: Iterable[tuple[slice, slice, slice, Any]],
    *,
    compress: str = "deflate",
    tags: Mapping[str, str] | None = None,
) -> list[str]:
    """Write a COG per frame and layer, `<site>_<frame><suffix>.tif`; return their names.

    Args:
        frames: of the files.
        folder: an existing folder.
        layers: files of a frame.
        blocks: what their pixels come from, in the order of `Frames.blocks`.
        compress: as of `write_cogs`.
        tags: further ones of every file.

    Raises:
        UsageError: a file cannot be written.
    """
    site, names = file_name(str(frames.attributes.get("site", "site"))), []
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_NUM_THREADS="ALL_CPUS"), refusals(folder):
        for part, some in itertools.groupby(blocks, key=operator.itemgetter(0)):
            group = [(frame, layer) for frame in frames.frames[part] for layer in layers]
            final = [f"{site}_{frame.name}{layer.suffix}.tif" for frame, layer in group]
            raw = [folder / f"{name}.raw" for name in final]
            with contextlib.ExitStack() as stack:
                files = [stack.enter_context(new_file(p, *g, frames, tags)) for p, g in zip(raw, group, strict=True)]
                for _, y, x, block in some:
                    window = Window(x.start, y.start, x.stop - x.start, y.stop - y.start)
                    for k, file in enumerate(files):
                        file.write(group[k][1].pixels(block, k // len(layers)), window=window)
            if shutil.disk_usage(folder).free < 2**20:  # GDAL does not report what fails as a file is closed
                raise disk_full(folder.with_name(folder.name.removesuffix(".partial")))
            for k, path in enumerate(raw):
                to_cog(path, folder / final[k], compress=compress, dtype=group[k][1].dtype)
            names += final
    return names


def file_name(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _layers(frames: Frames, dtype: str) -> list[Layer]:
    """The files of a frame: its vectors and, of a composite, how many dates they are the mean of."""
    bands = tuple(f"embedding {i}" for i in range(frames.length))
    scale = None if dtype == "float32" or frames.scale is None else frames.scale
    if scale is not None and dtype == "int16" and COUNT in frames.layers:
        scale = scale / np.float32(FINER)

    def pixels(block: Block, i: int) -> np.ndarray:
        present, vectors = block.present[i], block.vectors[i]
        found = floats(vectors, present) if scale is None else quantise(vectors, present, scale, dtype)
        return np.moveaxis(found, -1, 0)

    vectors = Layer("", dtype, NODATA.get(dtype, np.nan), bands, pixels, scale)
    if COUNT not in frames.layers:
        return [vectors]
    return [vectors, Layer(f"_{COUNT}", "uint16", 0, (COUNT,), lambda block, i: block.layers[COUNT][i][None])]


def new_file(path: Path, frame: Frame, layer: Layer, frames: Frames, tags: Mapping[str, str] | None) -> Any:
    """An ordinary tiled GeoTIFF open for writing, with everything that the COG is to carry."""
    grid, about = frames.grid, frames.attributes
    file = rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=len(layer.bands),
        dtype=layer.dtype,
        nodata=layer.nodata,
        crs=None if grid.crs == "LOCAL" else CRS.from_user_input(grid.crs),
        transform=rasterio.Affine(*grid.transform),
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        interleave="pixel",
        compress="zstd",
        zstd_level=1,
        bigtiff="IF_SAFER",
    )
    file.descriptions = layer.bands
    if layer.scale is not None:
        file.scales = [float(s) for s in layer.scale]
    told = {
        "TIFFTAG_DATETIME": f"{to_date(frame.first):%Y:%m:%d} 00:00:00",
        "date": str(to_date(frame.first)),
        "site": str(about.get("site", "")),
        "model": str(about.get("eomm:model", "")),
        "simulated": str(about.get("provenance", {}).get("simulated", False)).lower(),
    }
    if len(frame.dates) > 1 or frame.first != frame.last:
        told |= {"last_date": str(to_date(frame.last)), "dates": str(len(frame.dates))}
    file.update_tags(**told, **(tags or {}))
    return file


def to_cog(path: Path, out: Path, *, compress: str, dtype: str) -> None:
    """Copy a GeoTIFF to a COG with overviews (means), and remove it."""
    rasterio.shutil.copy(
        path,
        out,
        driver="COG",
        blocksize=TILE,
        compress=compress,
        level=6,
        predictor="floating_point" if dtype == "float32" else "no",
        overview_resampling="nearest" if dtype == "uint16" else "average",
        bigtiff="IF_SAFER",
    )
    path.unlink()


def floats(vectors: Float32[np.ndarray, "*n d"], present: Bool[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n d"]:
    """Vectors, NaN where there is none."""
    return np.where(present[..., None], vectors, np.float32(np.nan))


def quantise(
    vectors: Float32[np.ndarray, "*n d"],
    present: Bool[np.ndarray, "*n"],
    scale: Float32[np.ndarray, " d"],
    dtype: str = "int8",
) -> Int[np.ndarray, "*n d"]:
    """Vectors divided by `scale`, which gives back exactly what an int8 store holds; `NODATA` where there is none."""
    most = np.iinfo(dtype).max
    numbers = np.clip(np.rint(vectors / scale), -most, most)
    return np.where(present[..., None], numbers, NODATA[dtype]).astype(dtype)


@contextlib.contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """GDAL's errors as ours."""
    try:
        yield
    except (RasterioError, CPLE_BaseError, SystemError) as e:  # the last two are what rasterio does not translate
        raise UsageError(f"{folder}: a GeoTIFF cannot be written ({e}); is the disk full?") from e
