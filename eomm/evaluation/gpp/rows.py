"""The one table that `evaluate gpp` scores: a row per site and day, its target and what each method may know of it."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from eomm.data.days import parse_days
from eomm.data.missing import without_fills
from eomm.data.tables import read_frame
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.gpp.climatology import year_of
from eomm.evaluation.gpp.flux_files import UNIT, factor_of

OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt}
OPERATORS[">"] = operator.gt
REPEATED_DAYS = 10  # with one value to the last digit
ARRAYS = ("site", "day", "gpp", "kind", "group")  # of a table, beside its features
WEATHER = "weather"  # the name of the features that are weather


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in order of site and day; all features are finite in every row.

    Attributes:
        site: of every row.
        day: days since 1970-01-01.
        gpp: g C m-2 d-1; NaN where there are features but no flux: never scored, but within the windows of others.
        kind: plant functional type; "" where unknown.
        group: what folds must not divide: towers near each other.
        features: by name, [row, column].
        simulated: whether the fluxes are a simulator's.
        lines: sentences on where rows come from and which were left out.
    """

    site: Shaped[np.ndarray, " n"]
    day: Int[np.ndarray, " n"]
    gpp: Float[np.ndarray, " n"]
    kind: Shaped[np.ndarray, " n"]
    group: Shaped[np.ndarray, " n"]
    features: Mapping[str, Float[np.ndarray, "n _"]]
    simulated: bool
    lines: Sequence[str] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.day)

    @property
    def year(self) -> Int[np.ndarray, " n"]:
        """Calendar year of every row."""
        return year_of(self.day)

    @property
    def scored(self) -> np.ndarray:
        """Rows with a target."""
        return np.isfinite(self.gpp)

    def take(self, rows: np.ndarray) -> "Table":
        """Some of the rows."""
        arrays = {n: getattr(self, n)[rows] for n in ARRAYS}
        return replace(self, **arrays, features={n: x[rows] for n, x in self.features.items()})


