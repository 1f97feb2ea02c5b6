"""The commands `eomm bench quality` and `eomm bench local`: their arguments, and what is written where.

`add_commands` is given the sub-commands of `eomm bench` and the function that makes one (`eomm.cli.command`).
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eomm.errors import UsageError

Make = Callable[..., argparse.ArgumentParser]
SHIPPED = "eomm.experiments.shipped.bench"  # knows the data sets; imported when asked for


def add_commands(benches: Any, command: Make) -> None:
    """Add both to the sub-commands of `eomm bench`."""
    example = """eomm bench quality --model runs/base/model --data ../shared/data
  eomm bench quality --data ../shared/data --out bench                         # closed forms alone
  eomm bench quality --model m0 --model m1 --role report --why "the model that ships" --data ../shared/data"""
    summary = "vectors at every task of the plan, with intervals and verdicts"
    c = command(benches, "quality", bench_quality, summary, example)
    c.set_defaults(formatter=format_result)
    model_help = "a model directory; repeat for seeds of one model, which are averaged (default: closed forms alone)"
    c.add_argument("--model", type=Path, action="append", default=[], metavar="DIR", help=model_help)
    beside_help = "another model to stand beside; repeat"
    c.add_argument("--beside", action="append", default=[], metavar="NAME=DIR", help=beside_help)
    role_help = "places to choose by, or those that report; a look at these is logged (default: %(default)s)"
    c.add_argument("--role", choices=["choose", "report"], default="choose", help=role_help)
    data_help = "folder of the data sets (default: %(default)s)"
    c.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR", help=data_help)
    c.add_argument("--why", metavar="TEXT", help="why one looks at report; goes into the log")
    c.add_argument("--looks", type=Path, metavar="FILE", help="another log of looks than that beside the code")
    only_help = "tasks whose names begin so; repeat (default: all)"
    c.add_argument("--only", action="append", default=[], metavar="TASK", help=only_help)
    c.add_argument("--plan", action="store_true", help="print what is measured how, and stop")
    _add_shared(c)

    example = "eomm bench local site.zarr --model runs/base/model"
    summary = "hidden targets, repeatability and steps on one cube, without labels"
    c = command(benches, "local", bench_local, summary, example)
    c.set_defaults(formatter=format_result)
    c.add_argument("cube", type=Path, help="of `eomm prepare cube`, with Sentinel-2")
    c.add_argument("--model", type=Path, metavar="DIR", help="a model directory (default: closed forms alone)")
    c.add_argument("--seed", type=int, default=0, help="of the pixels drawn (default: %(default)s)")
    _add_shared(c)


def _add_shared(c: argparse.ArgumentParser) -> None:
    around_help = "what lies around a lone pixel in an encoder's window: nothing, or its own values"
    c.add_argument("--surroundings", choices=["lone", "alike"], default="lone", help=around_help)
    c.add_argument("--code", action="append", default=[], metavar="MODULE", help="trust encoders in this module")
    c.add_argument("--out", type=Path, metavar="DIR", help="folder to make, with quality.json and quality.md")
    c.add_argument("--overwrite", action="store_true")


def bench_quality(a: argparse.Namespace, _: list[str]) -> Any:
    """Score models and closed forms at the tasks of a role."""
    shipped = importlib.import_module(SHIPPED)
    if a.plan:
        return shipped.plan()
    _check_out(a)
    request = shipped.Request(
        data=a.data,
        role=a.role,
        others=named(a.beside),
        code=a.code,
        surroundings=a.surroundings,
        only=a.only,
        look=shipped.Look(why=a.why, command=a.typed, path=a.looks or shipped.Look.path),
    )
    return _written(a, shipped.run(a.model, request, say=lambda line: print(line, file=sys.stderr, flush=True)))


def bench_local(a: argparse.Namespace, _: list[str]) -> Any:
    """Score a model and closed forms on one cube."""
    from eomm.evaluation.quality.local import bench_local as run

    _check_out(a)
    return _written(a, run(a.cube, a.model, code=a.code, surroundings=a.surroundings, seed=a.seed))


def format_result(found: Any) -> str:
    """For people."""
    from eomm.evaluation.text import format_result as format_

    return format_(found)


def named(specs: Sequence[str]) -> dict[str, Path]:
    """`NAME=DIR` to paths by name. Raises UsageError for another form, or a name given twice."""
    found: dict[str, Path] = {}
    for spec in specs:
        name, _, path = spec.partition("=")
        if not name or not path or name in found:
            raise UsageError(f"--beside {spec!r}: expected NAME=DIR, each name once")
        found[name] = Path(path)
    return found


def _check_out(a: argparse.Namespace) -> None:
    if a.out:
        from eomm.store.folders import check_free

        check_free(a.out, overwrite=a.overwrite, kind="quality")  # before the work, not after it


def _written(a: argparse.Namespace, found: Any) -> Any:
    from eomm.evaluation.result_file import write_result
    from eomm.evaluation.text import markdown
    from eomm.store.folders import new_directory, write_text

    if not a.out:
        return write_result(found, None, commands=[a.typed])
    with new_directory(a.out, kind="quality", overwrite=a.overwrite) as partial:
        write_text(partial / "quality.md", markdown(found))
        return write_result(found, partial / "quality.json", commands=[a.typed])
