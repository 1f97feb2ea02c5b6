"""The command `eomm evaluate gpp`. See parser.py."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, options_of, pairs_of, shared
from eomm.cli.numbers import whole
from eomm.errors import UsageError


def evaluate_gpp(a: argparse.Namespace, _: list[str]) -> Any:
    """Fluxes of towers, from embeddings or any table."""
    return evaluate_with(a, lambda table, plan: [])


def evaluate_with(a: argparse.Namespace, more: Callable[[Any, Any], Any]) -> Any:
    """The same with further methods of the table."""
    from eomm.data.tables import write_frame
    from eomm.evaluation.gpp.run import run
    from eomm.evaluation.result_file import check_result_free, write_result
    from eomm.store.folders import check_free_file

    if bool(a.table) == bool(a.flux):
        raise UsageError(
            "give either --table (features and fluxes in one file) or --flux (files as networks ship them)"
        )
    check_result_free(a.out, overwrite=a.overwrite)  # before the work, not after it
    if a.predictions:
        check_free_file(a.predictions, overwrite=a.overwrite)
    table = _table(a) if a.table else _sites(a)
    tested = a.tested or list(pairs_of(a.embedding))
    if lost := sorted({*tested, *a.check} - set(table.features)):
        raise UsageError(f"features {', '.join(lost)}: there are none; there are {', '.join(table.features)}")
    dataset = a.dataset or (a.table.stem if a.table else "")
    result, predictions = run(table, _plan(a, tested), dataset=dataset, more=more)
    if a.predictions:
        write_frame(predictions.frame(table), a.predictions)
    return write_result(result, a.out, commands=[a.typed])


def _plan(a: argparse.Namespace, tested: list[str]) -> Any:
    from eomm.evaluation.gpp.plan import Final, GppPlan

    final, models = Final(sites=a.test_site, years=a.test_year), a.model or ["ridge", "boosting"]
    return options_of(GppPlan, a, tested=tested, checks=a.check, models=models, count=a.fold_count, final=final)


def _table(a: argparse.Namespace) -> Any:
    from eomm.evaluation.gpp.rows import Columns, read_table

    if lost := [n for n in ("site", "date", "target", "unit", "features") if not getattr(a, n)]:
        raise UsageError(f"--table needs --{', --'.join(lost)}")
    groups = {s: "+".join(g.split(",")) for g in a.together for s in g.split(",")}
    columns = Columns(
        site=a.site,
        date=a.date,
        target=a.target,
        unit=a.unit,
        features={name: columns.split(",") for name, columns in pairs_of(a.features).items()},
        kind=a.type,
        keep=a.keep,
    )
    return read_table(a.table, columns, groups=groups, simulated=a.simulated)


def _sites(a: argparse.Namespace) -> Any:
    from eomm.evaluation.gpp.features import Inputs, sites_table
    from eomm.evaluation.gpp.flux_files import TARGETS, read_flux
    from eomm.evaluation.gpp.flux_sites import read_towers

    tables = {name: text.rpartition(":") for name, text in pairs_of(a.extra).items()}
    extra = {name: (path, columns.split(",")) for name, (path, _, columns) in tables.items()}
    inputs = options_of(Inputs, a, embeddings=pairs_of(a.embedding), extra=extra)
    fluxes = [read_flux(p, target=a.target or TARGETS[0], unit=a.unit) for p in a.flux]
    return sites_table(fluxes, read_towers(a.site_info), inputs)


def add_command(kinds: Any) -> None:
    """Add it to the parser's kinds of evaluation."""
    example = """eomm evaluate gpp --flux towers/*_FLUXNET_DD_*.csv --site-info towers/*_SITEINFO_*.csv \\
      --cube 'cubes/{site}.zarr' --embedding eomm='embeddings/{site}.zarr' --embedding random='random/{site}.zarr' \\
      --tested eomm --folds both --out gpp.json
  eomm evaluate gpp --table towers.csv --site SITE_ID --date date --target GPP --unit 'gC m-2 d-1' --type PFT \\
      --features bands=b2,b3,b4,b5,b6,b7 --features NIRv=NIRv --together US-CS1,US-CS2 --out gpp.json"""
    summary = "fluxes of towers (GPP) from embeddings, beside their baselines"
    c = command(kinds, "gpp", evaluate_gpp, summary, example, formatter="eomm.evaluation.text:format_result")
    g = c.add_argument_group("towers' files")
    shared(g, "site_info", "quality", flux="daily files: FLUXNET2015, ICOS, FLUXNET; one per site")
    g.add_argument("--embedding", action="append", default=[], metavar="NAME=PATH", help="{site} stands for the site")
    g.add_argument("--cube", metavar="PATH", help="adds bands and indices as baselines; {site} stands for the site")
    extra_help = "any daily table's columns"
    g.add_argument("--extra", action="append", default=[], metavar="NAME=PATH:COLUMNS", help=extra_help)
    shared(g, "extract")
    g = c.add_argument_group("a table")
    g.add_argument("--table", type=Path, help="CSV or Parquet")
    g.add_argument("--site", metavar="COLUMN")
    g.add_argument("--date", metavar="COLUMN")
    g.add_argument("--type", metavar="COLUMN", help="plant functional type")
    features_help = "repeat; those called weather also join each of the others"
    g.add_argument("--features", action="append", default=[], metavar="NAME=COLUMNS", help=features_help)
    g.add_argument("--keep", action="append", default=[], metavar="CONDITION", help="such as 'nee_qc<=1'; repeat")
    together_help = "sites that folds must not divide; towers closer than 20 km belong together"
    g.add_argument("--together", action="append", default=[], metavar="SITES", help=together_help)
    g.add_argument("--simulated", action="store_true", help="the table is a simulator's")
    g = c.add_argument_group("both")
    tested_help = "features under test, all others are baselines; repeat (default: every --embedding)"
    g.add_argument("--tested", action="append", default=[], metavar="NAME", help=tested_help)
    g.add_argument("--target", help="the flux's column (default with --flux: GPP_NT_VUT_REF)")
    g.add_argument("--unit", help="of the flux, such as 'gC m-2 d-1' (default with --flux: as its VARINFO file says)")
    folds_help = "what is left out at a time (default: site; of a single group of sites year)"
    g.add_argument("--folds", choices=["site", "year", "both", "last-year"], help=folds_help)
    g.add_argument("--fold-count", type=whole, metavar="N", help="folds of sites (default: one per group of sites)")
    g.add_argument("--test-site", action="append", default=[], metavar="SITE", help="set aside for the end; repeat")
    g.add_argument("--test-year", type=whole, action="append", default=[], metavar="YEAR", help="the same; repeat")
    buffer_help = "between training and test days of a site (default: %(default)s)"
    g.add_argument("--buffer-days", type=whole, default=90, metavar="DAYS", help=buffer_help)
    model_help = "repeat (default: ridge and boosting)"
    g.add_argument("--model", action="append", choices=["ridge", "boosting"], help=model_help)
    check_help = "features that hold the truth (a simulator's): the most that anything can score, no baseline; repeat"
    g.add_argument("--check", action="append", default=[], metavar="NAME", help=check_help)
    g.add_argument("--main", metavar="METHOD", help="compared with each other (default: the first features', ridge)")
    dataset_help = "what the fluxes are called in results (default: the table's file)"
    g.add_argument("--dataset", metavar="NAME", help=dataset_help)
    shared(g, "seed", out="also write the result there (JSON), figures in a folder beside it")
    predictions_help = "what every method said of every tower-day while it was held out: CSV or Parquet"
    shared(g, "overwrite", predictions=predictions_help)
