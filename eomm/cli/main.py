"""The command `eomm`: parses arguments, calls one function, prints what it returns. No logic of its own.

Results go to standard output (`--json` for one JSON object), progress and messages to standard error.
"""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eomm.cli.evaluate import add_commands as add_evaluate
from eomm.cli.export import add_commands as add_export
from eomm.cli.prepare import add_commands as add_prepare
from eomm.errors import EommError, UsageError
from eomm.store.progress import progress_bar
from eomm.training.allocator import keep_freed_memory

Handler = Callable[[argparse.Namespace, list[str]], Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.handler not in (train, plan_train):
        parser.error(f"unknown arguments: {' '.join(rest)}; see eomm {arguments.command} --help")
    arguments.typed = shlex.join(["eomm", *(sys.argv[1:] if argv is None else argv)])
    keep_freed_memory()
    use_compilation_cache()
    try:
        result = arguments.handler(arguments, rest)
        if result is not None:
            print(json.dumps(result, indent=1) if arguments.json else text_of(arguments, result), flush=True)
            if "succeeded" in arguments and not arguments.succeeded(result):
                return 1
    except EommError as e:
        print(f"eomm: {type(e).__name__}: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `eomm info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        if e.filename is None:
            raise
        print(f"eomm: {type(e).__name__}: {refused_file(e)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\neomm: interrupted; run the same command again", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def refused_file(error: OSError) -> str:
    """What the system refused to read or write, and what to do."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename}: a file lies where a folder is expected; choose another path"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: a folder, expected a file; choose another path"
    return f"{error.filename}: {error.strerror}; check the path, who may read and write there, and the space left"


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs between runs, in the user's cache directory (or JAX_COMPILATION_CACHE_DIR).

    Of the processes of one run JAX lets only the first write there.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "eomm" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def text_of(arguments: argparse.Namespace, result: Any) -> str:
    """A result for people: the handler's own text, or one line per value."""
    if formatter := getattr(arguments, "formatter", None):
        return str(formatter(result))
    return "\n".join(f"{k}: {v}" for k, v in result.items())


# --- Handlers: imports inside, so that `eomm --help` is quick and preparation needs no JAX ------------------------


def simulate(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Write a simulated site."""
    from data_prep.simulate import simulate_site

    path = simulate_site(
        a.out,
        site=a.site or a.out.name,
        seed=a.seed,
        size_px=a.size_px,
        start=a.start,
        end=a.end,
        held_out=a.held_out,
        drought_year=a.drought_year,
        radar_sees_vegetation=not a.null_radar,
        stress=not a.null_stress,
    )
    return {"scenes": str(path), "simulated": True}


def train(a: argparse.Namespace, rest: list[str]) -> dict[str, Any] | None:
    """One stage, from a configuration to a model directory."""
    import jax

    from eomm.training.config import load_config
    from eomm.training.experiment import run_experiment
    from eomm.training.hosts import EndTogether, join

    config = load_config(a.config, overrides(rest))
    join(a.coordinator, a.processes, a.process)
    with EndTogether():
        model = run_experiment(config, a.workdir, profile=a.profile)
    return {"model": str(model)} if jax.process_index() == 0 else None


def plan_train(a: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """What a training takes on machines one does not have."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is run, and a device may be in use
    from eomm.training.config import load_config
    from eomm.training.plan import plan_training

    return plan_training(
        load_config(a.config, overrides(rest)),
        devices=a.devices,
        device=a.device,
        batch_per_device=a.batch_per_device,
        utilisation=a.utilisation,
        read_gb=a.read_gb,
        passes=a.passes,
    )


def embed(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """A model and a cube to an embedding cube, or how far that is."""
    from eomm.cli.info import describe
    from eomm.embedding.cluster import embed_on_workers
    from eomm.embedding.units import status

    if a.status:
        return status(a.out)
    if not a.model or not a.cube:
        raise UsageError("--model and --cube are needed to embed; with --status alone --out says how far it is")
    options = {
        "block": a.block,
        "memory_bytes": int(a.memory * 2**30) if a.memory else None,
        "modalities": a.modality,
        "dates": tuple(a.dates) if a.dates else None,
        "length": a.length,
        "dtype": a.dtype,
        "clear_only": not a.cloudy,
        "check": a.check,
        "append": a.append,
        "overwrite": a.overwrite,
    }
    with progress_bar("embed") as report:
        if a.workers or a.scheduler:
            if a.untrained is not None:
                raise UsageError("--untrained embeds in this process; leave --workers and --scheduler out")
            cluster = {"workers": a.workers, "scheduler": a.scheduler, "code": tuple(a.code)}
            path = embed_on_workers(a.model, a.cube, a.out, progress=report.counted, **cluster, **options)
        else:
            from eomm.embedding.run import embed as embed_cube
            from eomm.models.directory import load_model

            model = load_model(a.model, code=a.code)
            if a.untrained is not None:
                from eomm.evaluation.features_model import randomised

                model = randomised(model, a.untrained)
            path = embed_cube(model, a.cube, a.out, shard=a.shard, progress=report.counted, **options)
    return describe(path) if path.exists() and status(path)["complete"] else status(path)


def calibrate(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Scales and expected errors into a model directory."""
    from eomm.cli.info import describe
    from eomm.data.cube import open_cube
    from eomm.data.records import open_records
    from eomm.embedding.calibrate import calibrate as measure
    from eomm.models.directory import load_model, save_model

    cube = open_cube(a.cube) if a.cube else None
    records = open_records(a.records)
    model = measure(load_model(a.model, code=a.code), records, cube=cube, count=a.count, seed=a.seed)
    return describe(save_model(model, a.model, overwrite=True))


def import_published(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """A released checkpoint of the published model to a model directory."""
    from eomm.cli.info import describe
    from eomm.data.modality import KNOWN
    from eomm.models.published.release import import_published as convert

    unknown = set(a.contract) - set(KNOWN)
    if unknown:
        raise UsageError(f"--contract {', '.join(sorted(unknown))}: known are {', '.join(KNOWN)}")
    contracts = [KNOWN[c] for c in a.contract]
    modalities = a.modality or ("s1", "s2")
    return describe(convert(a.checkpoint, a.out, modalities=modalities, contracts=contracts, overwrite=a.overwrite))


def report(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """One HTML page."""
    from eomm.report.report import build

    named = {"cube": a.cube, "embedding": a.embedding, "model": a.model, "runs": a.run, "evaluations": a.evaluation}
    path = build(a.out, folders=a.folders, **named, code=a.code, title=a.title, overwrite=a.overwrite)
    return {"report": str(path)}


def info(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """What a store is."""
    from eomm.cli.info import describe

    found = describe(a.path)
    if a.figure:
        from eomm.data.coverage import draw_coverage

        if found["kind"] != "records":
            raise UsageError(f"--figure: {a.path} is a {found['kind']}; only records have a map of their sites")
        draw_coverage(found, a.figure)
    return found


def bench(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Throughput of this machine."""
    import importlib

    run = importlib.import_module(f"benchmarks.{a.what}").run
    result: dict[str, Any] = run()
    return result


def demo(a: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """The whole path on simulated sites."""
    from eomm.cli.demo import run_demo

    return run_demo(a.out, seed=a.seed, overwrite=a.overwrite)


# --- The parser ---------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments, examples and handlers."""
    parser = argparse.ArgumentParser(
        prog="eomm", description="Embeddings for every 10 m pixel at every clear Sentinel-2 date."
    )
    parser.add_argument("--version", action="version", version=f"eomm {version('eomm')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    c = command(commands, "demo", demo, "simulate, prepare, train, embed, report: the whole path", "eomm demo")
    c.set_defaults(formatter=format_demo)
    c.add_argument("--out", type=Path, default=Path("eomm-demo"), help="directory to make (default: %(default)s)")
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--overwrite", action="store_true")

    example = "eomm simulate site-a --seed 1 --start 2020-01-01 --end 2021-12-31"
    c = command(commands, "simulate", simulate, "write a simulated site's scenes and fluxes", example)
    c.add_argument("out", type=Path, help="folder to make")
    c.add_argument("--site", help="name of the site (default: the folder's)")
    c.add_argument("--seed", type=int, default=0, help="another seed, another site (default: %(default)s)")
    c.add_argument("--size-px", type=int, default=96, metavar="N", help="side of the site (default: %(default)s)")
    day = date.fromisoformat
    c.add_argument(
        "--start", type=day, metavar="DATE", default=date(2020, 1, 1), help="first day (default: %(default)s)"
    )
    c.add_argument(
        "--end", type=day, metavar="DATE", default=date(2021, 12, 31), help="last day (default: %(default)s)"
    )
    c.add_argument("--held-out", action="store_true", help="draw the site's parameters from other ranges")
    c.add_argument("--drought-year", type=int, metavar="YEAR", help="a year with a dry, hot summer (default: none)")
    c.add_argument("--null-radar", action="store_true", help="null world: the radar knows nothing of vegetation")
    c.add_argument("--null-stress", action="store_true", help="null world: no stress acts on GPP")

    add_prepare(commands, command)

    example = "eomm train --config experiments/s2.py --workdir runs/s2 --config.data.records=records"
    c = command(commands, "train", train, "train one stage; run again to resume", example)
    c.add_argument("--config", required=True, help="an experiment; override its values by --config.KEY=VALUE")
    workdir_help = "of this run: checkpoints and logs, and in the end the model, in WORKDIR/model"
    c.add_argument("--workdir", type=Path, required=True, help=workdir_help)
    c.add_argument("--profile", metavar="FIRST:LAST", help="write a trace of these steps to WORKDIR/profile")
    hosts_help = "one of several processes: HOST:PORT of process 0; not needed under Slurm and on Cloud TPUs"
    c.add_argument("--coordinator", metavar="HOST:PORT", help=hosts_help)
    c.add_argument("--processes", type=int, metavar="N", help="how many there are")
    c.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")

    plan = commands.add_parser("plan", help="what a run would take elsewhere; computed, nothing is run")
    plans = plan.add_subparsers(dest="what", required=True, metavar="WHAT")
    example = "eomm plan train --config experiments/s2.py --devices 64 --device TPU-v5p --batch-per-device 16"
    c = command(plans, "train", plan_train, "memory, speed and time of a training on other machines", example)
    c.set_defaults(formatter=format_plan)
    c.add_argument("--config", required=True, help="an experiment; override its values by --config.KEY=VALUE")
    c.add_argument("--devices", type=int, default=1, metavar="N", help="TPU chips or GPUs (default: %(default)s)")
    c.add_argument("--device", required=True, help='such as "TPU v5p" or H100; an unknown one lists those known')
    batch_help = "records on each device (default: config.data.batch_size divided among them)"
    c.add_argument("--batch-per-device", type=int, metavar="N", help=batch_help)
    share_help = "of the peak that matrix products reach where nothing else binds (default: 0.4)"
    c.add_argument("--utilisation", type=float, default=0.4, metavar="SHARE", help=share_help)
    read_help = "GB of records that a host reads and decodes per second for each of its devices (default: 0.5)"
    c.add_argument("--read-gb", type=float, default=0.5, metavar="GB", help=read_help)
    c.add_argument("--passes", type=int, default=20, metavar="N", help="how often every record is seen (default: 20)")

    example = """eomm embed --model runs/fusion/model --cube a.zarr --out e.zarr
  eomm embed --status --out e.zarr                                            # how far it is
  eomm embed --model runs/fusion/model --cube a.zarr --out e.zarr --shard 3/8 # one of eight jobs
  eomm embed --model runs/fusion/model --cube newer.zarr --out e.zarr --append"""
    c = command(commands, "embed", embed, "embed a cube; run again to go on where it stopped", example)
    c.set_defaults(formatter=format_embed)
    add_model(c, required=False)
    c.add_argument("--cube", type=Path, help="of `eomm prepare cube`")
    c.add_argument("--out", type=Path, required=True, metavar="EMBEDDING.zarr")
    c.add_argument("--length", type=int, metavar="K", help="keep the first K numbers of each vector (default: all)")
    dtype_help = "of the vectors; int8 by the scales in the model (default: %(default)s)"
    c.add_argument("--dtype", choices=["int8", "float32", "float16"], default="int8", help=dtype_help)
    c.add_argument("--modality", action="append", help="use only this one of the model's; repeat (default: all)")
    c.add_argument(
        "--dates", type=date.fromisoformat, nargs=2, metavar=("FIRST", "LAST"), help="both included (default: all)"
    )
    cloudy_help = "also vectors of clouded pixels, from their context alone; `valid` is false there"
    c.add_argument("--cloudy", action="store_true", help=cloudy_help)
    c.add_argument("--block", type=int, default=64, metavar="N", help="pixels on a side at once (default: %(default)s)")
    c.add_argument("--memory", type=float, metavar="GIB", help="smaller blocks where more would be needed at once")
    shard_help = "do part I of N, counted from 0; whichever ends last completes the store"
    c.add_argument("--shard", type=shard_of, default=(0, 1), metavar="I/N", help=shard_help)
    c.add_argument("--workers", type=int, default=0, metavar="N", help="by N processes of this machine, on CPUs")
    c.add_argument("--scheduler", metavar="ADDRESS", help="by a running Dask scheduler's, such as tcp://head:8786")
    c.add_argument("--status", action="store_true", help="say what is done, missing and failed, and stop")
    c.add_argument("--check", action="store_true", help="embed a seam of blocks twice and note the difference")
    append_help = "the cube has new acquisitions since: embed their dates and those whose windows they change"
    c.add_argument("--append", action="store_true", help=append_help)
    untrained_help = "by random parameters instead of the trained, as a baseline; not with int8"
    c.add_argument("--untrained", type=int, metavar="SEED", help=untrained_help)
    c.add_argument("--overwrite", action="store_true")

    example = "eomm calibrate --model runs/fusion/model --records records --cube flanders.zarr"
    summary = "int8 scales and expected errors into a model; `eomm train` does it as far as the records allow"
    c = command(commands, "calibrate", calibrate, summary, example)
    c.set_defaults(formatter=format_info)
    add_model(c)
    c.add_argument("--records", type=Path, required=True, help="those that the model was trained on")
    cube_help = "fit errors to dates or a site that the records held out (default: their split validation or test)"
    c.add_argument("--cube", type=Path, help=cube_help)
    c.add_argument("--count", type=int, default=32, help="records, or blocks of 8 x 8 px (default: %(default)s)")
    c.add_argument("--seed", type=int, default=0)

    add_export(commands, command)

    example = "eomm import-published fused.safetensors --out published"
    summary = "a released checkpoint of arXiv 2511.11706 to a model that `eomm embed` reads"
    c = command(commands, "import-published", import_published, summary, example)
    c.set_defaults(formatter=format_info)
    c.add_argument("checkpoint", type=Path, help="the fused model: .safetensors, or .ckpt (needs eomm[torch])")
    c.add_argument("--out", type=Path, required=True, help="the model directory")
    c.add_argument("--modality", action="append", choices=["s1", "s2"], help="one sensor alone, without the fusion")
    contract_help = "of your cubes where it is not the release's, such as s1_sigma0; recorded in the model; repeat"
    c.add_argument("--contract", action="append", default=[], metavar="NAME", help=contract_help)
    c.add_argument("--overwrite", action="store_true")

    add_evaluate(commands, command, add_model)

    example = """eomm report runs/fusion --cube c.zarr --embedding e.zarr --evaluation eval.json --out report.html
  eomm report eomm-demo --out page.html        # whatever lies below a folder"""
    summary = "training, embedding and evaluations on one self-contained HTML page"
    c = command(commands, "report", report, summary, example)
    folders_help = "runs, stores, or folders of them: what is not named is looked for there"
    c.add_argument("folders", type=Path, nargs="*", metavar="RUN_OR_FOLDER", help=folders_help)
    add_model(c, required=False)
    c.add_argument("--cube", type=Path)
    c.add_argument("--embedding", type=Path)
    evaluation_help = "what eomm evaluate … --out wrote; repeat"
    c.add_argument("--evaluation", type=Path, action="append", default=[], metavar="FILE", help=evaluation_help)
    c.add_argument("--run", type=Path, action="append", default=[], help="a training's workdir; repeat")
    c.add_argument("--title", help="of the page")
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--overwrite", action="store_true", help="replace --out and its figures where they exist")

    c = command(commands, "info", info, "what a cube, record set, model or embedding is", "eomm info records")
    c.set_defaults(formatter=format_info)
    c.add_argument("path", type=Path)
    figure_help = "of records: a map of sites, splits and the buffers around them, as PNG, SVG or PDF"
    c.add_argument("--figure", type=Path, metavar="FILE", help=figure_help)

    c = command(commands, "bench", bench, "throughput at the default size", "eomm bench embed --json")
    c.add_argument("what", choices=["embed", "train"])
    return parser


def command(commands: Any, name: str, handler: Handler, summary: str, example: str) -> argparse.ArgumentParser:
    """A sub-command with `--json` and an example in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=handler)
    return parser


def add_model(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The arguments that name a model."""
    parser.add_argument("--model", type=Path, required=required, help="a model directory")
    parser.add_argument("--code", action="append", default=[], metavar="MODULE", help="trust encoders in this module")


def shard_of(text: str) -> tuple[int, int]:
    """`"3/8"` to (3, 8). Raises ArgumentTypeError where it is none."""
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text}: expected I/N such as 3/8, I from 0 to N - 1")
    return int(index), int(count)


def overrides(rest: list[str]) -> list[str]:
    """The arguments that override a configuration's values. Raises UsageError for any other."""
    unknown = [r for r in rest if not r.startswith("--config.")]
    if unknown:
        raise UsageError(f"unknown arguments: {' '.join(unknown)}; values are overridden by --config.KEY=VALUE")
    return rest


def format_info(result: dict[str, Any]) -> str:
    """For people."""
    from eomm.cli.info_words import format_info as format_

    return format_(result)


def format_embed(result: dict[str, Any]) -> str:
    """For people: a finished store, or how far one is."""
    return format_info(result) if "kind" in result else "\n".join(f"{k}: {v}" for k, v in result.items())


def format_plan(result: dict[str, Any]) -> str:
    """For people."""
    from eomm.training.plan import format_plan as format_

    return format_(result)


def format_demo(result: dict[str, Any]) -> str:
    """For people."""
    from eomm.cli.demo import format_demo as format_

    return format_(result)
