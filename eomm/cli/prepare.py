"""The commands `eomm prepare …`. See parser.py."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eomm.cli.arguments import AsTuple, command, later, options_of, pair_of, shared
from eomm.cli.fetch import add_fetch, add_place, grid_of
from eomm.cli.mapping import add_mapping
from eomm.cli.numbers import amount, number, whole
from eomm.cli.points import add_points
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.progress import progress_bar

if TYPE_CHECKING:  # what commands take, imported when they run
    from data_prep.cubes.options import CubeOptions
    from data_prep.records.crops import CropConfig
    from eomm.store.workers import Pool

INFO = "eomm.cli.info_words:format_info"
SITES = "data_prep.sites.units:format_status"


def prepare_cube(a: argparse.Namespace, _: list[str]) -> Json:
    """Scenes to a cube."""
    from data_prep.cubes.build import Source, build_cube
    from eomm.cli.info import describe

    pairs = [pair_of(text, "--source", "MAPPING=PATH, such as simulated_s2=site/s2") for text in a.source]
    sources = [Source(path=Path(path), mapping=mapping) for mapping, path in pairs]
    with progress_bar("cube") as report:
        path = build_cube(
            a.out,
            site=a.site,
            sources=sources,
            window=grid_of(a),
            overwrite=a.overwrite,
            progress=report.named,
            options=making_of(a),
        )
    return describe(path)


def prepare_records(a: argparse.Namespace, _: list[str]) -> Json:
    """Cubes to a record set."""
    from data_prep.records.build import build_patches
    from data_prep.records.split import SplitConfig, clear_days
    from eomm.cli.info import describe
    from eomm.data.cube import open_cube

    held_out: tuple[int, ...] = ()
    if a.hold_out_every:
        days = [clear_days(open_cube(c)["s2"], fraction=0.9, every=a.hold_out_every, offset=1) for c in a.cubes]
        held_out = tuple(sorted({d for found in days for d in found}))
    split = SplitConfig(
        sites=named_lists(a.sites),
        fractions=fractions_of(a),
        columns={"test": a.test_columns} if a.test_columns else {},
        uncut=("test",) if a.test_uncut else (),
        hold_out_days=held_out,
        seed=a.seed,
    )
    with progress_bar("records") as report:
        path = build_patches(
            a.out,
            cubes=a.cubes,
            split=split,
            overwrite=a.overwrite,
            progress=report.named,
            crops=crops_of(a),
            pool=workers_of(a),
        )
    return describe(path)


def prepare_sites(a: argparse.Namespace, _: list[str]) -> Json:
    """Many sites to cubes."""
    from data_prep.sites.build import build_site_records, build_sites
    from data_prep.sites.table import read_sites, sample_sites
    from data_prep.sites.units import status

    sites = read_sites(a.sites)
    if a.sample:
        sites = sample_sites(sites, a.sample, by=a.by, seed=a.seed)
    with progress_bar("sites") as report:
        found = build_sites(
            a.out,
            sites=sites,
            sources=[pair_of(text, "--source", "MAPPING=PATH, such as simulated_s2={site}/s2") for text in a.source],
            catalogues=a.catalogues,
            dates=a.dates,
            size_m=a.size_m,
            overwrite=a.overwrite,
            progress=report.named,
            options=making_of(a),
            pool=workers_of(a),
        )
    if a.records and found["done"]:
        with progress_bar("records") as report:
            options = {"by": a.by, "fractions": fractions_of(a), "crops": crops_of(a), "seed": a.seed}
            build_site_records(a.out, sites=sites, progress=report.named, **options, pool=workers_of(a))
    return status(a.out)


def prepare_status(a: argparse.Namespace, _: list[str]) -> Json:
    """How far many sites are."""
    from data_prep.sites.units import status

    return status(a.folder)


def prepare_check(a: argparse.Namespace, _: list[str]) -> Json:
    """What a cube looks like, and a page of it."""
    from data_prep.check.cube import check_cube
    from eomm.store.folders import check_free_file

    if a.out:
        check_free_file(a.out, overwrite=a.overwrite)  # before the work, not after it
    with progress_bar("check") as report:
        checked = check_cube(a.cube, progress=report.named)
    if a.out:
        from data_prep.check.page import write_page

        page = write_page(checked, a.out, overwrite=a.overwrite)
        print(f"page: {page}", file=sys.stderr)
    return checked.summary


def add_commands(commands: Any) -> None:
    """Add them to the parser's commands."""
    prepare = commands.add_parser("prepare", help="scenes from catalogues, scenes to cubes, cubes to records")
    steps = prepare.add_subparsers(dest="step", required=True, metavar="STEP")
    example = "eomm prepare cube --site a --source simulated_s2=a/s2 --source simulated_s1=a/s1 --out a.zarr"
    c = command(steps, "cube", prepare_cube, "scenes to a cube", example, formatter=INFO)
    source_help = (
        "a folder or file, and the mapping that says which of its files hold which bands: your own TOML file, or the "
        "name of a shipped one such as fetched_s2, safe_s2, worldcereal_s1 (a name that there is not lists all); repeat"
    )
    c.add_argument("--source", action="append", required=True, metavar="MAPPING=PATH", help=source_help)
    c.add_argument("--site", required=True, help="its name, which cubes, records and splits keep")
    c.add_argument("--out", type=Path, required=True, metavar="CUBE.zarr")
    add_place(c, required=False)  # of scenes larger than the site, such as tiles
    add_making(c)
    shared(c, "overwrite")
    example = "eomm prepare records a.zarr b.zarr c.zarr --sites train=a,b --sites test=c --out records"
    c = command(steps, "records", prepare_records, "cubes to patch records", example, formatter=INFO)
    c.add_argument("cubes", type=Path, nargs="+", help="of `eomm prepare cube`")
    c.add_argument("--out", type=Path, required=True, metavar="RECORDS", help="folder to make")
    c.add_argument("--sites", action="append", default=[], metavar="SPLIT=A,B", help="which sites a split has")
    columns_help = "columns for test, as shares"
    c.add_argument("--test-columns", type=number, nargs=2, action=AsTuple, metavar=("FROM", "TO"), help=columns_help)
    c.add_argument("--test-uncut", action="store_true", help="keep --test-columns free, but cut no records from them")
    c.add_argument("--hold-out-every", type=whole, metavar="N", help="keep every Nth clear S2 date from training")
    add_crops(c)
    add_workers(c)
    shared(c, "overwrite", seed="of what is drawn")
    for add in (add_points, add_mapping, add_sites, add_check, add_fetch):
        add(steps)


