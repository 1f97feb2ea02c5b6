"""Dated values of points and parcels: series in memory, and how a table of them is read. No JAX in here.

A series is what one pixel, one parcel's mean, or the pixels of one small field were at the dates of one sensor. Records
of them are data_prep/records/points.py; a table that is one cube's would rather be a cube.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int32, Shaped

from eomm.data.days import parse_days
from eomm.data.described import modality_of, read_toml, to_dataclass
from eomm.data.missing import is_fill
from eomm.data.modality import KNOWN, Modality
from eomm.data.tables import read_frame
from eomm.errors import ContractError, DataError, UsageError

ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class PointSeries:
    """The dates of one pixel, parcel or small field.

    Attributes:
        id: its name, of its own within its group.
        group: what no two splits may share: a field, a farm, a locality. Records call it their site.
        day: [t] days since 1970-01-01, ascending, none twice.
        values: physical values, [t, band] of a pixel or a mean, [t, y, x, band] of the pixels of a field.
        valid: of the same shape without bands; what is not of the field is never valid.
        split: "train", "validation" or "test"; "" where it is drawn by group.
        stratum: by which training may balance what it draws, such as a region or a crop; or "".
        place: (lon, lat) in degrees, or None.
        label: its class, such as a crop, which training may learn to tell; "" where it is unknown.
        orbit: [t] a number per relative orbit, for radar, whose orbits see other angles; 0, or None: not known.
        labels: what else is known of it, by name, for whoever scores it; records do not keep it.
    """

    id: str
    group: str
    day: Int32[np.ndarray, " t"]
    values: Shaped[np.ndarray, "t ... c"]
    valid: Shaped[np.ndarray, "t ..."]
    split: str = ""
    stratum: str = ""
    place: tuple[float, float] | None = None
    label: str = ""
    orbit: Int32[np.ndarray, " t"] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise DataError where shapes do not fit each other, days do not ascend, or a valid value is not finite."""
        if self.values.ndim not in (2, 4) or self.valid.shape != self.values.shape[:-1]:
            raise DataError(
                f"series {self.name}: values {self.values.shape}, valid {self.valid.shape}; expected [t, band] and "
                "[t], or [t, y, x, band] and [t, y, x]"
            )
        if self.day.shape != self.valid.shape[:1] or (np.diff(self.day) <= 0).any():
            raise DataError(
                f"series {self.name}: {self.day.shape[0]} days for {len(self.valid)} dates, or not ascending; expected "
                "a day for each date, sorted, none twice"
            )
        if self.orbit is not None and self.orbit.shape != self.day.shape:
            raise DataError(
                f"series {self.name}: {self.orbit.shape} orbits for {len(self.day)} dates; expected one each"
            )
        if not np.isfinite(self.values[self.valid.astype(bool)]).all():
            raise DataError(f"series {self.name}: valid values hold NaN or infinity; mark those dates invalid")

    def __len__(self) -> int:
        return len(self.day)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.group}/{self.id}"

    def keep(self, which: Shaped[np.ndarray, " _"]) -> "PointSeries":
        """Some of its dates: [t] bool, or ascending positions."""
        orbit = None if self.orbit is None else self.orbit[which]
        return replace(self, day=self.day[which], values=self.values[which], valid=self.valid[which], orbit=orbit)


