"""Tables of a user (CSV or Parquet): how they are opened and written, and by which names their columns go.

Not what is in them.
"""

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

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

COMMA = re.compile(r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?")
"""A number with a comma for the point."""


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


def read_frame(path: Path | str, *, text: bool | Collection[str] = False) -> pd.DataFrame:
    """A CSV or Parquet file; blanks after commas and around names, and a mark of byte order, do not count.

    A first line that has semicolons or tabs, and no commas, is divided by these; numbers may have a comma for the
    point then.

    Args:
        path: ends in .parquet, in any case, or is CSV.
        text: CSV: columns that are kept as text, nothing in them taken for a number or for missing ("007", "NA");
            true for all.

    Raises:
        DataError: missing, not of its kind, or a line has another number of values than the first.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in PARQUET:
            return pd.read_parquet(path)
        return _read_csv(path, text)
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing") from e
    except (OSError, ValueError) as e:  # pandas' and Arrow's errors are ValueErrors
        raise DataError(f"{path}: not a readable table, CSV or Parquet ({str(e).strip()}); mend or replace it") from e


def _read_csv(path: Path, text: bool | Collection[str]) -> pd.DataFrame:
    encoding, separator = _form(path)
    how = {"sep": separator, "encoding": encoding}
    kept = set() if isinstance(text, bool) else {plain_name(n) for n in text}
    table = _with_every_value(path, **how, **(TEXT if text is True else {}))
    if words := [c for c in table if plain_name(c) in kept]:
        table[words] = _with_every_value(path, **how, usecols=words, **TEXT)[words]
    table = table.rename(columns=lambda name: str(name).strip())
    for column in [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]:
        table[column] = table[column].map(lambda v: v.strip() if isinstance(v, str) else v)
        if separator != "," and text is not True and plain_name(column) not in kept:
            table[column] = _with_points(table[column])
    return table


PARQUET = (".parquet", ".pq")
TEXT = {"dtype": str, "keep_default_na": False}
"""How pandas is asked to keep columns as text."""


def _form(path: Path) -> tuple[str, str]:
    """The encoding of a CSV file, and what separates its values."""
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # Excel's Unicode text
    with path.open(encoding=encoding, errors="replace") as file:
        head = next((line for line in file if line.strip()), "")
    return encoding, next((s for s in (",", ";", "\t") if s in head), ",")


def _with_every_value(path: Path, **options: Any) -> pd.DataFrame:
    """`read_csv` of a file whose lines have as many values as the first; empty ones at the end do not count.

    Left alone, pandas takes the first column of longer lines for an index, and every other by its neighbour's name.
    Raises ValueError.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Length of header", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                index_col=False,
                skipinitialspace=True,
                encoding_errors="replace",  # variable-information files are not all in UTF-8
                **options,
            )
        except pd.errors.ParserWarning as e:
            raise ValueError("its lines have more values than its first line has names") from e


def _with_points(column: pd.Series) -> pd.Series:
    """Numbers where all values of a column are such as 1,5; else the column as it is."""
    known = column.dropna()
    if not len(known) or not known.map(lambda v: isinstance(v, str) and bool(COMMA.fullmatch(v))).all():
        return column
    return column.str.replace(",", ".").astype(float)


def write_frame(table: pd.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all: Parquet where the path ends in .parquet, else CSV.

    Raises:
        UsageError: Parquet without pyarrow, or something lies in the way.
    """
    with new_file(path) as partial:
        if path.suffix.lower() != ".parquet":
            table.to_csv(partial, index=False)
            return
        try:
            table.to_parquet(partial, index=False)
        except ImportError as e:
            raise UsageError(f"{path}: Parquet needs pyarrow: pip install 'eomm[geo]', or write .csv") from e
