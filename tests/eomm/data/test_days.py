"""Days are read strictly: the forms below, and a refusal that names file, value and form for the rest."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eomm.data.days import parse_day, parse_days, parse_time
from eomm.errors import DataError

FORMS = ("%Y-%m-%d", "%Y%m%d", "%Y-%j", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y:%m:%d %H:%M:%S", "%Y%m%dT%H%M%S")
times = st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31))


@given(time=times, form=st.sampled_from(FORMS), blanks=st.sampled_from(["", " "]))
def test_every_form_gives_its_day(time, form, blanks):
    assert parse_day(blanks + time.strftime(form) + blanks, where="f") == time.date()


@given(time=times, minutes=st.integers(-14 * 60, 14 * 60))
def test_a_day_keeps_its_zone_and_a_time_leaves_it(time, minutes):
    zoned = time.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    for value in (zoned.isoformat(), zoned, pd.Timestamp(zoned)):
        assert parse_day(value, where="f") == time.date()
        assert parse_time(value, where="f") == time.replace(microsecond=0) - timedelta(minutes=minutes)


@given(day=st.dates(date(1900, 1, 1), date(2199, 12, 31)))
def test_numbers_are_written_days_and_types_of_dates_are_theirs(day):
    number = int(f"{day:%Y%m%d}")
    for value in (number, float(number), np.int64(number), day, np.datetime64(day), pd.Timestamp(day), str(number)):
        assert parse_day(value, where="f") == day


@pytest.mark.parametrize(
    "value",
    [
        1514764800, 17532, 17532.0, 20180132, 12345678, True, "1514764800", "2018-W27-1", "01/07/2018", "1.7.2018",
        "2018-7-1", "2018-366", "2018-000", "2018-02-30", "2018-07", "180701", "soon", "", None, float("nan"), pd.NaT,
        "2018-07-01T24:30:00", "2018-07-01 CET",
    ],
)  # fmt: skip
def test_everything_else_is_refused_by_file_value_and_form(value):
    with pytest.raises(DataError, match=r"^flux.csv, TIMESTAMP: .* is no day; expected YYYY-MM-DD .*YYYYMMDD or YYYY"):
        parse_day(value, where="flux.csv, TIMESTAMP")


def test_a_column_becomes_days_since_1970():
    column = pd.Series(["1970-01-02", "2018-07-01T00:00:00+01:00", "1970-01-02"])
    assert parse_days(column, where="f").tolist() == [1, 17713, 1]
    assert parse_days(pd.Series([20180701.0, 20180702]), where="f").dtype == np.int32
