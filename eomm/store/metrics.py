"""Reading metrics.jsonl, the log of a training: one JSON object per line, each with the step. Writing is training's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eomm.errors import DataError
from eomm.store.fields import COUNT, Fields, fits

LINE = Fields({"step": COUNT})


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What a log holds.

    Attributes:
        entries: {"step": …, name: number}; values that are no finite numbers are left out.
        unread: numbers of lines, from 1, that are none; half a line at the end, which a kill leaves, is not counted.
    """

    entries: list[dict[str, Any]]
    unread: list[int]


def read_lines(path: Path) -> Lines:
    """The lines of a log. Raises DataError where it is missing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing; is {path.parent} a training's workdir?") from e
    entries, unread = [], []
    for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if fits(entry, LINE):
            entries.append({k: v for k, v in entry.items() if fits(v, float)})
        else:
            unread.append(number)
    return Lines(entries=entries, unread=unread)
