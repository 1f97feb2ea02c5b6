"""What is noted of the units of a folder: which are done, of what they were made, which failed and why.

FOLDER/NAME.json    of what a unit was made; written last, so that a unit with it is done
FOLDER/NAME.failed  why the last attempt failed
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eomm.store.folders import read_json, write_json


class Notes:
    """The notes of one folder; a unit is known by its name.

    Args:
        folder: where they lie; made with the first.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def begin(self) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def made(self, name: str) -> dict[str, Any] | None:
        """What was noted of a finished unit, or None."""
        file = self._folder / f"{name}.json"
        return dict(read_json(file)) if file.is_file() else None

    def done(self, name: str, figures: Mapping[str, Any]) -> None:
        """Note that a unit is finished; the last thing to write of it."""
        write_json(self._folder / f"{name}.json", dict(figures))
        (self._folder / f"{name}.failed").unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """A unit is about to be made anew."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def failed(self, name: str, reason: str) -> None:
        """Note why a unit failed; the next run tries it again."""
        write_json(self._folder / f"{name}.failed", {"reason": reason})

    def failure(self, name: str) -> str | None:
        """Why a unit failed, or None."""
        file = self._folder / f"{name}.failed"
        return str(read_json(file)["reason"]) if file.is_file() else None
