"""Tables of a user (CSV or Parquet): how they are opened and written, and by which names their columns go.

Not what is in them.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from eomm.errors import DataError, UsageError
from eomm.store.folders import new_file

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "site", "site_id", "siteid", "site_name", "id"),
    "site": ("site", "site_id", "siteid", "site_name", "name", "id"),
    "lat": ("lat", "latitude", "location_lat"),
    "lon": ("lon", "long", "longitude", "lng", "location_long", "location_lon"),
    "kind": ("igbp", "pft", "type"),
    "label": ("label", "labels", "class"),
}
"""What a column is for -> the spellings under which it is found, lower case; the first that is there counts."""


def find_column(names: Iterable[str], wanted: str) -> str | None:
    """The column that is `wanted`: exactly so called, else but for case and blanks, else by a synonym; or None."""
    names = list(names)
    if wanted in names:
        return wanted
    plain = {plain_name(n): n for n in reversed(names)}
    spellings = (plain_name(wanted), *SYNONYMS.get(plain_name(wanted), ()))
    return next((plain[s] for s in spellings if s in plain), None)


def plain_name(name: str) -> str:
    """A column's name without blanks at its ends, the mark of byte order, and capitals."""
    return str(name).strip().lstrip("\ufeff").strip().lower()


def read_frame(path: Path | str, *, text: bool = False) -> pd.DataFrame:
    """A CSV or Parquet file; blanks after commas and around names, and a mark of byte order, do not count.

    Args:
        path: ends in .parquet, in any case, or is CSV.
        text: CSV: everything as text, nothing taken for missing.

    Raises:
        DataError: missing, or not of its kind.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        table = pd.read_csv(
            path,
            dtype=str if text else None,
            keep_default_na=not text,
            skipinitialspace=True,
            encoding="utf-8-sig",
            encoding_errors="replace",  # variable-information files are not all in UTF-8
        )
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing") from e
    except (OSError, ValueError) as e:  # pandas' and Arrow's errors are ValueErrors
        raise DataError(f"{path}: not a readable table, CSV or Parquet ({e}); download it again") from e
    table = table.rename(columns=lambda name: str(name).strip())
    for column in [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]:
        table[column] = table[column].map(lambda v: v.strip() if isinstance(v, str) else v)
    return table


def write_frame(table: pd.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all: Parquet where the path ends in .parquet, else CSV.

    Raises:
        UsageError: Parquet without pyarrow, or something lies in the way.
    """
    temporary = new_file(path)
    if path.suffix.lower() == ".parquet":
        try:
            table.to_parquet(temporary, index=False)
        except ImportError as e:
            temporary.unlink(missing_ok=True)
            raise UsageError(f"{path}: Parquet needs pyarrow: pip install 'eomm[geo]', or write .csv") from e
    else:
        table.to_csv(temporary, index=False)
    os.replace(temporary, path)