def make_table(
    frame: pd.DataFrame,
    features: Mapping[str, Sequence[str]],
    *,
    groups: Mapping[str, str],
    simulated: bool,
    lines: Sequence[str] = (),
) -> Table:
    """A frame with `site`, `day`, `gpp`, `kind` and feature columns to a table; rows that lack a feature are left out.

    Raises:
        DataError: no row is left, or a site has two rows of a day.
        UsageError: no features.
    """
    if not features:
        raise UsageError("no features: nothing could be scored; name some")
    columns = list(dict.fromkeys(c for names in features.values() for c in names))
    known = np.isfinite(frame[columns].to_numpy(float)).all(1)
    if not (known & np.isfinite(frame["gpp"])).any():
        raise DataError(f"no row has both a flux and all of {', '.join(features)}; do their dates and sites overlap?")
    left = int((~known & np.isfinite(frame["gpp"])).sum())
    frame = frame[known].sort_values(["site", "day"], kind="stable")
    twice = frame.duplicated(["site", "day"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise DataError(f"{row['site']} has two rows on {np.datetime64(int(row['day']), 'D')}; expected one per day")
    more = [f"{left} tower-days were left out because a feature is missing"] if left else []
    site = frame["site"].to_numpy(str)
    more += repeated(frame)
    return Table(
        site=site,
        day=frame["day"].to_numpy(np.int32),
        gpp=frame["gpp"].to_numpy(np.float64),
        kind=frame["kind"].fillna("").to_numpy(str),
        group=np.array([groups.get(s, s) for s in site]),
        features={n: frame[list(c)].to_numpy(np.float64) for n, c in features.items()},
        simulated=simulated,
        lines=(*lines, *more),
    )


def repeated(frame: pd.DataFrame) -> list[str]:
    """Sentences on sites where one flux other than 0 stands on many days: filled by a constant, not measured."""
    counts = frame[frame["gpp"] != 0].groupby("site")["gpp"].value_counts()
    many = counts[counts >= REPEATED_DAYS]
    return [
        f"{site} has the same flux, {value:.4g} {UNIT}, on {days} days: is that measured?"
        for (site, value), days in many.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of a table of any origin mean.

    Attributes:
        site: the sites' names.
        date: dates.
        target: GPP.
        unit: of the target, such as "gC m-2 d-1".
        features: columns by name; those called "weather" join every other to "weather + name".
        kind: plant types; None where there are none.
        keep: conditions on columns that rows must meet, such as "nee_qc<=1".
    """

    site: str
    date: str
    target: str
    unit: str
    features: Mapping[str, Sequence[str]]
    kind: str | None = None
    keep: Sequence[str] = ()

    @property
    def numbers(self) -> list[str]:
        """Those of features, each once."""
        return list(dict.fromkeys(c for names in self.features.values() for c in names))


def read_table(
    path: Path | str, columns: Columns, *, groups: Mapping[str, str] | None = None, simulated: bool = False
) -> Table:
    """A table of any origin (CSV or Parquet).

    Args:
        path: the file.
        columns: what it holds.
        groups: site to what folds must not divide; others are alone.
        simulated: whether a simulator made it.

    Raises:
        DataError: no such file or column, no row left.
        ContractError: an unknown unit.
        UsageError: a condition that cannot be read.
    """
    path, site, kind, target = Path(path), columns.site, columns.kind, columns.target
    raw = read_frame(path, text=[c for c in (site, kind) if c])
    wanted = [c for c in (site, columns.date, target, kind, *columns.numbers) if c]
    if lost := [c for c in dict.fromkeys(wanted) if c not in raw]:
        raise DataError(f"{path}: no column {', '.join(lost)}; there are {', '.join(map(str, raw))}")
    factor = factor_of(path, target, columns.unit)
    for condition in columns.keep:
        raw = raw[meets(raw, condition, path)]
    day = parse_days(raw[columns.date], where=f"{path}, column {columns.date}")
    try:
        numbers = without_fills(raw[[target, *columns.numbers]].astype(np.float64))
    except (ValueError, TypeError) as e:
        raise DataError(f"{path}: {e}; expected numbers in {', '.join([target, *columns.numbers])}") from e
    kinds = raw[kind].astype(str) if kind else ""
    known = {"site": raw[site].astype(str), "day": day, "gpp": numbers[target] * factor, "kind": kinds}
    told = f"; kept are rows with {', '.join(columns.keep)}" if columns.keep else ""
    lines = [f"{path.name}: {target} in {columns.unit}, as {UNIT}{told}"]
    frame = numbers[columns.numbers].assign(**known)
    return make_table(frame, columns.features, groups=groups or {}, simulated=simulated, lines=lines)


def meets(frame: pd.DataFrame, condition: str, path: Path) -> np.ndarray:
    """Which rows meet a condition such as "nee_qc<=1" or "Satellite==S30". Raises UsageError."""
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*", condition)
    if not found or found[1] not in frame:
        raise UsageError(
            f"{path}: condition {condition!r}; expected a column, one of {', '.join(OPERATORS)} and a value"
        )
    value: Any = found[3]
    if pd.api.types.is_numeric_dtype(frame[found[1]]):
        try:
            value = float(value)
        except ValueError as e:
            raise UsageError(f"{path}: condition {condition!r}; {found[1]} holds numbers") from e
    return np.asarray(OPERATORS[found[2]](frame[found[1]], value), bool)


def join(tables: Sequence[Table]) -> Table:
    """Several sites' rows as one table. Raises ContractError where simulated and real would share it."""
    if len({t.simulated for t in tables}) > 1:
        raise ContractError("simulated and real fluxes never share a table: score them in two runs, report them apart")
    first = tables[0]
    if any(set(t.features) != set(first.features) for t in tables):
        raise DataError("sites have different features; give every kind of features for all of them")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(t, name) for t in tables]) for name in ARRAYS}
    features = {n: np.concatenate([t.features[n] for t in tables]) for n in first.features}
    return replace(first, **arrays, features=features, lines=tuple(dict.fromkeys(x for t in tables for x in t.lines)))
