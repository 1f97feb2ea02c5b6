"""Sections of a report for one evaluation: hidden targets with their figures drawn here, any other as its result says.

What every evaluation's result holds is `tables` of `title`, `columns` and `rows`, and `figures` of `title`, `caption`
and `png`, a file beside the result. A cell is text or a number; a line below its first is small print.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube
from eomm.errors import DataError
from eomm.evaluation.hidden.fusion_figure import fusion_figure
from eomm.evaluation.hidden.methods import LABELS
from eomm.evaluation.hidden.reconstruction_words import meaning, shown_gap
from eomm.page.html import Section, image, paragraph, table
from eomm.report import figures
from eomm.report.data import Pixels
from eomm.report.gather import Evaluation

MAX_PNG_BYTES = 20 * 2**20


def evaluation_sections(evaluation: Evaluation, cube: Cube | None, folder: Path, number: int | None) -> list[Section]:
    """All figures and tables of an evaluation.

    Args:
        evaluation: in the shared form.
        cube: of the page; series are drawn where it is the evaluation's site.
        folder: figures go there.
        number: told in names of files and titles where a page has several evaluations; None for one.

    Raises:
        DataError: a figure is missing or no PNG.
    """
    prefix = "" if number is None else f"{number}_"
    where = "" if number is None else f" ({evaluation.about})"
    drawn: list[tuple[str, Path, str]] = []
    if evaluation.kind == "reconstruction":
        drawn = draw_reconstruction(evaluation.result, cube, folder, prefix)
    elif evaluation.kind == "fusion" and "curves" in evaluation.result:
        path = _save(fusion_figure(evaluation.result), folder / f"{prefix}fusion.png")
        words = "Errors above, what the other sensor brings below, by readout; bars: 95 % intervals over dates."
        drawn = [("What another sensor brings", path, words)]
    tables_html = "".join(map(as_html, evaluation.result["tables"]))
    if evaluation.kind == "reconstruction":
        tables_html += paragraph(meaning(evaluation.result), kind="note")
    kept = [
        (
            str(f.get("title", evaluation.kind)),
            copy_png(evaluation, f, folder / f"{prefix}{evaluation.kind}_{i}.png"),
            f,
        )
        for i, f in enumerate(evaluation.result["figures"])
    ]
    drawn += [(title, path, str(f.get("caption", ""))) for title, path, f in kept]
    if not drawn:
        return [Section(title=evaluation.about, body=tables_html)] if tables_html else []
    sections = [Section(title=title + where, body=image(path, title, caption)) for title, path, caption in drawn]
    first = sections[0]
    return [Section(title=first.title, body=first.body + tables_html), *sections[1:]]


def draw_reconstruction(
    result: Mapping[str, Any], cube: Cube | None, folder: Path, prefix: str
) -> list[tuple[str, Path, str]]:
    """Title, file and caption of every figure of hidden targets that the data at hand allow."""
    gap, main = shown_gap(result), LABELS[result["main"]]
    found = [
        (
            "Hidden-target skill",
            "skill",
            figures.skill_figure(result),
            "All test dates are hidden from every method, with everything within the gap around the current target. "
            "Left: mean over dates of the mean over pixels and bands, with 95 % intervals over dates. Right: paired "
            "differences on the same targets; an interval that leaves 0 is resolved.",
        ),
        (
            "By band, and compression",
            "bands",
            figures.band_figure(result, gap),
            "Left: hidden targets. Right: the centre is visible to the encoder, so that decoding it is compression; "
            "PCA of the bands stands beside it.",
        ),
    ]
    examples = result.get("examples") or []
    if examples and cube is not None and cube.site == result["site"] and result["modality"] in cube.groups:
        pixels = Pixels(cube[result["modality"]])
        series = [pixels.series(e["row"], e["col"]) for e in examples]
        wavelengths = [b.wavelength_nm for b in pixels.group.modality.bands]
        found += [
            (
                "Spectra of hidden targets",
                "spectra",
                figures.spectra_figure(result, gap, wavelengths),
                f"Observed spectra of test dates and what {main} and linear interpolation give when everything within "
                f"±{gap} days is hidden, at pixels of different cover.",
            ),
            (
                "Series at the same pixels",
                "series",
                figures.series_figure(result, gap, series, pixels.shown_bands()),
                "Grey: what other dates show; circles: test dates, hidden from all methods. Points within the gap "
                "around a test date were hidden from its prediction too.",
            ),
        ]
    return [(title, _save(figure, folder / f"{prefix}{name}.png"), words) for title, name, figure, words in found]


def as_html(found: Mapping[str, Any]) -> str:
    """A table of the shared form, its title above."""
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    for first, *cells in found["rows"]:
        rows.append((cell_text(first), [_split(c) for c in cells]))
    head = [cell_text(c) for c in found["columns"]]
    return paragraph(f"{found['title']}.") + table(head, rows, main=str(found.get("main", "")))


def cell_text(value: object) -> str:
    """A cell as text: numbers to four digits, nothing for None, intervals and the like joined."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " to ".join(map(cell_text, value))
    return str(value)


def copy_png(evaluation: Evaluation, figure: Mapping[str, Any], path: Path) -> Path:
    """A figure's file, or its data where the result holds them, under the report's own folder."""
    png = str(figure.get("png", ""))
    if png.startswith("data:image/png;base64,"):
        try:
            data = base64.b64decode(png.partition(",")[2], validate=True)
        except binascii.Error as e:
            raise DataError(f"{evaluation.about}: the figure {figure.get('title')!r} is damaged ({e})") from e
        where = "its data"
    else:
        source = evaluation.folder / png
        if not source.resolve().is_relative_to(evaluation.folder.resolve()):
            raise DataError(
                f"{evaluation.source or evaluation.about}: the figure {png} lies outside its folder and is not shown; "
                "put it beside the result and name it relative to that"
            )
        if not png or not source.is_file():
            raise DataError(
                f"{source}: missing; it is the figure {figure.get('title')!r} of "
                f"{evaluation.source or evaluation.about}: keep them together, or evaluate again"
            )
        if source.stat().st_size > MAX_PNG_BYTES:
            raise DataError(
                f"{source}: {source.stat().st_size / 2**20:.0f} MiB, a page takes at most 20; draw it smaller"
            )
        data, where = source.read_bytes(), str(source)
    if not data.startswith(b"\x89PNG\r\n"):
        raise DataError(f"{where}: is no PNG; figures of evaluations are PNG files")
    path.write_bytes(data)
    return path


def _split(cell: object) -> tuple[str, str]:
    head, _, small = cell_text(cell).partition("\n")
    if not small and head.endswith(")") and " (" in head and " to " in head:
        head, _, small = head[:-1].rpartition(" (")
    return head, small


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=130)
    return path
