"""Six bands at towers: what stands for the other four, and the table that is scored."""

import numpy as np
import pytest
from eomm.experiments.flux_towers import COLUMNS, GIVEN, fit_missing, read_towers, with_vectors

from eomm.data.points import PointSeries
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.vectors import per_series

MIX = np.random.default_rng(1).uniform(0, 0.3, (6, 4))
KNOWN = [BANDS.index(b) for b in GIVEN]
OTHERS = [i for i in range(10) if i not in KNOWN]


def sample(noise=0.0):
    """Series whose other four bands are a mixture of the six."""
    rng = np.random.default_rng(0)
    values = np.empty((400, 10))
    values[:, KNOWN] = rng.uniform(0.05, 0.4, (400, 6))
    values[:, OTHERS] = values[:, KNOWN] @ MIX + 0.02 + noise * rng.standard_normal((400, 4))
    days = np.arange(400, dtype=np.int32)
    return [PointSeries(id="a", group="a", values=values.astype("f4"), day=days, valid=days != 7)]


def test_missing_bands_are_their_mean_given_the_others():
    found = fit_missing(sample())
    six = np.random.default_rng(2).uniform(0.05, 0.4, (5, 6))
    ten = found.fill(six)
    assert np.array_equal(ten[:, KNOWN], six) and np.allclose(ten[:, OTHERS], six @ MIX + 0.02, atol=1e-5)
    assert fit_missing(sample(noise=0.01)).rmse == pytest.approx(0.01, rel=0.15)


def test_a_hidden_date_is_not_fitted_to():
    (one,) = sample()
    one.values[7] = 9.0
    assert fit_missing([one]).rmse.max() < 1e-4


@pytest.fixture
def towers(tmp_path):
    """Two near towers and one alone; one cloudy row."""
    plain = ["0.3"] * sum(len(names) for n, names in COLUMNS.items() if n != "bands")
    head = ["SITE_ID", "date", "GPP", "PFT", *COLUMNS["bands"], *COLUMNS["indices"], *COLUMNS["weather"]]
    rows = [
        [site, f"2020-0{month}-01", str(month), "ENF", "0.5" if month == 3 else "0.05", *["0.2"] * 5, *plain]
        for site in ("US-xSC", "US-xBL", "FI-Ken")
        for month in (5, 4, 3)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n")
    return read_towers(path, fit_missing(sample()))


def test_towers_are_series_of_ten_bands_whose_cloudy_dates_are_hidden(towers):
    frame, series = towers
    assert [s.group for s in series] == ["FI-Ken", "US-xBL", "US-xSC"] and len(frame) == 9
    assert all(s.values.shape == (3, 10) and s.valid.tolist() == [False, True, True] for s in series)


def test_vectors_stand_beside_the_row_they_are_of_and_near_towers_are_one_group(towers):
    first = per_series("first", 1, lambda s, at: s.day[at][:, None].astype(float))
    table = with_vectors(*towers, [first])
    assert np.array_equal(table.features["first"][:, 0], table.day) and not table.simulated
    assert table.gpp.tolist() == [3, 4, 5] * 3 and "3 of 9 tower-days look cloudy" in " ".join(table.lines)
    assert len(set(table.group[table.site != "FI-Ken"])) == 1 and len(set(table.group)) == 2
