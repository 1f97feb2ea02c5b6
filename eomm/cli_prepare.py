"""The commands `eomm prepare …`. See cli.py."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eomm.errors import UsageError
from eomm.progress import progress_bar


def prepare_cube(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Scenes to a cube."""
    from data_prep.build_cube import Source, build_cube
    from eomm.info import describe

    sources = []
    for text in a.source:
        mapping, equals, path = text.partition("=")
        if not equals:
            raise UsageError(f"--source {text}: expected MAPPING=PATH, such as simulated_s2=site/s2")
        sources.append(Source(path=Path(path), mapping=mapping))
    with progress_bar("cube") as report:
        path = build_cube(
            a.out, site=a.site, sources=sources, accept=a.accept, overwrite=a.overwrite, progress=report.named
        )
    return describe(path)


def prepare_records(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Cubes to a record set."""
    from data_prep.build_patches import build_patches
    from data_prep.split import SplitConfig, clear_days
    from eomm.cube import open_cube
    from eomm.info import describe

    held_out: tuple[int, ...] = ()
    if a.hold_out_every:
        days = [clear_days(open_cube(c)["s2"], fraction=0.9, every=a.hold_out_every, offset=1) for c in a.cubes]
        held_out = tuple(sorted({d for found in days for d in found}))
    split = SplitConfig(
        sites=named_lists(a.sites),
        fractions={"test": a.test_fraction} if a.test_fraction else {},
        columns={"test": tuple(a.test_columns)} if a.test_columns else {},
        uncut=("test",) if a.test_uncut else (),
        hold_out_days=held_out,
    )
    with progress_bar("records") as report:
        path = build_patches(
            a.out,
            cubes=a.cubes,
            split=split,
            crop_px=a.crop_px,
            acquisitions=a.acquisitions,
            stride_px=a.stride_px,
            stride_acquisitions=a.stride_acquisitions,
            windows=windows_of(a.window),
            seed=a.seed,
            overwrite=a.overwrite,
            progress=report.named,
        )
    return describe(path)


def format_info(result: dict[str, Any]) -> str:
    """For people."""
    from eomm.info import format_info as format_

    return format_(result)


def add_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add them to the parser's commands; `command` is cli.py's."""
    prepare = commands.add_parser("prepare", help="scenes to a cube, cubes to records")
    steps = prepare.add_subparsers(dest="step", required=True, metavar="STEP")
    example = "eomm prepare cube --site a --source simulated_s2=a/s2 --source simulated_s1=a/s1 --out a.zarr"
    c = command(steps, "cube", prepare_cube, "scenes to a cube", example)
    c.set_defaults(formatter=format_info)
    c.add_argument("--source", action="append", required=True, metavar="MAPPING=PATH", help="repeat per source")
    c.add_argument("--site", required=True)
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--accept", action="append", default=[], metavar="CHECK", help="overrule a failing check; recorded")
    c.add_argument("--overwrite", action="store_true")
    example = "eomm prepare records a.zarr b.zarr c.zarr --sites train=a,b --sites test=c --out records"
    c = command(steps, "records", prepare_records, "cubes to patch records", example)
    c.set_defaults(formatter=format_info)
    c.add_argument("cubes", type=Path, nargs="+")
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--sites", action="append", default=[], metavar="SPLIT=A,B", help="which sites a split has")
    c.add_argument("--test-fraction", type=float, help="share of the sites to draw for test")
    c.add_argument("--test-columns", type=float, nargs=2, metavar=("FROM", "TO"), help="columns for test, as shares")
    c.add_argument("--test-uncut", action="store_true", help="keep the test block free, but cut no records from it")
    c.add_argument("--hold-out-every", type=int, metavar="N", help="keep every Nth clear S2 date from training")
    c.add_argument("--crop-px", type=int, default=32)
    c.add_argument("--acquisitions", type=int, default=32)
    c.add_argument("--stride-px", type=int)
    c.add_argument("--stride-acquisitions", type=int)
    window_help = "acquisitions of a modality before and after the series (default: 8 and 8), such as weather=60,0"
    c.add_argument("--window", action="append", default=[], metavar="MODALITY=BEFORE,AFTER", help=window_help)
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--overwrite", action="store_true")


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
        name, equals, items = text.partition("=")
        if not equals:
            raise UsageError(f"--sites {text}: expected SPLIT=SITE,SITE, such as train=a,b")
        found[name] = items.split(",")
    return found