def add_check(steps: Any) -> None:
    """What a cube looks like."""
    purpose = "what a cube looks like; exit status 1 where something is likely wrong, 0 where dates are only odd"
    example, words = "eomm prepare check a.zarr --out check.html", "data_prep.check.words:format_check"
    c = command(steps, "check", prepare_check, purpose, example, formatter=words)
    c.set_defaults(succeeded=later("data_prep.check.cube:nothing_found"))
    c.add_argument("cube", type=Path)
    c.add_argument("--out", type=Path, metavar="PAGE.html", help="also write a page with figures")
    shared(c, "overwrite")


def add_sites(steps: Any) -> None:
    """Many sites, and how far they are."""
    example = """eomm prepare sites sites.csv --source simulated_s2={site}/s2 --out many --workers 4
  eomm prepare sites sites.geojson --sample 100 --by land_cover --from planetary-computer-s2 \\
      --from planetary-computer-s1-rtc --dates 2020-01-01 2020-12-31 --out many --records --test-fraction 0.2"""
    summary = "a list of sites to cubes; run again to go on and to try again what failed (exit status 1 while some did)"
    c = command(steps, "sites", prepare_sites, summary, example, formatter=SITES)
    c.set_defaults(succeeded=lambda found: not found["failed"])
    c.add_argument("sites", type=Path, help="CSV with columns name, lon, lat (and size_m, split, …), or GeoJSON")
    source_help = "{site} stands for the site's name; repeat per source"
    c.add_argument("--source", action="append", default=[], metavar="MAPPING=PATH", help=source_help)
    from_help = (
        "fetch scenes first, as `eomm prepare fetch` does (its presets, or ADDRESS#COLLECTION of Sentinel-2); repeat"
    )
    c.add_argument("--from", dest="catalogues", action="append", default=[], metavar="CATALOGUE", help=from_help)
    shared(c, dates="first and last to fetch", seed="of what is drawn")
    size_help = (
        "side of the square around each site, where the list has no size_m (default: fetch 1280, and take all that "
        "sources of your own cover)"
    )
    c.add_argument("--size-m", type=amount, help=size_help)
    c.add_argument("--out", type=Path, required=True, help="the folder; cubes go to OUT/cubes/SITE.zarr")
    c.add_argument("--sample", type=whole, metavar="N", help="N of the sites, drawn by the seed (default: all)")
    c.add_argument("--by", metavar="COLUMN", help="as many of each value of this column, such as land_cover")
    add_making(c)
    add_workers(c)
    shared(c, overwrite="build again cubes that were made of something else")
    c.add_argument("--records", action="store_true", help="then cut the records of all finished sites to OUT/records")
    add_crops(c)

    example = "eomm prepare status many"
    c = command(steps, "status", prepare_status, "how far the sites of a folder are", example, formatter=SITES)
    c.set_defaults(succeeded=lambda found: not found["failed"])
    c.add_argument("folder", type=Path)


