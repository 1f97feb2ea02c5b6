"""Days and times as files write them, read strictly: what is not one of the forms below is refused, never guessed.

A day keeps the calendar day that is written, whatever time zone stands behind it; a time becomes UTC. Numbers are
never seconds or days since an epoch: 20180101 is the first of January 2018.
"""

import re
from collections.abc import Hashable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from eomm.data.grid import EPOCH
from eomm.errors import DataError

EXPECTED = "YYYY-MM-DD (a time may follow, as in 2018-07-01T10:54:21Z), YYYYMMDD or YYYY-DDD (day of the year)"
CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?"
ZONE = r"(?P<zone> ?(Z|UTC|GMT)| ?[+-]\d\d(:?\d\d)?)?"
FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)([T ]{CLOCK}{ZONE})?",
        rf"(?P<year>\d{{4}}):(?P<month>\d\d):(?P<day>\d\d) {CLOCK}{ZONE}",  # TIFF's own
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
        r"(T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(\.(?P<fraction>\d+))?(?P<zone>Z)?)?",
        r"(?P<year>\d{4})-(?P<ordinal>\d{3})",
    )
)


def parse_day(value: Any, *, where: str) -> date:
    """The calendar day that a cell or attribute names.

    Args:
        value: text in one of the forms of EXPECTED; a number of eight digits, YYYYMMDD; a date or time of Python,
            NumPy or pandas, of which the day in its own time zone is kept.
        where: the file and column or tag, for messages.

    Raises:
        DataError: it is none of these, or no day of the calendar.
    """
    return _parse(value, where).date()


def parse_time(value: Any, *, where: str) -> datetime:
    """The time that a value names, in UTC and without zone; midnight where it names a day. See `parse_day`."""
    found = _parse(value, where)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def parse_days(values: Sequence[Any] | Any, *, where: str) -> np.ndarray:
    """Days since 1970-01-01, int32 [n], of a column of values. Raises as `parse_day`, for the first that is none."""
    known: dict[Any, int] = {}  # columns repeat their days
    days = np.empty(len(values), np.int32)
    for i, value in enumerate(values):
        if not isinstance(value, Hashable):  # a list, out of JSON
            raise _refused(value, where)
        if value not in known:
            known[value] = (parse_day(value, where=where) - EPOCH).days
        days[i] = known[value]
    return days


def _parse(value: Any, where: str) -> datetime:
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, datetime):  # pandas' too; NaT is one
        if pd.isna(value):
            raise _refused(value, where)
        return value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    text = _text(value)
    for form in FORMS:
        if found := form.fullmatch(text):
            try:
                return _made(found.groupdict())
            except ValueError as e:  # 30 February
                raise _refused(value, where) from e
    raise _refused(value, where)


def _text(value: Any) -> str:
    """Text as it is; of a whole number such as 20180701 its digits; missing cells make columns float."""
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_):
        return str(value) if 1800_00_00 < value < 2200_00_00 else ""
    return value.strip() if isinstance(value, str) else ""


def _made(parts: dict[str, str | None]) -> datetime:
    year = int(parts["year"] or 0)
    if ordinal := parts.get("ordinal"):
        found = datetime(year, 1, 1) + timedelta(days=int(ordinal) - 1)
        if int(ordinal) < 1 or found.year != year:
            raise ValueError("no such day of the year")
        return found
    clock = [int(parts.get(k) or 0) for k in ("hour", "minute", "second")]
    micro = int((parts.get("fraction") or "")[:6].ljust(6, "0"))
    text = f"{year:04}-{parts['month']}-{parts['day']}"
    zone = (parts.get("zone") or "").strip()
    zone = "+00:00" if zone in ("Z", "UTC", "GMT") else zone
    return datetime.fromisoformat(f"{text}T{clock[0]:02}:{clock[1]:02}:{clock[2]:02}.{micro:06}{zone}")


def _refused(value: Any, where: str) -> DataError:
    return DataError(f"{where}: {value!r:.60} is no day; expected {EXPECTED}. Correct it, or name another column")
