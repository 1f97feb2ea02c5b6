"""Results as text: on a terminal, and as cells of CSV files. Words are say.py's."""

from eomm.evaluation import say
from eomm.evaluation.result import Result, Table


def format_result(result: Result) -> str:
    """For people: what it is of, verdicts and conclusions, the protocol, then tables."""
    head = f"{'SIMULATED. ' if result.simulated else ''}{title(result)}"
    lines = [*map(say.verdict, result.verdicts), *result.conclusions]
    facts = [f"{name}: {fact}" for name, fact in result.protocol.items()]
    return "\n".join([head, *(f"- {x}" for x in lines), *facts, *(x for t in result.tables for x in text_table(t))])


def title(result: Result) -> str:
    """Kind and data set, as a heading."""
    name = {"gpp": "GPP"}.get(result.kind, say.sentence(result.kind.replace("_", " ")))
    return name + (f", {result.dataset}" if result.dataset else "")


def text_table(table: Table) -> list[str]:
    """An empty line, the title, then columns as wide as they need."""
    lines = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "",
        table.title,
        *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in lines),
    ]


def markdown(result: Result) -> str:
    """The same in Markdown, tables first."""
    lines = []
    for table in result.tables:
        rows = ("| " + " | ".join(row) + " |" for row in table.rows)
        lines += ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|", *rows, ""]
    return "\n".join([*lines, *map(say.verdict, result.verdicts), *result.conclusions, ""])


def as_cell(value: object) -> object:
    """A value for a CSV file: text that spreadsheets would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in (*"=+-@\t\r",) else value
