"""A result as sections of a page: its figures, tables and protocol, in its own order. Knows no kind of evaluation."""

from collections.abc import Sequence
from pathlib import Path

from eomm.errors import DataError
from eomm.evaluation import say
from eomm.evaluation.result import Figure, Table
from eomm.evaluation.text import title
from eomm.page.html import Section, card, conclusions, image, paragraph, table
from eomm.report.gather import Source

MAX_PNG_BYTES = 20 * 2**20


def findings(source: Source, *, simulated: bool) -> str:
    """Verdicts and conclusions; marked where `simulated`."""
    result = source.result
    lines = [*map(say.verdict, result.verdicts), *result.conclusions]
    return conclusions(lines, head=title(result), simulated=simulated)


def sections_of(source: Source, folder: Path, number: int | None, *, simulated: bool) -> list[Section]:
    """A section for each figure, the first with all tables; one of these alone where there is no figure.

    Args:
        source: of a result.
        folder: figures go there.
        number: told in names of files and titles where a page has several results; None for one.
        simulated: mark the sections.

    Raises:
        DataError: a figure is missing or no PNG.
    """
    result = source.result
    prefix, where = ("", "") if number is None else (f"{number}_", f" ({title(result)})")
    text = "".join(map(as_html, result.tables)) + (card(result.protocol) if result.protocol else "")
    if not result.figures:
        return [Section(title=title(result), body=text, simulated=simulated)] if text else []
    made = []
    for i, figure in enumerate(result.figures):
        path = save(source, figure, folder / f"{prefix}{figure.name or Path(figure.png).stem or i}.png")
        body = image(path, figure.title, figure.caption) + (text if i == 0 else "")
        made.append(Section(title=(figure.title or title(result)) + where, body=body, simulated=simulated))
    return made


def as_html(found: Table) -> str:
    """A table, its title above; what stands in brackets in a cell is small print."""
    rows = [(first, [_split(c) for c in cells]) for first, *cells in found.rows]
    return paragraph(f"{found.title}.") + table(found.columns, rows, main=found.main)


def save(source: Source, figure: Figure, path: Path) -> Path:
    """Draw a figure, or copy the file that it was drawn into, under the report's own folder."""
    if figure.draw:
        figure.draw().savefig(path, dpi=130)
        return path
    folder = source.file.parent if source.file else Path()
    png, whose = folder / figure.png, source.file or title(source.result)
    if not png.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{whose}: the figure {figure.png} lies outside its folder and is not shown; put it beside the result and "
            "name it relative to that"
        )
    if not figure.png or not png.is_file():
        raise DataError(
            f"{png}: missing; it is the figure {figure.title!r} of {whose}: keep them together, or evaluate again"
        )
    if png.stat().st_size > MAX_PNG_BYTES:
        raise DataError(f"{png}: {png.stat().st_size / 2**20:.0f} MiB, a page takes at most 20; draw it smaller")
    data = png.read_bytes()
    if not data.startswith(b"\x89PNG\r\n"):
        raise DataError(f"{png}: is no PNG; figures of evaluations are PNG files")
    path.write_bytes(data)
    return path


def headline(sources: Sequence[Source]) -> str:
    """What it came to in one sentence: the first result's that has one, else the first finding."""
    first = (s.result.headline for s in sources)
    return next(filter(None, first), next((line for s in sources for line in s.result.conclusions), ""))


def _split(cell: str) -> tuple[str, str]:
    head, _, small = cell.partition("\n")
    if not small and head.endswith(")") and " (" in head and " to " in head:
        head, _, small = head[:-1].rpartition(" (")
    return head, small
