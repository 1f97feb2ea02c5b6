"""Whether a store that is being read is still the one that was opened. Not whether it is whole (shards.py).

Stores are replaced as a whole, by a rename, and never changed in place. Who reads one block by block would mix two
without a word if another process put a new one in its place: so the head is looked at again after every read.
"""

import hashlib
import os
from pathlib import Path

from eomm.errors import DataError


class Identity:
    """A store as it was when it was opened.

    Args:
        head: the file by which the store is known, such as `zarr.json` or `manifest.json`.

    Raises:
        DataError: it is not there.
    """

    def __init__(self, head: Path):
        self._head = head
        self._stat, self._content = self._look(), self._digest()

    def check(self) -> None:
        """Raise DataError where another store lies there by now; takes microseconds."""
        now = self._look()
        if now == self._stat:
            return
        if self._digest() != self._content:  # some file systems give a file a new number now and then
            raise self._replaced()
        self._stat = now

    def _look(self) -> tuple[int, int, int, int]:
        try:
            found = os.stat(self._head)
        except FileNotFoundError as e:
            raise self._replaced() from e
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _digest(self) -> bytes:
        try:
            return hashlib.sha256(self._head.read_bytes()).digest()
        except FileNotFoundError as e:
            raise self._replaced() from e

    def _replaced(self) -> DataError:
        return DataError(
            f"{self._head.parent}: was replaced or removed while it was being read, so that results would mix two; "
            "run again when nothing writes there"
        )
