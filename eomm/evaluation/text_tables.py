"""Tables as evaluations' results hold them, as text in columns."""

from collections.abc import Mapping
from typing import Any


def as_cell(value: Any) -> Any:
    """A value for a CSV file: text that spreadsheets would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in (*"=+-@\t\r",) else value


def text_table(table: Mapping[str, Any]) -> list[str]:
    """Lines of a table of `title`, `columns` and `rows`: an empty one, the title, then columns as wide as they need."""
    lines = [[str(cell) for cell in row] for row in (table["columns"], *table["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "",
        table["title"],
        *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in lines),
    ]
