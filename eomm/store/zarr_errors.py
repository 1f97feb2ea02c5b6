"""What zarr says of metadata that are damaged, as an error of ours; it is of a dozen types."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.errors import BaseZarrError

from eomm.errors import DataError


@contextmanager
def damaged_zarr(path: Path) -> Iterator[None]:
    """Raise DataError, naming the store, for whatever its metadata make zarr raise in this block."""
    try:
        yield
    except (BaseZarrError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, FileNotFoundError) as e:
        raise DataError(f"{path}: cannot be read as Zarr ({str(e)[:300]}); the store is damaged, make it again") from e
