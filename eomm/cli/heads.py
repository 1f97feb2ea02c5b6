"""The commands `eomm fit` and `eomm predict`. See parser.py."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eomm.cli.numbers import day, number, whole
from eomm.cli.probes import names_of
from eomm.store.progress import progress_bar


def fit(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """A head on labels or fluxes."""
    from eomm.heads.fit import fit as fit_head
    from eomm.heads.fit import report
    from eomm.heads.options import FluxOptions, LabelOptions

    options: LabelOptions | FluxOptions
    if a.flux:
        options = FluxOptions(
            site_info=a.site_info,
            target=a.target,
            unit=a.unit,
            extract=a.extract,
            quality=a.quality,
            folds=a.folds,
            length=a.length,
        )
    else:
        options = LabelOptions(
            dates=a.date,
            target=a.target,
            column=a.column,
            regression=a.regression,
            ignore=a.ignore,
            classes=names_of(a.classes) or None,
            min_pixels=a.min_pixels,
            unit=a.unit or "",
            groups=a.groups,
            block_px=a.block_px,
            buffer_px=a.buffer_px,
            length=a.length,
        )
    files = {"labels": a.labels, "fluxes": a.flux}
    more = {"level": a.level, "seed": a.seed, "overwrite": a.overwrite}
    with progress_bar("folds") as bar:
        head = fit_head(a.embedding, out=a.out, form=a.head, options=options, progress=bar.counted, **files, **more)
    return {"out": str(a.out), **report(head)}


def predict(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """A head's maps or series."""
    from eomm.heads.predict import predict as predict_with

    with progress_bar("predict") as bar:
        return predict_with(
            a.head,
            a.embedding,
            a.out,
            site_info=a.site_info,
            extract=a.extract,
            dates=tuple(a.dates) if a.dates else None,
            overwrite=a.overwrite,
            progress=bar.counted,
        )


def format_fit(result: dict[str, Any]) -> str:
    """For people."""
    from eomm.heads.fit import format_report

    return f"{result['out']}: head {result['head']}\n{format_report(result)}"


def format_predict(result: dict[str, Any]) -> str:
    """For people."""
    what = f"{result['frames']} maps" if "frames" in result else f"{result['rows']} rows (sites: {result['sites']})"
    simulated = "SIMULATED " if result["simulated"] else ""
    unit = f" in {result['unit']}" if result["unit"] else ""
    known = result.get("fitted", 0)
    fitted = f"  of the rows {known} are of days that the head was fitted on (column fitted): no test" if known else ""
    lacking = f", {result['without_vector']:.0%} without a vector" if "without_vector" in result else ""
    return "\n".join(
        [
            f"{result['out']}: {simulated}{result['target']}{unit}, {what}",
            f"  predicted {result['predicted']:.0%}{lacking}, {result['outside']:.0%} outside of what the head saw",
            f"  {result['interval']}",
            f"  {result['note']}",
            *([f"  {result['worth']}"] if result["worth"] else []),
            *([fitted] if fitted else []),
        ]
    )


