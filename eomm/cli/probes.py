"""The command `eomm evaluate probes`. See parser.py."""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eomm.cli.arguments import RESULT, command, options_of, shared
from eomm.cli.numbers import day, whole
from eomm.errors import UsageError


def evaluate_probes(a: argparse.Namespace, _: list[str]) -> Any:
    """What simple models read from features, on labels of fields, blocks or sites held out."""
    from eomm.data.grid import EPOCH
    from eomm.data.tables import write_frame
    from eomm.evaluation.probes import run
    from eomm.evaluation.probes.words import leaderboard
    from eomm.evaluation.result_file import check_result_free, write_result
    from eomm.store.folders import check_free_file, write_text

    check_result_free(a.out, overwrite=a.overwrite, figures=a.figures)  # before the work, not after it
    for path in filter(None, (a.leaderboard, a.predictions)):
        check_free_file(path, overwrite=a.overwrite)
    reading = {n: getattr(a, n) for n in ("column", "regression", "ignore", "min_pixels")}
    sites = run.read_sites(a.cube, a.labels, **reading, classes=names_of(a.classes) or None)
    plan = plan_of(a)
    if a.date is not None:
        plan = dataclasses.replace(plan, days={s.site: (a.date - EPOCH).days for s in sites})
    with contextlib.ExitStack() as stack:
        work = a.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        methods = run.chosen(run.peers(a.features, _methods(a, sites, plan, work), work=a.work), a.only)
        dataset = a.dataset or f"{a.labels[0].stem}{f' {a.column}' if a.column else ''}"
        seen = run.seen_by(a.records, sites)
        result, outcome = run.evaluate_probes(sites, methods, plan, dataset=dataset, seen=seen, progress=True)
    written = write_result(result, a.out, figures=a.figures, commands=[a.typed])
    if a.leaderboard:
        write_text(a.leaderboard, leaderboard(result))
    if a.predictions:
        write_frame(outcome.frame(sites, methods), a.predictions)
    return written


def _methods(a: argparse.Namespace, sites: Sequence[Any], plan: Any, work: Path) -> Any:
    """A model's embeddings, made first where none are given, or embeddings alone; and the baselines that suit them."""
    from eomm.evaluation.probes import run
    from eomm.evaluation.probes.plan import MAIN
    from eomm.evaluation.probes.vectors import make_stores
    from eomm.models.directory import load_model

    if a.model is None:
        given = {MAIN: run.one_each(a.embedding, sites)} if a.embedding else {}
        return run.embeddings(sites, given, a.length) | run.baselines(sites, run.FRAMES, a.length or 16)
    model = load_model(a.model, code=a.code)
    stores = make_stores(model, sites, plan, work, given=a.embedding, only=a.only)
    frames = {name: encoder.frames for name, encoder in model.encoders.items()}
    return run.embeddings(sites, stores, a.length) | run.baselines(sites, frames, a.length or model.dim)


def plan_of(a: argparse.Namespace) -> Any:
    """What is asked of the probes."""
    from eomm.evaluation.probes.plan import ProbePlan

    return options_of(
        ProbePlan,
        a,
        modes=tuple(dict.fromkeys(a.mode or ["date"])),
        probes=tuple(dict.fromkeys(a.probe or ["knn", "linear"])),
        shares=tuple(sorted({percent(s) for s in a.shares})),
        seeds=tuple(range(a.seeds)),
    )


def names_of(classes: Sequence[str]) -> dict[str, str]:
    """LABEL or LABEL=NAME of each class, as names by label."""
    pairs = (text.partition("=") for text in classes)
    return {label: name or label for label, _, name in pairs}


def percent(text: str) -> float:
    """A share in per cent. Raises UsageError."""
    try:
        return float(text.rstrip("% ")) / 100
    except ValueError as e:
        raise UsageError(f"--shares {text!r}: expected per cent, such as 1 10 100") from e


def add_command(kinds: Any) -> None:
    """Add it to `eomm evaluate`."""
    example = (
        "eomm evaluate probes --cube c.zarr --labels crops.tif --model runs/fusion/model --records records "
        "--date 2018-07-05 --out probes.json --figures figures"
    )
    about = "what simple models read from features, with whole fields held out, beside baselines and peers"
    c = command(kinds, "probes", evaluate_probes, about, example, formatter="eomm.evaluation.text:format_result")
    c.add_argument("--cube", type=Path, action="append", required=True, help="repeat for several sites")
    labels_help = "GeoTIFF, NetCDF, GeoJSON or CSV (lon, lat, label), one for each cube"
    c.add_argument("--labels", type=Path, action="append", required=True, metavar="FILE", help=labels_help)
    c.add_argument("--dataset", metavar="NAME", help="what the labels are called in results (default: their file)")
    c.add_argument("--regression", action="store_true", help="labels are numbers to predict")
    shared(c, "column", "ignore", "classes", "min_pixels")
    c.add_argument("--model", type=Path, help="a model directory: `model`, and `random` beside it")
    shared(c, "code", length="use only the first K numbers of each embedding")
    embedding_help = (
        "of the cube, instead of embedding now, one for each cube; without --model no `random` stands beside"
    )
    c.add_argument("--embedding", type=Path, action="append", default=[], metavar="ZARR", help=embedding_help)
    features_help = (
        "a peer, repeat: NAME=PATH or NAME=FORM:PATH with FORM zarr, model, tiff, alphaearth, npy, tessera, or "
        "NAME=function:MODULE:FUNCTION of a module that you trust"
    )
    c.add_argument("--features", action="append", default=[], metavar="NAME=PATH", help=features_help)
    c.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run only these features")
    main_help = "whose differences to the others are given (default: %(default)s)"
    c.add_argument("--main", default="model", metavar="NAME", help=main_help)
    modes = ("date", "season", "series")
    mode_help = "features of one date, medians of seasons, or all dates; repeat (default: date)"
    c.add_argument("--mode", action="append", choices=modes, help=mode_help)
    c.add_argument("--date", type=day, help="for --mode date (default: the clearest)")
    probes = ("knn", "linear", "segmentation")
    c.add_argument("--probe", action="append", choices=probes, help="repeat (default: knn and linear)")
    shares_help = "of the labels that probes learn from, in per cent (default: 1 10 100)"
    c.add_argument("--shares", nargs="+", default=["1", "10", "100"], metavar="PERCENT", help=shares_help)
    c.add_argument("--seeds", type=whole, default=3, metavar="N", help="draws of them (default: %(default)s)")
    c.add_argument("--folds", type=whole, default=5, metavar="N", help="at most (default: %(default)s)")
    shared(
        c,
        "block_px",
        records="the training's record set: which sites it has seen",
        dates="first and last that features may use",
        groups="what is held out whole (default: %(default)s)",
        buffer_px="no training pixel nearer to a test pixel (default: %(default)s)",
        seed="of folds, intervals and the random encoder",
        out=RESULT,
    )
    c.add_argument("--work", type=Path, metavar="FOLDER", help="keep embeddings made on the way, to use them again")
    c.add_argument("--figures", type=Path, metavar="FOLDER", help="draw the figures there instead, as PNG")
    c.add_argument("--leaderboard", type=Path, metavar="CSV", help="also write scores in torchgeo-bench's columns")
    predictions_help = "what every probe said of every pixel while its group was held out: CSV or Parquet"
    shared(c, predictions=predictions_help, overwrite="replace files that exist")
