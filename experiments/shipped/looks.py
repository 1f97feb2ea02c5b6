"""The log of looks at report sets: who looked, when, at what, why. Written before anything is scored."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from eomm.errors import DataError
from eomm.evaluation.result import Json

LOG = Path(__file__).with_name("looks.jsonl")
"""Beside the code and under version control: a look cannot be taken back."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look at places that report.

    Attributes:
        why: in the words of whoever looks; nothing is looked at without.
        command: as it was typed.
        path: of the log.
    """

    why: str | None = None
    command: str = ""
    path: Path = LOG

    def log(self, *, models: Mapping[str, str], tasks: Sequence[str]) -> int:
        """Append it and return how many there are now.

        Args:
            models: hashes by name.
            tasks: that will be scored.

        Raises:
            DataError: the log cannot be written; without a log nothing is looked at.
        """
        entry: Json = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "why": self.why, "models": dict(models)}
        entry |= {"tasks": list(tasks), "command": self.command}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise DataError(f"{self.path}: a look cannot be logged ({e.strerror}); name a file with --looks") from e
        return len(read_looks(self.path))


def read_looks(path: Path = LOG) -> list[Json]:
    """All looks, oldest first; none where there is no log. Raises DataError where a line is damaged."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except ValueError as e:
        raise DataError(f"{path}: a line is no JSON ({e}); restore the log from version control") from e
