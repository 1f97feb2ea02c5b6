"""`eomm demo --real PATH`: the shipped model on data of one's own: embedded, scored on hidden dates, and a page."""

from pathlib import Path

from eomm.cli.demo import (
    GAPS,
    MARKER,
    SHIPPED,
    Timer,
    embedding_of,
    errors_of,
    make_room,
    outset_of,
    page_of,
    summarise,
)
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.folders import check_apart, entered, write_json
from eomm.store.progress import progress_bar

MAPPING = "worldcereal_s2"
PIXELS = 4096  # of a larger site that are scored


def run_real(source: Path | str, out: Path | str, *, mapping: str = MAPPING, overwrite: bool = False) -> Json:
    """Embed a cube, or scenes, with the shipped model and say how well it predicts dates that it does not see.

    Every third date that is at least 90 % clear is hidden from it, and what lies around that within each gap.

    Args:
        source: a site cube, or a folder of Sentinel-2 scenes.
        out: directory to make.
        mapping: of the scenes, as of `eomm prepare cube --source MAPPING=FOLDER`.
        overwrite: replace an earlier demo.

    Returns:
        What `out/summary.json` holds: `seconds`, `steps`, `verdict` (a sentence), `scores` by gap, `embeddings`,
        `view`, `simulated`.

    Raises:
        UsageError: `out` exists, or is part of the source.
        DataError: the source is no cube, and holds no scenes of the mapping.
    """
    source, work = entered(source), entered(out)
    check_apart(work, {"source": source})
    if not source.is_dir():
        raise UsageError(f"{source}: is no folder; expected a cube of eomm prepare cube, or a folder of scenes")
    make_room(work, overwrite=overwrite)
    write_json(work / MARKER, {"made_by": "eomm demo", "source": str(source)})
    timer, cube = Timer(), source
    if not (source / "zarr.json").exists():
        cube = work / "cubes" / "site.zarr"
        with timer.step("prepare"), progress_bar("prepare") as bar:
            from data_prep.cubes.build import Source, build_cube

            sources = [Source(path=source, mapping=mapping)]
            build_cube(cube, site=source.name, sources=sources, progress=bar.named)
    with timer.step(f"embed by {SHIPPED}"):
        embedding = embedding_of(SHIPPED, cube, work / "embeddings" / "site.zarr")
    with timer.step("evaluate"):
        from eomm.data.cube import open_cube
        from eomm.data.held_out import days_to_hide
        from eomm.evaluation.hidden.reconstruction import evaluate
        from eomm.evaluation.result_file import write_result
        from eomm.models.directory import load_model

        opened = open_cube(cube)
        hidden = days_to_hide(opened, "s2", {}, cube)
        evaluation = evaluate(
            load_model(SHIPPED), opened, dates=hidden, gaps=GAPS, max_pixels=PIXELS, probes=False, progress=True
        )
        write_result(evaluation, work / "evaluation.json")
    with timer.step("view"):
        view = page_of(embedding, cube, work)
    return summarise(work, timer, evaluation, embeddings=str(embedding), view=view)


def format_real(summary: Json) -> str:
    """The end of the demo for people."""
    return "\n".join(
        [
            *outset_of(summary),
            f"mean absolute error of hidden reflectance of {SHIPPED} as it ships (eomm models: where it was trained):",
            *errors_of(summary),
            f"embeddings: {summary['embeddings']}",
            f"open in a browser, and click a pixel: {summary['view']}",
        ]
    )
