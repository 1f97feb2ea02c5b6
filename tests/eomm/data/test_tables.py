"""A user's table comes back as it was written, however its writer divides, quotes and encodes it."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eomm.data.missing import FILLS, is_fill_text, without_fills
from eomm.data.tables import find_column, read_frame
from eomm.errors import DataError

often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text("ABCXYZ abc-_0123456789", min_size=1, max_size=6).map(str.strip).filter(bool)
numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3)) | st.integers(-(10**6), 10**6)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@often
@given(
    rows=st.lists(st.tuples(names, numbers, numbers), min_size=1, max_size=5),
    separator=st.sampled_from([",", ";", "\t"]),
    comma=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    trailing=st.booleans(),
)
def test_csv_round_trip(tmp_path, rows, separator, comma, ending, encoding, trailing):
    comma = comma and separator != ","
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator=ending)
    writer.writerow(["Site", "GPP", "x"])
    for name, *values in rows:
        shown = [f"{v}".replace(".", ",") if comma else f"{v}" for v in values]
        writer.writerow([name, *shown, *([""] if trailing else [])])
    table = read_frame(write(tmp_path / "t.csv", file.getvalue(), encoding), text=["site"])
    assert list(table) == ["Site", "GPP", "x"] and table["Site"].tolist() == [r[0] for r in rows]
    np.testing.assert_array_equal(table[["GPP", "x"]].to_numpy(float), [r[1:] for r in rows])


@often
@given(values=st.lists(numbers, min_size=1, max_size=5), days=st.data())
def test_parquet_round_trip_keeps_types(tmp_path, values, days):
    when = days.draw(st.lists(st.dates(), min_size=len(values), max_size=len(values)))
    frame = pd.DataFrame({"site": ["007"] * len(values), "x": values, "date": when})
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_frame(tmp_path / "t.parquet"), frame)


def test_names_that_look_like_something_else_stay_what_they_are(tmp_path):
    table = read_frame(write(tmp_path / "t.csv", " Site ,x\nNA,1\n007,2\nnull,3\n1e5,4\n"), text=["site"])
    assert table["Site"].tolist() == ["NA", "007", "null", "1e5"] and table["x"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("site,lat,lon\na,1,2,9\n", "more values than its first line has names"),
        ("site,lat,lon\na,1,2\nb,3,4,5\n", "Expected 3 fields in line 3, saw 4"),
        ('site,lat\n"a,1\nb,2\n', "EOF inside string"),
        ("", "No columns"),
    ],
)
def test_lines_that_do_not_fit_the_first_are_refused(tmp_path, text, error):
    with pytest.raises(DataError, match=rf"t.csv: not a readable table.*{error}"):
        read_frame(write(tmp_path / "t.csv", text))


def test_a_comma_for_the_point_is_one_where_commas_do_not_divide(tmp_path):
    table = read_frame(write(tmp_path / "t.csv", "site;x;note\na;1,5;b\nc;-2;1,5 m\n"))
    assert table["x"].tolist() == [1.5, -2.0] and table["note"].tolist() == ["b", "1,5 m"]
    table = read_frame(write(tmp_path / "u.csv", 'site,x\na,"1,234"\n'))  # a thousand, or 1.234: nobody knows
    assert table["x"].tolist() == ["1,234"]


@pytest.mark.parametrize("fill", [*map(repr, FILLS), "-9999", "-9999.00", "1E20", "-3.4028235e38", "inf"])
def test_every_spelling_of_a_fill_is_missing(fill, tmp_path):
    table = read_frame(write(tmp_path / "t.csv", f"x,y\n{fill},1\n2,2\n"))
    assert np.isnan(without_fills(table)["x"][0]) and is_fill_text(fill) and not is_fill_text("-9998")


def test_columns_have_their_synonyms_but_the_exact_name_counts_first():
    assert find_column(["Longitude", "LAT", "Site_ID"], "lon") == "Longitude"
    assert find_column(["longitude", "lon"], "lon") == "lon" and find_column(["x"], "lon") is None
