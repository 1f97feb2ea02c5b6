"""What zarr says of metadata that are damaged, as an error of ours; it is of a dozen types."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.errors import BaseZarrError, ZarrUserWarning

from eomm.errors import DataError


@contextmanager
def damaged_zarr(path: Path) -> Iterator[None]:
    """Raise DataError, naming the store, for whatever its metadata make zarr raise in this block."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # of files beside its own
            yield
    except (BaseZarrError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as e:
        raise _damaged(path, e) from e
    except (FileNotFoundError, RecursionError, MemoryError) as e:
        raise _damaged(path, e) from e


def _damaged(path: Path, error: BaseException) -> DataError:
    what = f"{type(error).__name__}: {str(error)[:300]}"
    return DataError(f"{path}: cannot be read as Zarr ({what}); the store is damaged, make it again")
