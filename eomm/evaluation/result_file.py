"""A result on disk: one JSON file, and its figures as PNG in the folder beside it that is named after it."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from eomm.errors import DataError
from eomm.evaluation.result import Better, Difference, Figure, Json, Result, Table, Verdict
from eomm.page.style import STYLE
from eomm.store.fields import Fields, ListOf, Maybe, TableOf, check
from eomm.store.folders import check_free, check_free_file, new_directory, read_json, write_json

KIND = re.compile(r"[a-z][a-z0-9_ -]{0,40}")  # also part of figures' file names
DIFFERENCE = Fields({"value": Maybe(float), "interval": Maybe(ListOf(of=float, count=2)), "better": Better})
TEXTS = ListOf(of=str)
PARTS = {
    "kind": str,
    "dataset?": Maybe(str),
    "simulated": bool,
    "headline?": str,
    "conclusions": TEXTS,
    "verdicts?": ListOf(
        of=Fields({"claim": str, "holds": Maybe(bool), "because": TEXTS, "differences": TableOf(DIFFERENCE)})
    ),
    "tables": ListOf(of=Fields({"title": str, "columns": list, "rows": ListOf(of=list)})),
    "figures?": ListOf(of=Fields({"title?": str, "caption?": str, "png?": str})),
    "protocol?": TableOf(Any),
    "commands?": TEXTS,
}
"""What stands in a result's file; the evaluation's own numbers stand beside them."""


def figures_beside(path: Path) -> Path:
    """Where the figures of a result's file lie."""
    return path.with_name(f"{path.stem}_figures")


def check_result_free(path: Path | None, *, overwrite: bool, figures: Path | None = None) -> None:
    """Raise UsageError where a result or its figures would replace something; asked before the work."""
    folder = figures or (figures_beside(path) if path else None)
    if path:
        check_free_file(path, overwrite=overwrite)
    if folder:
        check_free(folder, overwrite=overwrite, kind="figures")


def write_result(
    result: Result, path: Path | None, *, figures: Path | None = None, commands: Sequence[str] = ()
) -> Result:
    """Draw the figures and write the file.

    Args:
        result: of an evaluation.
        path: of the file; None: none is written.
        figures: the folder for them; beside the file when None, and without a file not drawn.
        commands: that repeat it.

    Returns:
        The result as written.
    """
    result = dataclasses.replace(result, commands=tuple(commands) or result.commands)
    folder = figures or (figures_beside(path) if path else None)
    if folder and (to_draw := [f for f in result.figures if f.draw]):
        below = os.path.relpath(folder, path.parent) if path else str(folder)
        drawn = []
        with new_directory(folder, kind="figures", overwrite=True) as partial, matplotlib.rc_context(STYLE):
            for one in to_draw:
                assert one.draw is not None
                one.draw().savefig(partial / f"{one.name}.png", dpi=130)
                drawn.append(dataclasses.replace(one, png=f"{below}/{one.name}.png"))
        result = dataclasses.replace(result, figures=tuple(drawn))
    if path:
        write_json(path, result.to_json())
    return result


def read_result(path: Path | str) -> Result:
    """A result's file. Raises DataError: missing, damaged, or not the result of an evaluation."""
    return result_of(read_json(Path(path)), str(path))


def is_result(found: Any) -> bool:
    """Whether JSON is what `eomm evaluate …` writes."""
    if not isinstance(found, dict):
        return False
    return str(found.get("eomm:kind", "")).startswith("evaluation") or {
        "kind",
        "simulated",
        "conclusions",
        "tables",
    } <= set(found)


def result_of(found: Any, where: str) -> Result:
    """A result of its JSON, whoever wrote it.

    Raises DataError, naming `where`: it is none, or one of an eomm that wrote no sentences.
    """
    if not is_result(found):
        raise DataError(
            f"{where}: not the result of an evaluation; expected JSON with kind, simulated, conclusions, tables and "
            "figures, as eomm evaluate … --out writes it"
        )
    if "conclusions" not in found:
        kind = str(found["eomm:kind"]).removeprefix("evaluation of ")
        raise DataError(
            f"{where}: an earlier eomm wrote it, without conclusions and tables; expected those of eomm 0.2 or later: "
            f"evaluate again, by eomm evaluate {kind} … --out FILE"
        )
    check(found, Fields(PARTS), where, remedy="evaluate again, or mend what wrote it")
    if not KIND.fullmatch(found["kind"]):
        raise DataError(f"{where}: kind is {found['kind'][:60]!r}, expected a lower-case word; evaluate again")
    known = {name.removesuffix("?") for name in PARTS}
    return Result(
        kind=found["kind"],
        simulated=found["simulated"],
        headline=found.get("headline", ""),
        conclusions=tuple(found["conclusions"]),
        commands=tuple(found.get("commands", ())),
        dataset=str(found.get("dataset", found.get("site")) or ""),
        verdicts=tuple(map(_verdict, found.get("verdicts", ()))),
        tables=tuple(_table(one, where) for one in found["tables"]),
        figures=tuple(
            Figure(**{part: one.get(part, "") for part in ("title", "caption", "png")})
            for one in found.get("figures", ())
        ),
        protocol={name: str(fact) for name, fact in found.get("protocol", {}).items()},
        numbers={k: v for k, v in found.items() if k not in (*known, "eomm:kind")},
    )


def _table(found: Json, where: str) -> Table:
    columns, *rows = (tuple(map(_cell, row)) for row in (found["columns"], *found["rows"]))
    if not columns or any(len(row) != len(columns) for row in rows):
        raise DataError(f"{where}: a row of the table {found['title'][:60]!r} is not as wide as it; evaluate again")
    return Table(title=found["title"], columns=columns, rows=tuple(rows), main=str(found.get("main", "")))


def _cell(value: object) -> str:
    """A cell as text: numbers to four digits, nothing for None, intervals and the like joined."""
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return {"None": "", "True": "yes", "False": "no"}.get(str(value), str(value))


def _verdict(found: Json) -> Verdict:
    gaps = {
        str(name): Difference(value=d["value"], interval=d["interval"] and tuple(d["interval"]), better=d["better"])
        for name, d in found["differences"].items()
    }
    because = tuple(found["because"])
    return Verdict(claim=found["claim"], holds=found["holds"], because=because, differences=gaps)
