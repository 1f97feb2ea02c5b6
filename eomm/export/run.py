"""An embedding cube in the forms that others read: COGs, GeoParquet, and means over periods. Not embedding itself."""

import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from eomm.errors import UsageError
from eomm.export.cog import write_cogs
from eomm.export.features import read_features
from eomm.export.frames import Frames
from eomm.export.parquet import check_free, write_features, write_pixels
from eomm.export.zarr import write_zarr
from eomm.store.folders import check_apart, entered, new_directory, write_json

FORMS = ("cog", "parquet", "zarr")
INT8 = (
    "int8 GeoTIFFs are misread by GDAL before 3.7 (QGIS before 3.32, R's terra with it): wrong numbers, and none "
    "missing; int16 is read right everywhere"
)


def export(
    embedding: Path | str,
    out: Path | str,
    *,
    to: str,
    composite: str | None = None,
    dates: tuple[date, date] | None = None,
    length: int | None = None,
    dtype: str | None = None,
    cloudy: bool = False,
    compress: str = "deflate",
    points: Path | str | None = None,
    polygons: Path | str | None = None,
    stride: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Export an embedding cube, block by block: memory depends on the length of its vectors, not on the cube.

    Args:
        embedding: an embedding cube, as `eomm.embed` writes it.
        out: what to make, whole or not at all; a folder, for "parquet" a file.
        to: "cog", a folder with a Cloud-Optimised GeoTIFF per date (`eomm.export.cog`); "parquet", a GeoParquet file
            (`eomm.export.parquet`); "zarr", with a composite, an embedding cube (`eomm.export.zarr`).
        composite: "month", "season" (December to February, …) or "year": in the place of dates the means over those
            of each period, pixel by pixel over those where it has a vector.
        dates: first and last date, both included; all when None.
        length: keep so many leading numbers of each vector.
        dtype: of GeoTIFFs "float32", or where the cube holds int8 "int16" (the default there) or "int8", which GDAL
            before 3.7 misreads: with a warning; of Zarr "float32", or "int8" where the cube holds it (the default
            there). Parquet is always float32.
        cloudy: also the vectors of clouded pixels, where the cube has them.
        compress: of COGs, "deflate" or "zstd".
        points: for parquet, a GeoJSON or CSV file (`eomm.export.features`): a row per point and date.
        polygons: for parquet, a GeoJSON file: a row per polygon and date, the mean over its pixels.
        stride: for parquet without points or polygons, a row per date and pixel of every `stride`th row and column.
        overwrite: replace an earlier export.
        progress: called with (parts done, parts in all).

    Returns:
        What was written; also in the folder's `manifest.json`, or in the metadata of the Parquet file: dates or
        periods, model, site, CRS (None for a cube of unknown position) and whether the data are simulated. Of points
        and polygons `outside` has the ids of those without a pixel.

    Raises:
        DataError: the embedding cube is missing, unfinished or damaged; or a feature is wrong.
        UsageError: an option is wrong, no date is left, `out` exists, or it cannot be written.
    """
    out = entered(out)
    if to not in FORMS:
        raise UsageError(f"to {to!r}: expected one of {', '.join(FORMS)}")
    if to == "zarr" and not composite:
        raise UsageError(f"to 'zarr': {embedding} is that already; say which means to make (composite)")
    if to != "parquet" and (points or polygons or stride != 1):
        raise UsageError(f"to {to!r}: points, polygons and stride are for parquet")
    if (points is not None) + (polygons is not None) + (stride != 1) > 1:
        raise UsageError("points, polygons and stride: choose one of them")
    check_apart(out, {"the embedding": embedding, "the points": points, "the polygons": polygons})
    frames = Frames(embedding, dates=dates, length=length, composite=composite, cloudy=cloudy)
    dtype = stored_dtype(frames, to, dtype)
    about = describe(frames, to=to, dtype=dtype, composite=composite)
    if to == "cog" and dtype == "int8":
        about["warning"] = INT8
        warnings.warn(INT8, stacklevel=2)
    if to == "parquet":
        check_free(out, overwrite=overwrite)
        if points or polygons:
            kind, file = ("points", points) if points else ("polygons", polygons)
            about |= write_features(frames, out, read_features(file, kind), about, progress)  # type: ignore[arg-type]
        else:
            about |= write_pixels(frames, out, stride, about, progress)
        return {"out": str(out), **about}
    with new_directory(out, kind="composite" if to == "zarr" else "export", overwrite=overwrite) as partial:
        if to == "zarr":
            write_zarr(frames, partial, dtype=dtype, attributes={"eomm:export": about}, progress=progress)
        else:
            about["files"] = write_cogs(frames, partial, dtype=dtype, compress=compress, progress=progress)
            write_json(partial / "manifest.json", about)
    return {"out": str(out), **about}


def stored_dtype(frames: Frames, to: str, dtype: str | None) -> str:
    """The dtype to write, the first possible one when None. Raises UsageError where it cannot be."""
    possible = {"cog": ("int16", "float32", "int8"), "zarr": ("int8", "float32"), "parquet": ("float32",)}[to]
    if frames.scale is None:
        possible = ("float32",)
    if dtype not in (None, *possible):
        why = "Parquet files hold float32" if to == "parquet" else "integers need the scales of a cube that holds int8"
        raise UsageError(f"dtype {dtype!r}: {frames.path} can be exported to {to} as {' or '.join(possible)}; {why}")
    return dtype or possible[0]


def describe(frames: Frames, *, to: str, dtype: str, composite: str | None) -> dict[str, Any]:
    """What an export holds, as plain JSON types."""
    about = frames.attributes
    return {
        "eomm:kind": "export",
        "to": to,
        "embedding": frames.path.name,
        "site": about.get("site"),
        "crs": None if frames.grid.crs == "LOCAL" else frames.grid.crs,
        "model": about.get("eomm:model"),
        "simulated": bool(about.get("provenance", {}).get("simulated", False)),
        "composite": composite,
        "length": frames.length,
        "dtype": dtype,
        "frames": [f.name for f in frames.frames],
    }