@dataclass(frozen=True, kw_only=True)
class PointMapping:
    """What the columns of a table mean; in a file, TOML with these keys.

    Attributes:
        modality: a key of `eomm.data.modality.KNOWN` ("s2"), or a contract of one's own as a table [modality].
        id: column that names the series.
        date: column of dates, or of texts such as 2018-05-31 or 2018-05-31T10:56:21Z.
        bands: band of the modality -> column; every band of it is needed, but for those of `lacks`.
        scale: physical value = number * scale + offset.
        offset: see `scale`; Sentinel-2 numbers from baseline 04.00 on that keep their +1000 have -0.1.
        fill: numbers that mean no data.
        lacks: bands of the modality that the table has not; the contract is then of the others.
        valid: column that says which dates are clear, or None where all are.
        valid_values: of that column, such as [4, 5, 6] of SCL.
        group: column of what no two splits may share; each series is its own where None.
        split: column of train, validation and test, or None.
        stratum: column by which training may balance, or None.
        lon: column of longitudes in degrees, or None.
        lat: column of latitudes, or None.
        label: column of classes that training may learn to tell, or None.
        orbit: column of relative orbit numbers, of radar, or None. Of one day's passes only the first valid one stays.
    """

    modality: str | Modality
    id: str
    date: str
    bands: Mapping[str, str]
    scale: float = 1.0
    offset: float = 0.0
    fill: tuple[float, ...] = ()
    lacks: tuple[str, ...] = ()
    valid: str | None = None
    valid_values: tuple[Any, ...] = (1,)
    group: str | None = None
    split: str | None = None
    stratum: str | None = None
    lon: str | None = None
    lat: str | None = None
    label: str | None = None
    orbit: str | None = None

    def __post_init__(self) -> None:
        """Raise ContractError where the modality is unknown or a band is not named."""
        if not isinstance(self.modality, Modality) and self.modality not in KNOWN:
            raise ContractError(f"mapping: modality is {self.modality!r}, expected one of {', '.join(KNOWN)}")
        if self.contract.static:
            raise ContractError(
                f"mapping: modality {self.contract.name!r} is static, but a table is of dates; expected one with"
            )
        names = self.contract.band_names
        if sorted(self.bands) != sorted(names):
            raise ContractError(
                f"mapping: bands are {' '.join(self.bands)}, expected all of {' '.join(names)}, the {len(names)} of "
                f"modality {self.contract.name!r}; for other bands give a table [modality] of your own"
            )

    @property
    def contract(self) -> Modality:
        """The modality's contract."""
        whole = self.modality if isinstance(self.modality, Modality) else KNOWN[self.modality]
        if unknown := set(self.lacks) - set(whole.band_names):
            raise ContractError(f"mapping: lacks {' '.join(unknown)}, expected some of {' '.join(whole.band_names)}")
        return dataclasses.replace(whole, bands=tuple(b for b in whole.bands if b.name not in self.lacks))

    def missing(self, raw: np.ndarray) -> np.ndarray:
        """Where numbers mean no data: `fill`, NaN, and of numbers without a scale what nobody declares either."""
        missing = np.isin(raw, self.fill) | ~np.isfinite(raw)
        # Of scaled integers each of `FILLS` may be a measurement.
        return missing | is_fill(raw) if (self.scale, self.offset) == (1.0, 0.0) else missing

    @property
    def names(self) -> list[str]:
        """The columns of names, not of numbers: "007" and "NA" are themselves there."""
        return [c for c in (self.id, self.group, self.split, self.stratum) if c]

    @property
    def columns(self) -> list[str]:
        """All columns that it names."""
        single = (
            *(self.id, self.date, self.valid, self.group, self.split, self.stratum, self.lon, self.lat),
            *(self.label, self.orbit),
        )
        return list(dict.fromkeys([c for c in single if c] + list(self.bands.values())))


def load_point_mapping(path: Path | str) -> PointMapping:
    """A mapping from a TOML file.

    Raises:
        UsageError: no such file.
        DataError: not TOML.
        ContractError: a key is unknown or missing, or its value cannot be.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a mapping of points is a TOML file, see `PointMapping`")
    table = read_toml(path)
    if isinstance(table.get("modality"), dict):
        table["modality"] = modality_of(table["modality"], where=f"{path}, [modality]")
    return to_dataclass(PointMapping, table, where=str(path))


def read_points(path: Path | str, mapping: PointMapping) -> list[PointSeries]:
    """The series of a table: CSV, or Parquet (with the extra `geo`), a row for each series and date.

    Raises:
        UsageError: neither ending; pyarrow is missing.
        DataError: as `points_of`.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        raise UsageError(f"{path}: no such file, or its name ends in none of {', '.join(ENDINGS)}")
    try:
        return points_of(read_frame(path, text=mapping.names), mapping, where=str(path))
    except ImportError as e:
        raise UsageError(f"{path}: needs pyarrow ({e}); pip install 'eomm[geo]', or give a CSV") from e


