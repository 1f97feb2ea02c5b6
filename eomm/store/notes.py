"""What is done of a work that is divided into units, by notes beside what is made: so that it can go on after a kill.

FOLDER/request.json   what is made; notes of another request are none
FOLDER/UNIT.json      of a unit that is finished: the last thing to write of it
FOLDER/UNIT.failed    why the last attempt failed

Not what a unit is, nor who does it (workers.py). Processes that do units of one work need not know of each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eomm.errors import DataError
from eomm.store.fields import Json, check
from eomm.store.folders import read_json, write_json

FOLDER = ".units"
"""Of a store's units, in the unfinished store."""
REQUEST = "request.json"


class Notes:
    """The notes in a folder, which need not be there: then nothing is done.

    Attributes:
        folder: where they lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def request(self) -> Any:
        """What is made, JSON types; None where nothing is noted. Raises DataError where the note is damaged."""
        try:
            return read_json(self.folder / REQUEST)
        except DataError as e:
            if isinstance(e.__cause__, FileNotFoundError):
                return None
            raise DataError(
                f"{self.folder / REQUEST}: damaged, so that nobody knows of what the notes beside it are; remove "
                f"{self.folder} to begin anew"
            ) from e

    def begin(self, request: Any = None) -> None:
        """Make the folder, and note what is made, where that is one thing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if request is not None:
            write_json(self.folder / REQUEST, request)

    def done(self, unit: str | int, figures: Mapping[str, Any]) -> None:
        """Note that a unit is finished, and what is to be known of it."""
        write_json(self.folder / f"{unit}.json", dict(figures))
        (self.folder / f"{unit}.failed").unlink(missing_ok=True)

    def failed(self, unit: str | int, reason: str) -> None:
        """Note why a unit failed; the next run tries it again."""
        write_json(self.folder / f"{unit}.failed", {"reason": reason})

    def forget(self, unit: str | int) -> None:
        """A unit is about to be made anew."""
        (self.folder / f"{unit}.json").unlink(missing_ok=True)

    def made(self, unit: str | int) -> Json | None:
        """What was noted of a finished unit; None where it is not finished."""
        file = self.folder / f"{unit}.json"
        return dict(check(read_json(file), dict, str(file), remedy="remove it")) if file.is_file() else None

    def finished(self) -> set[str]:
        """The units that are, in one look at the folder."""
        return self._named(".json") - {Path(REQUEST).stem}

    def failure(self, unit: str | int) -> str | None:
        """Why a unit failed, or None."""
        file = self.folder / f"{unit}.failed"
        return str(read_json(file)["reason"]) if file.is_file() else None

    def failures(self) -> dict[str, str]:
        """Reasons by unit."""
        return {unit: str(read_json(self.folder / f"{unit}.failed")["reason"]) for unit in self._named(".failed")}

    def _named(self, ending: str) -> set[str]:
        try:
            return {p.name.removesuffix(ending) for p in self.folder.iterdir() if p.name.endswith(ending)}
        except FileNotFoundError:  # not begun, or another process has just finished what is made
            return set()
