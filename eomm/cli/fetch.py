"""The command `eomm prepare fetch`. See parser.py."""

import argparse
from pathlib import Path
from typing import Any

from eomm.cli.arguments import AsTuple, command, options_of, shared
from eomm.cli.numbers import amount, number, whole
from eomm.store.fields import Json
from eomm.store.progress import progress_bar


def prepare_fetch(a: argparse.Namespace, _: list[str]) -> Json:
    """Scenes from a STAC catalogue to local files."""
    from data_prep.fetch.net import Net
    from data_prep.fetch.run import FetchOptions, fetch_scenes

    grid = grid_of(a)
    assert grid is not None  # the parser demands a place
    options = options_of(FetchOptions, a, net=options_of(Net, a, timeout_s=a.timeout))
    with progress_bar("fetch") as report:
        return fetch_scenes(a.out, grid, options, progress=report.named)


def format_fetch(result: Json) -> str:
    """For people."""
    lines = [
        f"{result['site']}: {result['found']} items of {result['from']}, {result['complete']} complete "
        f"({result['fetched']} fetched now), {result['empty']} beside the site, {len(result['missing'])} missing",
        *(f"missing: {m['time']} {m['item']}: {m['reason']}" for m in result["missing"]),
        f"notes: {result['notes']}",
    ]
    if result["missing"]:
        return "\n".join([*lines, "run the same command again to try what is missing"])
    scenes = Path(result["notes"]).parent
    return "\n".join([*lines, f"next: eomm prepare cube --source fetched_{result['modality']}={scenes} …"])


def add_fetch(steps: Any) -> None:
    """Add it to the steps of `prepare`."""
    example = """eomm prepare fetch --from planetary-computer-s2 --site flanders --at 3.02,50.82 --size-m 1280 \\
      --dates 2018-01-01 2018-12-31 --out scenes
  eomm prepare fetch --from planetary-computer-s1-rtc --site flanders --at 3.02,50.82 --size-m 1280 \\
      --dates 2018-01-01 2018-12-31 --out scenes
  eomm prepare cube --site flanders --source fetched_s2=scenes --source fetched_s1=scenes --out flanders.zarr"""
    summary = (
        "a site's scenes from a STAC catalogue to GeoTIFF files; run again to fetch what is missing (exit status 1 "
        "while something is)"
    )
    c = command(steps, "fetch", prepare_fetch, summary, example, formatter="eomm.cli.fetch:format_fetch")
    c.set_defaults(succeeded=lambda result: not result["missing"])
    source_help = (
        "planetary-computer-s2, planetary-computer-s1-rtc, earth-search-s2, cdse-s2, or the address or path of a "
        "STAC API or static catalogue"
    )
    c.add_argument("--from", dest="source", required=True, metavar="CATALOGUE", help=source_help)
    c.add_argument("--site", required=True)
    add_place(c, required=True)
    shared(c, "dates", required=True)
    c.add_argument("--out", type=Path, required=True, help="folder of the scenes; catalogues may share it")
    c.add_argument("--collection", help="of one's own catalogue (default: all)")
    c.add_argument("--like", metavar="CATALOGUE", help="which of the four one's own is like (default: by its assets)")
    c.add_argument("--parallel", type=whole, default=8, metavar="N", help="bands read at a time (default: 8)")
    c.add_argument("--tries", type=whole, default=4, metavar="N", help="of requests, and of items (default: 4)")
    c.add_argument("--timeout", type=amount, default=60, metavar="SECONDS", help="for each answer (default: 60)")


def add_place(c: argparse.ArgumentParser, *, required: bool) -> None:
    """The arguments that say where a site lies."""
    place = c.add_mutually_exclusive_group(required=required)
    place.add_argument("--at", type=position_of, metavar="LON,LAT", help="centre in degrees (--at=-70,-9 if negative)")
    place.add_argument(
        "--bbox", type=number, nargs=4, action=AsTuple, metavar=("W", "S", "E", "N"), help="box in degrees"
    )
    c.add_argument("--size-m", type=amount, default=1280, help="side of the square around --at (default: 1280)")
    c.add_argument("--crs", metavar="EPSG:CODE", help="UTM zone of the grid (default: the zone of the site's centre)")


def grid_of(a: argparse.Namespace) -> Any:
    """The grid of the site that `add_place`'s arguments describe, or None."""
    from data_prep.fetch.place import site_grid

    if not (a.at or a.bbox):
        return None
    return site_grid(at=a.at, size_m=a.size_m, bbox=a.bbox, crs=a.crs)


def position_of(text: str) -> tuple[float, float]:
    """`"3.02,50.82"` to (3.02, 50.82). Raises ArgumentTypeError where it is none."""
    try:
        lon, lat = (number(part) for part in text.split(","))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r}: expected LON,LAT in degrees, such as 3.02,50.82") from e
    return lon, lat
