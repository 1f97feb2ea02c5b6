"""Planes on their way through a file that has no name: memory holds a few, whatever the length of a series."""

import tempfile
from pathlib import Path

import numpy as np


class Spool:
    """Arrays of one shape and type, kept one after the other; nothing is left behind. Close it, or use it in a `with`.

    Raises OSError where the disk is full.
    """

    def __init__(self, folder: Path, dtype: type, shape: tuple[int, ...]):
        self.dtype, self.shape, self._count = np.dtype(dtype), shape, 0
        self._file = tempfile.TemporaryFile(dir=folder)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, plane: np.ndarray) -> None:
        """The next one."""
        self._file.write(np.ascontiguousarray(plane, self.dtype).reshape(self.shape).data)
        self._count += 1

    def read(self) -> np.ndarray:
        """All of them [n, …], read where they are looked at; map anew to give back the pages that were read."""
        # Mapped only after it was written: a full disk is an OSError on write, but kills a process that maps.
        self._file.flush()
        return np.memmap(self._file, self.dtype, mode="r", shape=(self._count, *self.shape))