def add_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add them to the parser's commands; `command` is parser.py's."""
    example = """eomm fit --embedding e.zarr --labels crops.tif --head logistic --out crops-head
  eomm fit --embedding 'embeddings/{site}.zarr' --flux towers/*_FULLSET_DD_*.csv --site-info sites.csv \\
      --extract footprint:30 --head ridge --out gpp-head"""
    summary = "a head (ridge, logistic, boosting) on labels or fluxes, scored while whole groups are held out"
    c = command(commands, "fit", fit, summary, example)
    c.set_defaults(formatter=format_fit)
    embedding_help = "repeat with --labels; with --flux one path in which {site} stands for the tower"
    c.add_argument("--embedding", action="append", required=True, metavar="ZARR", help=embedding_help)
    head_help = "ridge for numbers, logistic for classes, boosting for either"
    c.add_argument("--head", choices=["ridge", "logistic", "boosting"], required=True, help=head_help)
    c.add_argument("--out", type=Path, required=True, metavar="HEAD", help="folder to make")
    c.add_argument("--length", type=whole, metavar="K", help="use the first K numbers of each vector (default: all)")
    level_help = "of the interval (default: %(default)s; lower where there are too few groups, and said)"
    c.add_argument("--level", type=number, default=0.9, metavar="SHARE", help=level_help)
    c.add_argument("--target", metavar="NAME", help="what labels are called; with --flux the column (GPP_NT_VUT_REF)")
    c.add_argument("--unit", help="of numbers; with --flux such as 'gC m-2 d-1' (default: as its VARINFO file says)")
    c.add_argument("--seed", type=whole, default=0, help="of folds and of what is drawn")
    c.add_argument("--overwrite", action="store_true", help="replace an earlier head")
    g = c.add_argument_group("labels")
    labels_help = "GeoTIFF, NetCDF, GeoJSON or CSV (lon, lat, label), one for each embedding"
    g.add_argument("--labels", type=Path, action="append", default=[], metavar="FILE", help=labels_help)
    g.add_argument("--column", metavar="NAME", help="NetCDF variable, or property or column with the label")
    g.add_argument("--regression", action="store_true", help="labels are numbers, such as a yield")
    date_help = "whose vectors; repeat (default: the date with most labelled pixels)"
    g.add_argument("--date", type=day, action="append", default=[], help=date_help)
    g.add_argument("--ignore", nargs="+", default=[], metavar="LABEL", help="labels that count as none")
    g.add_argument("--classes", nargs="+", default=[], metavar="LABEL[=NAME]", help="only these, with their names")
    g.add_argument("--min-pixels", type=whole, default=1, metavar="N", help="leave smaller fields out")
    groups_help = "what is held out whole (default: %(default)s)"
    g.add_argument("--groups", choices=("fields", "blocks", "sites"), default="fields", help=groups_help)
    g.add_argument("--block-px", type=whole, default=32, metavar="N", help="side of blocks (default: %(default)s)")
    buffer_help = "no pixel fitted on is nearer to a tested one (default: %(default)s)"
    g.add_argument("--buffer-px", type=number, default=9, metavar="N", help=buffer_help)
    g = c.add_argument_group("fluxes")
    g.add_argument("--flux", type=Path, nargs="+", default=[], help="daily files: FLUXNET2015, ICOS, FLUXNET")
    site_help = "SITEINFO, BADM, a list of sites, or site.json"
    g.add_argument("--site-info", type=Path, nargs="+", default=[], help=site_help)
    extract_help = "pixel, window:N, footprint:METRES, or weights.tif (default: %(default)s)"
    g.add_argument("--extract", default="window:3", metavar="HOW", help=extract_help)
    g.add_argument("--quality", type=number, default=0.7, metavar="SHARE", help="least NEE_VUT_REF_QC (default: 0.7)")
    folds_help = "what is held out whole (default: sites; years where there is one site or neighbourhood)"
    g.add_argument("--folds", choices=["site", "year", "both"], help=folds_help)

    example = """eomm predict --head crops-head --embedding e.zarr --out crops          # a GeoTIFF per date
  eomm predict --head gpp-head --embedding e.zarr --out gpp.zarr
  eomm predict --head gpp-head --embedding 'embeddings/{site}.zarr' --site-info sites.csv --out gpp.csv"""
    c = command(commands, "predict", predict, "a head's map per date, or its series at places", example)
    c.set_defaults(formatter=format_predict)
    c.add_argument("--head", type=Path, required=True, help="of `eomm fit`")
    c.add_argument("--embedding", required=True, metavar="ZARR", help="by the model of the head; {site}: the place")
    c.add_argument("--out", type=Path, required=True, help="X.zarr; X.csv or X.parquet for series; or a folder of COGs")
    c.add_argument("--site-info", type=Path, nargs="+", default=[], help=f"places of series: {site_help}")
    c.add_argument("--extract", metavar="HOW", help="pixels of a place (default: as the head was fitted)")
    dates_help = "of maps: both included (default: all)"
    c.add_argument("--dates", type=day, nargs=2, metavar=("FIRST", "LAST"), help=dates_help)
    c.add_argument("--overwrite", action="store_true", help="replace an earlier prediction")
