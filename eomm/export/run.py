"""An embedding cube in the forms that others read: COGs, GeoParquet, and means over periods. Not embedding itself."""

import warnings
from collections.abc import Callable
from pathlib import Path

from eomm.errors import UsageError
from eomm.export.cog import write_cogs
from eomm.export.features import read_features
from eomm.export.frames import Frames
from eomm.export.options import ExportOptions
from eomm.export.parquet import check_free, write_features, write_pixels
from eomm.export.zarr import write_zarr
from eomm.store.fields import Json
from eomm.store.folders import check_apart, entered, new_directory, write_json

INT8 = (
    "int8 GeoTIFFs are misread by GDAL before 3.7 (QGIS before 3.32, R's terra with it): wrong numbers, and none "
    "missing; int16 is read right everywhere"
)


def export(
    embedding: Path | str,
    out: Path | str,
    options: ExportOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Export an embedding cube, block by block: memory depends on the length of its vectors, not on the cube.

    Args:
        embedding: an embedding cube, as `eomm.embed` writes it.
        out: what to make, whole or not at all; a folder, for "parquet" a file.
        options: what of it, in which form.
        overwrite: replace an earlier export.
        progress: called with (parts done, parts in all).

    Returns:
        What was written; also in the folder's `manifest.json`, or in the metadata of the Parquet file: dates or
        periods, model, site, CRS (None for a cube of unknown position) and whether the data are simulated. Of points
        and polygons `outside` has the ids of those without a pixel.

    Raises:
        DataError: the embedding cube is missing, unfinished or damaged; or a feature is wrong.
        UsageError: no date is left, `out` exists, or it cannot be written.
    """
    out = entered(out)
    check_apart(out, {"the embedding": embedding, "the points": options.points, "the polygons": options.polygons})
    frames = Frames(
        embedding, dates=options.dates, length=options.length, composite=options.composite, cloudy=options.cloudy
    )
    to, dtype = options.to, stored_dtype(frames, options.to, options.dtype)
    about = describe(frames, to=to, dtype=dtype, composite=options.composite)
    if to == "cog" and dtype == "int8":
        about["warning"] = INT8
        warnings.warn(INT8, stacklevel=2)
    if to == "parquet":
        check_free(out, overwrite=overwrite)
        if file := options.points or options.polygons:
            kind = "points" if options.points else "polygons"
            about |= write_features(frames, out, read_features(file, kind), about, progress)
        else:
            about |= write_pixels(frames, out, options.stride, about, progress)
        return {"out": str(out), **about}
    with new_directory(out, kind="composite" if to == "zarr" else "export", overwrite=overwrite) as partial:
        if to == "zarr":
            write_zarr(frames, partial, dtype=dtype, attributes={"eomm:export": about}, progress=progress)
        else:
            about["files"] = write_cogs(frames, partial, dtype=dtype, compress=options.compress, progress=progress)
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


def describe(frames: Frames, *, to: str, dtype: str, composite: str | None) -> Json:
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