def points_of(table: pd.DataFrame, mapping: PointMapping, *, where: str) -> list[PointSeries]:
    """The series of a table in memory, in the order of their groups and names.

    Of several rows of a series and day the first valid one counts. A value that is missing or `fill` in any band makes
    its date invalid there.

    Args:
        table: a row for each series and date.
        mapping: what its columns mean.
        where: it comes from, for messages.

    Raises:
        DataError: a column is missing, a date or number cannot be read, or a series has two groups, splits, strata or
            labels.
    """
    lost = [c for c in mapping.columns if c not in table.columns]
    if lost or not len(table):
        raise DataError(
            f"{where}: {len(table)} rows, columns missing: {', '.join(lost) or 'none'}; the mapping names "
            f"{', '.join(mapping.columns)}, the table has {', '.join(map(str, table.columns))}"
        )
    values, valid = _values(table, mapping, where)
    day = _days(table[mapping.date], where)
    text = {k: _text(table, c) for k in ("id", "group", "split", "stratum", "label") if (c := getattr(mapping, k))}
    rows = Rows(
        text=text,
        values=values,
        valid=valid,
        day=day,
        place=_places(table, mapping),
        orbit=_orbits(table, mapping.orbit, where) if mapping.orbit else None,
    )
    keys = [text["id"]] + ([text["group"]] if "group" in text else [])
    together = pd.Series(np.arange(len(table))).groupby(keys, sort=False).apply(np.asarray)
    return sorted((_series(rows, at, where) for at in together), key=lambda s: (s.group, s.id))


def _days(column: pd.Series, where: str) -> np.ndarray:
    if undated := int(column.isna().sum()):
        raise DataError(f"{where}: {undated} rows have no {column.name}; drop them")
    return parse_days(column, where=f"{where}, column {column.name}").astype(np.int64)


def _values(table: pd.DataFrame, mapping: PointMapping, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Physical values [row, band], and in which rows they count."""
    columns = [mapping.bands[b] for b in mapping.contract.band_names]
    try:
        raw = table[columns].to_numpy(np.float64)
    except (ValueError, TypeError) as e:
        raise DataError(f"{where}: a number cannot be read ({e}); correct the table or the mapping") from e
    valid = np.asarray(~mapping.missing(raw).any(axis=1))
    if mapping.valid:
        valid &= table[mapping.valid].isin(mapping.valid_values).to_numpy()
    return raw * mapping.scale + mapping.offset, valid


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table's columns, by what they mean, [row] or [row, band]."""

    text: Mapping[str, np.ndarray]
    values: np.ndarray
    valid: np.ndarray
    day: np.ndarray
    place: np.ndarray | None
    orbit: np.ndarray | None


def _series(table: Rows, rows: np.ndarray, where: str) -> PointSeries:
    about = {name: set(column[rows].tolist()) for name, column in table.text.items()}
    name = next(iter(about["id"]))
    for what, several in about.items():
        if len(several) > 1:
            raise DataError(f"{where}: series {name!r} has {what} {', '.join(sorted(several))}; expected one")
    place = None if table.place is None else tuple(table.place[rows[0]].tolist())
    day, valid = table.day, table.valid
    order = rows[np.lexsort((~valid[rows], day[rows]))]  # of equal days the first valid row leads; stable
    _, first = np.unique(day[order], return_index=True)
    rows = order[first]
    single = {what: next(iter(value)) for what, value in about.items()}
    return PointSeries(
        **{"group": name, **single},
        day=day[rows].astype(np.int32),
        values=np.where(valid[rows, None], table.values[rows], 0).astype(np.float32),
        valid=valid[rows],
        place=place if place and np.isfinite(place).all() else None,
        orbit=None if table.orbit is None else table.orbit[rows],
    )


def _text(table: pd.DataFrame, column: str) -> np.ndarray:
    return table[column].fillna("").astype(str).to_numpy()


def _orbits(table: pd.DataFrame, column: str, where: str) -> np.ndarray:
    try:
        return table[column].fillna(0).to_numpy(np.float64).astype(np.int32)
    except (ValueError, TypeError) as e:
        raise DataError(
            f"{where}: column {column} holds no orbit numbers ({e}); correct the table or the mapping"
        ) from e


def _places(table: pd.DataFrame, mapping: PointMapping) -> np.ndarray | None:
    """Longitudes and latitudes [row, 2] in degrees."""
    return table[[mapping.lon, mapping.lat]].to_numpy(np.float64) if mapping.lon and mapping.lat else None
