"""The commands of `eomm` that give embeddings and models away: export, export-model, verify. See parser.py."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, options_of, shared
from eomm.cli.numbers import whole
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.progress import progress_bar


def export(a: argparse.Namespace, _: list[str]) -> Json:
    """An embedding cube to what other programs read."""
    from eomm.export.options import ExportOptions
    from eomm.export.run import export as export_cube

    options = options_of(ExportOptions, a)
    with progress_bar("export") as report, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="int8 GeoTIFFs")  # said below, without Python's frame
        done = export_cube(a.embedding, a.out, options, overwrite=a.overwrite, progress=report.counted)
    if "warning" in done:
        print(f"eomm: warning: {done['warning']}", file=sys.stderr)
    return done


def export_model(a: argparse.Namespace, _: list[str]) -> Json:
    """A model to one file that JAX alone runs."""
    from eomm.export.portable import export_model as write

    sizes = {}
    for text in a.size:
        name, _, number = text.partition("=")
        if not number.isdigit():
            raise UsageError(f"--size {text}: expected NAME=NUMBER, such as y=64")
        sizes[name] = int(number)
    return write(a.model, a.out, sizes=sizes, site_wide=a.site_wide, overwrite=a.overwrite, code=a.code)


def verify(a: argparse.Namespace, _: list[str]) -> Json:
    """Whether a store is whole; without one, whether this machine gives the published numbers."""
    from eomm.embedding.intact import verify_intact
    from eomm.embedding.verify import verify as verify_golden
    from eomm.embedding.verify import verify_store

    given = (a.model, a.cube, a.expected)
    if a.store is not None:
        if any(given) or a.dtype:
            raise UsageError("verify STORE compares a store with its own digests; name it alone")
        return verify_intact(a.store, code=a.code)
    if not any(given):
        return verify_golden(dtype=a.dtype)
    if not all(given):
        raise UsageError("--model, --cube and --expected go together; without them the golden vectors are compared")
    return verify_store(*given, dtype=a.dtype, code=a.code)


def format_verdict(result: Json) -> str:
    """For people."""
    if "intact" in result:
        from eomm.embedding.intact import format_intact

        return format_intact(result)
    from eomm.embedding.verify import format_verdict as format_

    return format_(result)


def add_commands(commands: Any) -> None:
    """Add them to the parser's commands."""
    example = "eomm export e.zarr --to cog --out maps"
    c = command(commands, "export", export, "an embedding cube as GeoTIFFs or GeoParquet, or its means", example)
    c.add_argument("embedding", type=Path, help="an embedding cube")
    to_help = "a Cloud-Optimised GeoTIFF per date (QGIS, R), one GeoParquet file, or (composites) an embedding cube"
    c.add_argument("--to", choices=["cog", "parquet", "zarr"], required=True, help=to_help)
    c.add_argument("--out", type=Path, required=True, help="folder to make; for parquet the file")
    c.add_argument("--composite", choices=["month", "season", "year"], help="means over each, in the place of dates")
    c.add_argument("--points", type=Path, help="parquet: GeoJSON, or CSV with lon, lat, id: a row per point and date")
    c.add_argument("--polygons", type=Path, help="parquet: GeoJSON: a row per polygon and date, means over its pixels")
    stride_help = "parquet: every Nth row and column of all pixels"
    c.add_argument("--stride", type=whole, default=1, metavar="N", help=stride_help)
    length_help = "keep the first K numbers of each vector (default: all)"
    shared(c, dates="both included (default: all)", length=length_help)
    dtype_help = "cog: int16 where the cube holds int8, which is the default then; int8 only for GDAL from 3.7 on"
    c.add_argument("--dtype", choices=["float32", "int16", "int8"], help=dtype_help)
    c.add_argument("--cloudy", action="store_true", help="also vectors of clouded pixels, where the cube has them")
    c.add_argument("--compress", choices=["deflate", "zstd"], default="deflate", help="of GeoTIFFs")
    shared(c, "overwrite")

    summary = "a model to one self-contained StableHLO file that needs jax alone"
    c = command(commands, "export-model", export_model, summary, "eomm export-model runs/fusion/model --out portable")
    c.set_defaults(formatter=lambda r: f"{r['out']}: model {r['model']}; its README.md says how to call it")
    c.add_argument("model", type=Path, help="a model directory")
    c.add_argument("--out", type=Path, required=True, help="folder to make")
    size_help = "fix a size (y, x, n, s2_t, …) for networks that need it; repeat"
    c.add_argument("--size", action="append", default=[], metavar="NAME=NUMBER", help=size_help)
    site_help = "a modality of a single pixel, such as weather; repeat"
    c.add_argument("--site-wide", action="append", default=[], metavar="MODALITY", help=site_help)
    shared(c, "code", "overwrite")

    summary = "whether a store is whole, or this machine gives the published numbers; exit status 1 if not"
    c = command(commands, "verify", verify, summary, "eomm verify flanders.zarr")
    c.set_defaults(formatter=format_verdict, succeeded=lambda result: result.get("intact", result.get("equal")))
    store_help = (
        "cube, record set, embedding cube or model, compared with the digests it bears (default: golden vectors)"
    )
    c.add_argument("store", type=Path, nargs="?", help=store_help)
    c.add_argument("--dtype", choices=["float32", "bfloat16"], help="that networks compute in")
    c.add_argument("--model", type=Path, help="compare embeddings of your own: a model directory,")
    shared(c, "code", cube="a cube,")
    c.add_argument("--expected", type=Path, help="and an earlier embedding of it")
