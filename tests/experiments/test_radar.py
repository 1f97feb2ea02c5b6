"""Radar series of the shipped sets, what another contract does to them, and how a look at radar is logged."""

import dataclasses

import numpy as np
import pytest
from eomm.experiments.shipped import looks, radar, radar_contract
from eomm.experiments.shipped import radar_sets as sets

from eomm.data.points import PointSeries
from eomm.errors import UsageError


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data"


def repeats(series):
    """Days between passes of one orbit."""
    return {int(d) for o in np.unique(series.orbit) for d in np.diff(series.day[series.orbit == o])}


def test_a_products_relative_orbit():
    assert sets.relative_orbit("S1A_IW_GRDH_1SDV_20200103T170841_20200103T170906_030639_0382D5_360A") == 117
    assert sets.relative_orbit("S1B_IW_GRDH_1SDV_20200109T170758_20200109T170823_019743_025539_3DC3") == 117


def test_passes_of_an_orbit_repeat_and_parts_share_no_pixel(data):
    train, test = (sets.read_flanders_radar(data, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (640, 224) and not {s.id for s in train} & {s.id for s in test}
    assert min(int(s.id.split()[1]) for s in test) * 2 >= 50 and max(int(s.id.split()[1]) for s in train) * 2 + 1 <= 40
    assert min(repeats(train[0])) == 6 and len(set(train[0].orbit.tolist())) == 2
    forest = sets.read_forest_radar(data)
    assert len(forest) == 2 * 2 * 36 and {min(repeats(s)) for s in forest} == {6}
    for s in forest:  # a plot whose VV and VH were mixed among pixels would fail
        vv, vh = np.median(s.values[s.valid], axis=0)
        assert vv > vh + 2


def test_slovak_plots_have_the_use_that_is_scored_of_sentinel_2(data):
    found = sets.read_slovak_radar(data)
    assert len(found) == 101 and {s.labels["use"] for s in found} == set(sets.USES)
    assert {s.labels["role"] for s in found if s.labels["region"] == "NB"} == {"report"}
    assert all(len(s) > 100 and s.valid.all() and (np.diff(s.day) % 6 == 0).all() for s in found)


def one_series():
    rng, orbit = np.random.default_rng(0), np.resize([3, 4], 20).astype(np.int32)
    values, valid = rng.normal(-12, 2, (20, 2)).astype(np.float32), rng.random(20) < 0.8
    return PointSeries(id="a", group="a", day=np.arange(20, dtype=np.int32), values=values, valid=valid, orbit=orbit)


def test_the_mean_of_an_orbit_takes_another_contract_away():
    one = one_series()
    (other,) = radar_contract.other_contract([one])
    apart = other.values - one.values
    for orbit in (3, 4):
        assert np.ptp(apart[one.orbit == orbit], axis=0).max() < 1e-5 and apart[one.orbit == orbit].min() > 0
    assert np.abs(apart[0] - apart[1]).max() > 0.01  # another number for another orbit
    (a,), (b,) = (radar_contract.without_mean([s]) for s in (one, other))
    np.testing.assert_allclose(a.values, b.values, atol=1e-5)
    (back,) = radar_contract.other_contract([other], sign=-1.0)
    np.testing.assert_allclose(back.values, one.values, atol=1e-5)


def test_closed_forms_get_one_orbit():
    one = dataclasses.replace(one_series(), orbit=np.array([3] * 15 + [4] * 5, np.int32))
    (found,) = sets.of_one_orbit([one])
    np.testing.assert_array_equal(found.day, one.day[:15][one.valid[:15]])


def test_a_look_needs_a_reason(tmp_path):
    with pytest.raises(UsageError, match="--why"):
        radar.run(tmp_path, tmp_path, role="report", look=looks.Look(path=tmp_path / "looks.jsonl"))
    assert not looks.read_looks(tmp_path / "looks.jsonl")
