"""The commands `eomm evaluate …`. See parser.py."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from eomm.cli.arguments import RESULT, add_model, command, shared
from eomm.cli.gpp import add_command as add_gpp
from eomm.cli.numbers import day, number, whole
from eomm.cli.probes import add_command as add_probes

FORMATTER = "eomm.evaluation.text:format_result"


def evaluate_reconstruction(a: argparse.Namespace, _: list[str]) -> Any:
    """Hidden-target errors beside their baselines."""
    from eomm.evaluation.hidden.fusion import name_models
    from eomm.evaluation.hidden.reconstruction import evaluate_records
    from eomm.evaluation.result_file import check_result_free, write_result
    from eomm.models.directory import load_model

    check_result_free(a.out, overwrite=a.overwrite)  # before the work, not after it
    options: dict[str, Any] = {"dates": a.dates} if a.dates else {}
    options["beside"] = {name: load_model(path, code=a.code) for name, path in name_models(a.beside).items()}
    if a.labels:
        from eomm.data.cube import open_cube
        from eomm.evaluation.labels import read_labels

        labels = read_labels(a.labels, open_cube(a.cube).grid, column=a.label_column, ignore=a.ignore)
        options["classes"] = {
            name: labels.known & (labels.values == number) for number, name in enumerate(labels.classes)
        }
    options |= {name: getattr(a, name) for name in ("gaps", "length", "seed", "beside_pixels")}
    result = evaluate_records(load_model(a.model, code=a.code), a.cube, a.records, progress=True, **options)
    return write_result(result, a.out, commands=[a.typed])


def evaluate_fusion(a: argparse.Namespace, _: list[str]) -> Any:
    """What another sensor brings to hidden targets."""
    from eomm.evaluation.hidden.fusion import evaluate_fusion_records, name_models
    from eomm.evaluation.hidden.fusion_figure import check_ending, save_figure
    from eomm.evaluation.result_file import check_result_free, write_result
    from eomm.store.folders import check_free_file

    if a.figure:
        check_ending(a.figure)
        check_free_file(a.figure, overwrite=a.overwrite)
    check_result_free(a.out, overwrite=a.overwrite)  # before the work, not after it
    options = {n: getattr(a, n) for n in ("dates", "other", "gap", "shares", "ages", "gaps", "max_pixels", "seed")}
    result = evaluate_fusion_records(name_models(a.model), a.cube, a.records, code=a.code, progress=True, **options)
    if a.figure:
        save_figure(result, a.figure)
    return write_result(result, a.out, commands=[a.typed])


def evaluate_coherence(a: argparse.Namespace, _: list[str]) -> Any:
    """Coherence in space and time beside what blur alone does."""
    from eomm.data.cube import open_cube
    from eomm.evaluation.coherence.run import evaluate_coherence as measure
    from eomm.evaluation.coherence.vectors import make_stores
    from eomm.evaluation.result_file import check_result_free, write_result
    from eomm.models.directory import load_model

    check_result_free(a.out, overwrite=a.overwrite)  # before the work, not after it
    cube, model, fields = open_cube(a.cube), load_model(a.model, code=a.code), dict[str, Any]()
    if a.labels:
        from eomm.evaluation.fields import MIN_PX
        from eomm.evaluation.labels import read_labels

        labels = read_labels(a.labels, cube.grid, column=a.label_column, ignore=a.ignore, min_pixels=MIN_PX)
        what = f"{a.labels.name}{f', {a.label_column}' if a.label_column else ''}"
        fields = {"fields": labels.group, "fields_from": f"labels of {what}"}
    with tempfile.TemporaryDirectory() as folder:
        stores = make_stores(model, cube, a.embedding, Path(folder), seed=a.seed)
        result = measure(cube, stores, seed=a.seed, **fields)
    return write_result(result, a.out, commands=[a.typed])


def add_commands(commands: Any) -> None:
    """Add them to the parser's commands."""
    evaluate = commands.add_parser("evaluate", help="scores beside baselines")
    kinds = evaluate.add_subparsers(dest="kind", required=True, metavar="KIND")
    example = "eomm evaluate reconstruction --model runs/fusion/model --cube c.zarr --records records --out eval.json"
    summary = "errors at hidden acquisitions, beside baselines"
    c = command(kinds, "reconstruction", evaluate_reconstruction, summary, example, formatter=FORMATTER)
    add_model(c)
    shared(c, "cube", required=True, records="the training's record set: what it held out")
    dates_help = "dates to hide (default: those the records held out, else every third clear date)"
    c.add_argument("--dates", type=day, nargs="+", metavar="DATE", help=dates_help)
    shared(c, "gaps", seed="of samples, intervals and the random encoder")
    shared(
        c,
        "label_column",
        length="use only the first K numbers of each embedding",
        labels="score by class too: GeoTIFF, NetCDF or polygons",
        ignore="labels that are no class",
    )
    beside_help = "another model, such as the published one, on the same targets; repeat"
    c.add_argument("--beside", type=Path, action="append", default=[], metavar="MODEL", help=beside_help)
    pixels_help = "of the site, that models beside are scored on, as the slowest allows (default: %(default)s)"
    c.add_argument("--beside-pixels", type=whole, default=128, metavar="N", help=pixels_help)
    shared(c, out=RESULT, overwrite="replace --out where it exists")

    example = "eomm evaluate fusion --model runs/fusion/model --cube c.zarr --records records --out f.json"
    summary = "what another sensor brings, paired on the same targets"
    c = command(kinds, "fusion", evaluate_fusion, summary, example, formatter=FORMATTER)
    c.add_argument("--model", type=Path, action="append", required=True, help="a model directory; repeat to compare")
    shared(c, "cube", required=True)
    shared(c, "code", "gaps", records="the training's record set: what it held out")
    c.add_argument("--dates", type=day, nargs="+", metavar="DATE", help=dates_help)
    c.add_argument("--other", default="s1", help="modality that goes missing (default: %(default)s)")
    gap_help = "hidden while share and age vary (default: 30)"
    c.add_argument("--gap", type=whole, default=30, metavar="DAYS", help=gap_help)
    c.add_argument("--shares", type=number, nargs="+", default=[0, 0.25, 0.5, 0.75, 1], metavar="SHARE")
    c.add_argument("--ages", type=whole, nargs="+", default=[0, 3, 6, 12, 24], metavar="DAYS")
    c.add_argument("--max-pixels", type=whole, default=16_384, help="larger sites are sampled (default: %(default)s)")
    shared(c, seed="of samples, intervals and which acquisitions are dropped", out=RESULT)
    c.add_argument("--figure", type=Path, help="also draw it there, as PNG, PDF or SVG")
    shared(c, overwrite="replace --out and --figure where they exist")

    example = "eomm evaluate coherence --model runs/fusion/model --cube c.zarr --embedding e.zarr --out coherence.json"
    summary = "coherence in space and time, beside what blur alone does"
    c = command(kinds, "coherence", evaluate_coherence, summary, example, formatter=FORMATTER)
    add_model(c)
    shared(c, "cube", required=True)
    c.add_argument("--embedding", type=Path, required=True, help="made by the model of the cube")
    labels_help = "of fields: GeoTIFF, NetCDF or polygons (default: segments of the series' mean NDVI)"
    shared(c, "label_column", labels=labels_help, ignore="labels that are no field")
    shared(c, seed="of the random encoder, sampled pairs and intervals", out=RESULT)
    shared(c, overwrite="replace --out where it exists")

    add_gpp(kinds)
    add_probes(kinds)