def add_making(c: argparse.ArgumentParser) -> None:
    """The arguments that say how a cube is made."""
    c.add_argument("--accept", action="append", default=[], metavar="CHECK", help="overrule a failing check; recorded")
    methods_help = "of bands that are not of the cube's grid (default: bilinear; of radar in linear power)"
    methods = ("nearest", "bilinear", "cubic", "average")
    c.add_argument("--resampling", choices=methods, default="bilinear", help=methods_help)
    screen_help = "look for shadow and thin cloud that masks pass: note it beside the mask, or mask it (default: none)"
    c.add_argument("--screen", choices=("none", "flag", "mask"), default="none", help=screen_help)


def making_of(a: argparse.Namespace) -> "CubeOptions":
    """What `add_making` asked."""
    from data_prep.cubes.options import CubeOptions

    return options_of(CubeOptions, a)


def add_workers(c: argparse.ArgumentParser) -> None:
    """The arguments that say who does the work."""
    scheduler_help = "by a running Dask scheduler's: its address, such as tcp://head:8786, or its JSON file"
    shared(c, "workers", scheduler=scheduler_help)
    c.add_argument("--memory", type=amount, metavar="GIB", help="that each of the N may take before it is stopped")


def workers_of(a: argparse.Namespace) -> "Pool":
    """What `add_workers` asked."""
    from eomm.store.workers import Pool

    return options_of(Pool, a, memory_gib=a.memory)


def add_crops(c: argparse.ArgumentParser) -> None:
    """The arguments that say how records are cut, and who tests."""
    c.add_argument("--test-fraction", type=number, metavar="SHARE", help="of the sites, drawn for test")
    c.add_argument("--validation-fraction", type=number, metavar="SHARE", help="of the sites, drawn for validation")
    c.add_argument("--crop-px", type=whole, default=32, metavar="N", help="side of a record (default: %(default)s)")
    c.add_argument("--acquisitions", type=whole, default=32, metavar="N", help="of Sentinel-2 in it (default: 32)")
    c.add_argument("--stride-px", type=whole, metavar="N", help="from a record to the next (default: half of one)")
    margin_help = (
        "records without copies: they overlap by a margin of N px, the encoder's halo (7), and batches draw crops of "
        "--draw-px and --draw-acquisitions within them; choose a large --crop-px, such as 78 (default: 0, used whole)"
    )
    c.add_argument("--margin-px", type=whole, default=0, metavar="N", help=margin_help)
    c.add_argument("--draw-px", type=whole, default=32, metavar="N", help="side of a drawn crop (default: 32)")
    c.add_argument("--draw-acquisitions", type=whole, default=32, metavar="N", help="of Sentinel-2 in it (default: 32)")
    stride_help = "the same in time (default: half of one)"
    c.add_argument("--stride-acquisitions", type=whole, metavar="N", help=stride_help)
    window_help = "acquisitions of a modality before and after the series (default: 8 and 8), such as weather=60,0"
    c.add_argument("--window", action="append", default=[], metavar="MODALITY=BEFORE,AFTER", help=window_help)


def crops_of(a: argparse.Namespace) -> "CropConfig":
    """What `add_crops` asked."""
    from data_prep.records.crops import CropConfig

    return options_of(CropConfig, a, window=CropConfig.window, windows=windows_of(a.window))


def fractions_of(a: argparse.Namespace) -> dict[str, float]:
    """Shares by split."""
    asked = {"validation": a.validation_fraction, "test": a.test_fraction}
    return {split: share for split, share in asked.items() if share}


def windows_of(texts: Sequence[str]) -> dict[str, tuple[int, int]]:
    """`["weather=60,0"]` to `{"weather": (60, 0)}`. Raises UsageError where a part is missing or no number."""
    windows = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        before, _, after = numbers.partition(",")
        if not (before.isdigit() and after.isdigit()):
            raise UsageError(f"--window {text}: expected MODALITY=BEFORE,AFTER, such as weather=60,0")
        windows[name] = (int(before), int(after))
    return windows


def named_lists(texts: Sequence[str]) -> dict[str, list[str]]:
    """["train=a,b"] -> {"train": ["a", "b"]}."""
    found = {}
    for text in texts:
        name, items = pair_of(text, "--sites", "SPLIT=SITE,SITE, such as train=a,b")
        found[name] = items.split(",")
    return found
