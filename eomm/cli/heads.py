"""The commands `eomm fit` and `eomm predict`. See parser.py."""

import argparse
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, options_of, shared
from eomm.cli.numbers import day, number
from eomm.cli.probes import names_of
from eomm.store.fields import Json
from eomm.store.progress import progress_bar


def fit(a: argparse.Namespace, _: list[str]) -> Json:
    """A head on labels or fluxes."""
    from eomm.heads.fit import fit as fit_head
    from eomm.heads.fit import report
    from eomm.heads.options import FluxOptions, LabelOptions

    options: LabelOptions | FluxOptions
    if a.flux:
        options = options_of(FluxOptions, a)
    else:
        others: dict[str, Any] = {"unit": a.unit or "", "folds": LabelOptions.folds}  # --folds is of fluxes
        options = options_of(LabelOptions, a, dates=a.date, classes=names_of(a.classes) or None, **others)
    files = {"labels": a.labels, "fluxes": a.flux}
    more = {"level": a.level, "seed": a.seed, "overwrite": a.overwrite}
    with progress_bar("folds") as bar:
        head = fit_head(a.embedding, out=a.out, form=a.head, options=options, progress=bar.counted, **files, **more)
    return {"out": str(a.out), **report(head)}


def predict(a: argparse.Namespace, _: list[str]) -> Json:
    """A head's maps or series."""
    from eomm.heads.predict import predict as predict_with

    options = {name: getattr(a, name) for name in ("site_info", "extract", "dates", "overwrite")}
    with progress_bar("predict") as bar:
        return predict_with(a.head, a.embedding, a.out, progress=bar.counted, **options)


def format_fit(result: Json) -> str:
    """For people."""
    from eomm.heads.fit import format_report

    return f"{result['out']}: head {result['head']}\n{format_report(result)}"


def format_predict(result: Json) -> str:
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


def add_commands(commands: Any) -> None:
    """Add them to the parser's commands."""
    example = """eomm fit --embedding e.zarr --labels crops.tif --head logistic --out crops-head
  eomm fit --embedding 'embeddings/{site}.zarr' --flux towers/*_FULLSET_DD_*.csv --site-info sites.csv \\
      --extract footprint:30 --head ridge --out gpp-head"""
    summary = "a head (ridge, logistic, boosting) on labels or fluxes, scored while whole groups are held out"
    c = command(commands, "fit", fit, summary, example, formatter="eomm.cli.heads:format_fit")
    embedding_help = "repeat with --labels; with --flux one path in which {site} stands for the tower"
    c.add_argument("--embedding", action="append", required=True, metavar="ZARR", help=embedding_help)
    head_help = "ridge for numbers, logistic for classes, boosting for either"
    c.add_argument("--head", choices=["ridge", "logistic", "boosting"], required=True, help=head_help)
    c.add_argument("--out", type=Path, required=True, metavar="HEAD", help="folder to make")
    level_help = "of the interval (default: %(default)s; lower where there are too few groups, and said)"
    c.add_argument("--level", type=number, default=0.9, metavar="SHARE", help=level_help)
    c.add_argument("--target", metavar="NAME", help="what labels are called; with --flux the column (GPP_NT_VUT_REF)")
    c.add_argument("--unit", help="of numbers; with --flux such as 'gC m-2 d-1' (default: as its VARINFO file says)")
    length_help = "use the first K numbers of each vector (default: all)"
    shared(c, length=length_help, seed="of folds and of what is drawn", overwrite="replace an earlier head")
    g = c.add_argument_group("labels")
    labels_help = "GeoTIFF, NetCDF, GeoJSON or CSV (lon, lat, label), one for each embedding"
    g.add_argument("--labels", type=Path, action="append", default=[], metavar="FILE", help=labels_help)
    g.add_argument("--regression", action="store_true", help="labels are numbers, such as a yield")
    date_help = "whose vectors; repeat (default: the date with most labelled pixels)"
    g.add_argument("--date", type=day, action="append", default=[], help=date_help)
    shared(g, "column", "ignore", "classes", "min_pixels", "block_px")
    shared(
        g,
        groups="what is held out whole (default: %(default)s)",
        buffer_px="no pixel fitted on is nearer to a tested one (default: %(default)s)",
    )
    g = c.add_argument_group("fluxes")
    shared(g, "flux", "site_info", "extract", "quality")
    folds_help = "what is held out whole (default: sites; years where there is one site or neighbourhood)"
    g.add_argument("--folds", choices=["site", "year", "both"], help=folds_help)

    example = """eomm predict --head crops-head --embedding e.zarr --out crops          # a GeoTIFF per date
  eomm predict --head gpp-head --embedding e.zarr --out gpp.zarr
  eomm predict --head gpp-head --embedding 'embeddings/{site}.zarr' --site-info sites.csv --out gpp.csv"""
    summary = "a head's map per date, or its series at places"
    c = command(commands, "predict", predict, summary, example, formatter="eomm.cli.heads:format_predict")
    c.add_argument("--head", type=Path, required=True, help="of `eomm fit`")
    c.add_argument("--embedding", required=True, metavar="ZARR", help="by the model of the head; {site}: the place")
    c.add_argument("--out", type=Path, required=True, help="X.zarr; X.csv or X.parquet for series; or a folder of COGs")
    shared(
        c,
        site_info="places of series: SITEINFO, BADM, a list of sites, or site.json",
        extract="pixels of a place (default: as the head was fitted)",
        dates="of maps: both included (default: all)",
        overwrite="replace an earlier prediction",
    )
    c.set_defaults(extract=None)
