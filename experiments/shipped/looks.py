"""The log of looks at report sets: who looked, when, at what, why. Written before anything is scored."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eomm.errors import DataError

LOG = Path(__file__).with_name("looks.jsonl")
"""Beside the code and under version control: a look cannot be taken back."""


def log_look(path: Path, *, models: Mapping[str, str], tasks: Sequence[str], command: str, why: str) -> int:
    """Append one look and return how many there are now.

    Args:
        path: of the log.
        models: hashes by name.
        tasks: that will be scored.
        command: as it was typed.
        why: in the words of whoever looks.

    Raises:
        DataError: the log cannot be written; without a log nothing is looked at.
    """
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "why": why,
        "models": dict(models),
        "tasks": list(tasks),
        "command": command,
    }
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        raise DataError(f"{path}: a look cannot be logged ({e.strerror}); name a file with --looks") from e
    return len(read_looks(path))


def read_looks(path: Path = LOG) -> list[dict[str, Any]]:
    """All looks, oldest first; none where there is no log. Raises DataError where a line is damaged."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except ValueError as e:
        raise DataError(f"{path}: a line is no JSON ({e}); restore the log from version control") from e
