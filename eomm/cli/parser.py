"""The arguments of the command `eomm`. What each command does is handlers.py, or the file of its family."""

import argparse
from datetime import date
from importlib.metadata import version
from pathlib import Path

from eomm.cli import handlers
from eomm.cli.arguments import add_model, shared
from eomm.cli.arguments import command as command
from eomm.cli.evaluate import add_commands as add_evaluate
from eomm.cli.export import add_commands as add_export
from eomm.cli.heads import add_commands as add_heads
from eomm.cli.numbers import amount, day, number, shard_of, whole
from eomm.cli.prepare import add_commands as add_prepare
from eomm.cli.view import add_commands as add_view
from eomm.evaluation.quality.commands import add_commands as add_quality

INFO = "eomm.cli.info_words:format_info"


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments, examples and handlers."""
    parser = argparse.ArgumentParser(
        prog="eomm", description="Embeddings for every 10 m pixel at every clear Sentinel-2 date."
    )
    parser.add_argument("--version", action="version", version=f"eomm {version('eomm')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    example = """eomm demo
  eomm demo --real flanders.zarr               # a cube of your own
  eomm demo --real scenes --mapping safe_s2    # scenes of your own"""
    summary = "simulate, prepare, train, embed, report: the whole path"
    c = command(commands, "demo", handlers.demo, summary, example, formatter="eomm.cli.demo:format_demo")
    c.add_argument("--out", type=Path, default=Path("eomm-demo"), help="directory to make (default: %(default)s)")
    shared(c, "seed", "overwrite")
    c.add_argument("--real", type=Path, metavar="PATH", help="a cube or a folder of scenes instead of simulated sites")
    c.add_argument("--mapping", default="worldcereal_s2", help="of scenes of --real (default: %(default)s)")

    example = "eomm simulate site-a --seed 1 --start 2020-01-01 --end 2021-12-31"
    c = command(commands, "simulate", handlers.simulate, "write a simulated site's scenes and fluxes", example)
    c.add_argument("out", type=Path, help="folder to make")
    c.add_argument("--site", help="name of the site (default: the folder's)")
    shared(c, seed="another seed, another site (default: %(default)s)")
    c.add_argument("--size-px", type=whole, default=96, metavar="N", help="side of the site (default: %(default)s)")
    for name, ordinal, default in (("start", "first", date(2020, 1, 1)), ("end", "last", date(2021, 12, 31))):
        help_ = f"{ordinal} day (default: %(default)s)"
        c.add_argument(f"--{name}", type=day, metavar="DATE", default=default, help=help_)
    c.add_argument("--held-out", action="store_true", help="draw the site's parameters from other ranges")
    c.add_argument("--drought-year", type=whole, metavar="YEAR", help="a year with a dry, hot summer (default: none)")
    c.add_argument("--null-radar", action="store_true", help="null world: the radar knows nothing of vegetation")
    c.add_argument("--null-stress", action="store_true", help="null world: no stress acts on GPP")

    add_prepare(commands)

    example = "eomm train --config experiments/s2.py --workdir runs/s2 --config.data.records=records"
    c = command(commands, "train", handlers.train, "train one stage; run again to resume", example)
    c.add_argument("--config", required=True, help="an experiment; override its values by --config.KEY=VALUE")
    workdir_help = "of this run: checkpoints and logs, and in the end the model, in WORKDIR/model"
    c.add_argument("--workdir", type=Path, required=True, help=workdir_help)
    extend_help = (
        "go on from the model of the finished run in WORKDIR, as a run of its own in WORKDIR/extended-TOTAL with the "
        "configuration's warm-up and schedule over N steps; not what a longer run would have given"
    )
    c.add_argument("--extend", type=whole, metavar="N", help=extend_help)
    c.add_argument("--profile", metavar="FIRST:LAST", help="write a trace of these steps to WORKDIR/profile")
    hosts_help = "one of several processes: HOST:PORT of process 0; not needed under Slurm and on Cloud TPUs"
    c.add_argument("--coordinator", metavar="HOST:PORT", help=hosts_help)
    c.add_argument("--processes", type=whole, metavar="N", help="how many there are")
    c.add_argument("--process", type=whole, metavar="I", help="which one this is, from 0")

    plan = commands.add_parser("plan", help="what a run would take elsewhere; computed, nothing is run")
    plans = plan.add_subparsers(dest="what", required=True, metavar="WHAT")
    example = "eomm plan train --config experiments/s2.py --devices 64 --device TPU-v5p --batch-per-device 16"
    summary = "memory, speed and time of a training on other machines"
    c = command(plans, "train", handlers.plan_train, summary, example, formatter="eomm.training.plan:format_plan")
    c.add_argument("--config", required=True, help="an experiment; override its values by --config.KEY=VALUE")
    c.add_argument("--devices", type=whole, default=1, metavar="N", help="TPU chips or GPUs (default: %(default)s)")
    c.add_argument("--device", required=True, help='such as "TPU v5p" or H100; an unknown one lists those known')
    batch_help = "records on each device (default: config.data.batch_size divided among them)"
    c.add_argument("--batch-per-device", type=whole, metavar="N", help=batch_help)
    share_help = "of the peak that matrix products reach where nothing else binds (default: 0.4)"
    c.add_argument("--utilisation", type=number, default=0.4, metavar="SHARE", help=share_help)
    read_help = "GB of records that a host reads and decodes per second for each of its devices (default: 0.5)"
    c.add_argument("--read-gb", type=amount, default=0.5, metavar="GB", help=read_help)
    c.add_argument("--passes", type=whole, default=20, metavar="N", help="how often every record is seen (default: 20)")

    example = """eomm embed --model runs/fusion/model --cube a.zarr --out e.zarr
  eomm embed --status --out e.zarr                                            # how far it is
  eomm embed --model runs/fusion/model --cube a.zarr --out e.zarr --shard 3/8 # one of eight jobs
  eomm embed --model runs/fusion/model --cube newer.zarr --out e.zarr --append
  eomm embed --cubes many/cubes --out embeddings                              # many sites at once"""
    summary = "embed cubes; run again to go on where it stopped"
    c = command(commands, "embed", handlers.embed, summary, example, formatter="eomm.cli.handlers:format_embed")
    c.set_defaults(succeeded=lambda found: not found.get("failures"))
    add_model(c, required=False, default="base, which comes with eomm")
    which = c.add_mutually_exclusive_group()
    shared(which, cube="of `eomm prepare cube`")
    cubes_help = (
        "many: cubes, folders of cubes, or lists of them (a CSV with a column cube and perhaps name, or a text file "
        "with a path on each line, from its own folder); one that fails stops no other (exit status 1)"
    )
    which.add_argument("--cubes", type=Path, nargs="+", metavar="CUBES", help=cubes_help)
    out_help = "the embedding cube; with --cubes the folder to which they go, as OUT/NAME.zarr"
    c.add_argument("--out", type=Path, required=True, metavar="EMBEDDING.zarr", help=out_help)
    length_help = "keep the first K numbers of each vector (default: all)"
    shared(c, dates="both included (default: all)", length=length_help)
    dtype_help = "of the vectors; int8 by the scales in the model (default: %(default)s)"
    c.add_argument("--dtype", choices=["int8", "float32", "float16"], default="int8", help=dtype_help)
    c.add_argument("--modality", action="append", help="use only this one of the model's; repeat (default: all)")
    cloudy_help = "also vectors of clouded pixels, from their context alone; `valid` is false there"
    c.add_argument("--cloudy", action="store_true", help=cloudy_help)
    average_help = "store means over the clear dates at most N days before and after each (default: each date's own)"
    c.add_argument("--average-days", type=whole, default=0, metavar="N", help=average_help)
    block_help = "pixels on a side at once (default: %(default)s)"
    c.add_argument("--block", type=whole, default=64, metavar="N", help=block_help)
    c.add_argument("--memory", type=amount, metavar="GIB", help="smaller blocks where more would be needed at once")
    shard_help = "do part I of N, counted from 0 (of --cubes: of the cubes); whichever ends last completes the store"
    c.add_argument("--shard", type=shard_of, default=(0, 1), metavar="I/N", help=shard_help)
    scheduler_help = "by a running Dask scheduler's, such as tcp://head:8786"
    shared(c, workers="by N processes of this machine, on CPUs (1: this one)", scheduler=scheduler_help)
    c.add_argument("--status", action="store_true", help="say what is done, missing and failed, and stop")
    c.add_argument("--check", action="store_true", help="embed a seam of blocks twice and note the difference")
    append_help = "the cube has new acquisitions since: embed their dates and those whose windows they change"
    c.add_argument("--append", action="store_true", help=append_help)
    untrained_help = "by random parameters instead of the trained, as a baseline; not with int8"
    c.add_argument("--untrained", type=whole, metavar="SEED", help=untrained_help)
    shared(c, "overwrite")

    example = "eomm embed-points parcels.parquet --mapping parcels.toml --out vectors.parquet"
    summary = "vectors of points and parcels: a table of dated values in, a table of vectors out"
    c = command(commands, "embed-points", handlers.embed_points, summary, example)
    add_model(c, required=False, default="base, which comes with eomm")
    c.add_argument("table", type=Path, help="a row for each series and date (CSV, Parquet)")
    mapping_help = "what its columns mean, as of eomm prepare points"
    c.add_argument("--mapping", type=Path, required=True, metavar="TOML", help=mapping_help)
    c.add_argument("--out", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    around_help = "what an encoder that sees neighbours takes for them (default: %(default)s)"
    c.add_argument("--surroundings", choices=["lone", "alike"], default="lone", help=around_help)
    shared(c, "overwrite")

    example = "eomm models base"
    summary = "the models that come with eomm, or one's card"
    c = command(commands, "models", handlers.models, summary, example, formatter="eomm.cli.handlers:format_models")
    c.add_argument("name", nargs="?", help="print its model card")

    example = "eomm calibrate --model runs/fusion/model --records records --cube flanders.zarr"
    summary = "int8 scales and expected errors into a model; `eomm train` does it as far as the records allow"
    c = command(commands, "calibrate", handlers.calibrate, summary, example, formatter=INFO)
    add_model(c)
    c.add_argument("--records", type=Path, required=True, help="those that the model was trained on")
    cube_help = "fit errors to dates or a site that the records held out (default: their split validation or test)"
    shared(c, "seed", cube=cube_help)
    c.add_argument("--count", type=whole, default=32, help="records, or blocks of 8 x 8 px (default: %(default)s)")

    add_heads(commands)
    add_export(commands)
    add_view(commands)

    example = "eomm import-published fused.safetensors --out published"
    summary = "a released checkpoint of arXiv 2511.11706 to a model that `eomm embed` reads"
    c = command(commands, "import-published", handlers.import_published, summary, example, formatter=INFO)
    c.add_argument("checkpoint", type=Path, help="the fused model: .safetensors, or .ckpt (needs eomm[torch])")
    c.add_argument("--out", type=Path, required=True, help="the model directory")
    c.add_argument("--modality", action="append", choices=["s1", "s2"], help="one sensor alone, without the fusion")
    contract_help = "of your cubes where it is not the release's, such as s1_sigma0; recorded in the model; repeat"
    c.add_argument("--contract", action="append", default=[], metavar="NAME", help=contract_help)
    shared(c, "overwrite")

    add_evaluate(commands)

    example = """eomm report runs/fusion --cube c.zarr --embedding e.zarr --evaluation eval.json --out report.html
  eomm report eomm-demo --out page.html        # whatever lies below a folder"""
    summary = "training, embedding and evaluations on one self-contained HTML page"
    c = command(commands, "report", handlers.report, summary, example)
    folders_help = "runs, stores, or folders of them: what is not named is looked for there"
    c.add_argument("folders", type=Path, nargs="*", metavar="RUN_OR_FOLDER", help=folders_help)
    add_model(c, required=False)
    shared(c, "cube", overwrite="replace --out and its figures where they exist")
    c.add_argument("--embedding", type=Path)
    evaluation_help = "what eomm evaluate … --out wrote; repeat"
    c.add_argument("--evaluation", type=Path, action="append", default=[], metavar="FILE", help=evaluation_help)
    c.add_argument("--run", type=Path, action="append", default=[], help="a training's workdir; repeat")
    c.add_argument("--title", help="of the page")
    shared(c, "out", required=True)

    summary = "what a cube, record set, model or embedding is"
    c = command(commands, "info", handlers.info, summary, "eomm info records", formatter=INFO)
    c.add_argument("path", type=Path)
    figure_help = "of records: a map of sites, splits and the buffers around them, as PNG, SVG or PDF"
    c.add_argument("--figure", type=Path, metavar="FILE", help=figure_help)
    shared(c, overwrite="replace --figure where it exists")

    bench = commands.add_parser("bench", help="throughput of this machine, and how good vectors are")
    benches = bench.add_subparsers(dest="what", required=True, metavar="WHAT")
    for what in ("embed", "train"):
        command(benches, what, handlers.bench, f"throughput of eomm {what} at the default size", f"eomm bench {what}")
    add_quality(benches, command)
    return parser
