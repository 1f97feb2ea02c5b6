"""A result on disk: one JSON file, and its figures as PNG in the folder beside it that is named after it."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib

from eomm.errors import DataError
from eomm.evaluation.result import Difference, Figure, Result, Table, Verdict
from eomm.page.style import STYLE
from eomm.store.folders import check_free, check_free_file, new_directory, read_json, write_json

KIND = re.compile(r"[a-z][a-z0-9_ -]{0,40}")  # also part of figures' file names
T = TypeVar("T")
EXPECTED = (
    "kind a lower-case word, simulated true or false, conclusions and commands lists of text, tables of title, columns "
    "and rows as wide as they, figures of title, caption and png"
)


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
    parts, wrong = dict[str, Any](), []
    for name, parse in PARTS.items():
        try:
            if name in found or name in NEEDED:
                parts[name] = parse(found.get(name))
        except (AttributeError, KeyError, TypeError, ValueError):
            wrong.append(name)
    if wrong:
        raise DataError(f"{where}: {', '.join(wrong)} not as expected: {EXPECTED}")
    parts.setdefault("dataset", str(found.get("site") or ""))
    return Result(**parts, numbers={k: v for k, v in found.items() if k not in PARTS and k != "eomm:kind"})


def _list(value: Any, parse: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return tuple(map(parse, value))


def _exactly(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def _kind(value: Any) -> str:
    if not KIND.fullmatch(value):
        raise ValueError(value)
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return _list(value, lambda line: _exactly(line, str))


def _table(found: Any) -> Table:
    columns = _list(found["columns"], _cell)
    rows = _list(found["rows"], lambda row: _list(row, _cell))
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError(found)
    return Table(title=_exactly(found["title"], str), columns=columns, rows=rows, main=str(found.get("main", "")))


def _cell(value: object) -> str:
    """A cell as text: numbers to four digits, nothing for None, intervals and the like joined."""
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return {"None": "", "True": "yes", "False": "no"}.get(str(value), str(value))


def _figure(found: Any) -> Figure:
    title, caption, png = (str(found.get(part, "")) for part in ("title", "caption", "png"))
    return Figure(title=title, caption=caption, png=png)


def _verdict(found: Any) -> Verdict:
    gaps = {
        str(name): Difference(value=d["value"], interval=d["interval"] and tuple(d["interval"]), better=d["better"])
        for name, d in found["differences"].items()
    }
    return Verdict(claim=found["claim"], holds=found["holds"], because=_texts(found["because"]), differences=gaps)


PARTS: Mapping[str, Callable[[Any], Any]] = {
    "kind": _kind,
    "dataset": lambda value: str(value or ""),
    "simulated": lambda value: _exactly(value, bool),
    "headline": str,
    "conclusions": _texts,
    "verdicts": lambda value: _list(value, _verdict),
    "tables": lambda value: _list(value, _table),
    "figures": lambda value: _list(value, _figure),
    "protocol": lambda value: {str(k): str(v) for k, v in value.items()},
    "commands": _texts,
}
NEEDED = ("kind", "simulated", "conclusions", "tables")
