"""Folds never share what must not be shared, and the guard catches leaks that are planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eomm.errors import ContractError, UsageError
from eomm.evaluation.folds import (
    Buffer,
    Fold,
    check_no_leak,
    cross_folds,
    days_apart,
    group_folds,
    inner,
    last_year_fold,
    near_groups,
)


def tower_rows(sites=6, years=3, step=20):
    """Site, year and day of every row."""
    site, year, day = [], [], []
    for s in range(sites):
        for y in range(years):
            for d in range(0, 365, step):
                site.append(f"S{s}")
                year.append(2018 + y)
                day.append(365 * y + d)
    return np.array(site), np.array(year), np.array(day)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=2, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_every_row_is_tested_once_by_a_model_that_saw_none_of_its_group(labels, count, seed):
    group = np.array(labels)
    if len(set(labels)) < 2:
        with pytest.raises(UsageError, match="one group"):
            group_folds(group)
        return
    for folds in (group_folds(group), group_folds(group, count=count, seed=seed)):
        assert sorted(np.concatenate([f.test for f in folds])) == list(range(len(labels)))
        for fold in folds:
            check_no_leak(fold, groups={"group": group})
            assert len(fold.train) + len(fold.test) == len(labels)


def test_folds_hold_about_equally_many_rows():
    group = np.repeat(np.arange(9), [60, 50, 40, 30, 20, 10, 10, 10, 10])
    assert [len(f.test) for f in group_folds(group, count=4)] == [60, 60, 60, 60]


def test_a_year_is_tested_with_its_neighbours_windows_left_out():
    site, year, day = tower_rows()
    buffer = days_apart(day, 90, site)
    for fold in group_folds(year, buffer=buffer):
        check_no_leak(fold, groups={"year": year}, buffer=buffer)
        gaps = [abs(day[a] - day[fold.test][site[fold.test] == site[a]]).min() for a in fold.train]
        assert min(gaps) >= 90
    with pytest.raises(ContractError, match=r"leak in fold '2019'.*training row \d+ of S0 at \d+ is within 90"):
        check_no_leak(group_folds(year)[1], buffer=buffer)


def test_a_buffer_in_space_keeps_pixels_apart():
    position = np.stack(np.mgrid[:12, :12], -1).reshape(-1, 2) * 10.0
    field = (position[:, 1] >= 60).astype(int)
    buffer = Buffer(position=position, distance=30)
    for fold in group_folds(field, buffer=buffer):
        away = np.abs(position[fold.train][:, None] - position[fold.test][None]).max(-1).min()
        assert away == 30 and len(fold.train) == 12 * 4
    with pytest.raises(UsageError, match="no training rows left"):
        group_folds(field, buffer=Buffer(position=position, distance=1000))


def test_folds_by_both_share_neither_site_nor_year():
    site, year, _ = tower_rows()
    folds = cross_folds(site, year, count=3)
    assert len(folds) == 9 and sorted(np.concatenate([f.test for f in folds])) == list(range(len(site)))
    for fold in folds:
        check_no_leak(fold, groups={"site": site, "year": year})
        assert len(fold.train) == 4 * 2 * 19
    with pytest.raises(UsageError, match="two years"):
        cross_folds(site, np.full(len(site), 2018))


def test_last_year_of_each_site():
    site, year = np.array(["a"] * 4 + ["b"] * 2 + ["c"]), np.array([2010, 2011, 2012, 2012, 2013, 2014, 2015])
    fold = last_year_fold(site, year)
    assert list(fold.train) == [0, 1, 4] and list(fold.test) == [2, 3, 5]  # c has but one year


def test_choices_are_made_without_the_tested_rows():
    site, _, _ = tower_rows()
    for fold in group_folds(site, count=3):
        for choice in inner(fold, site, count=2):
            assert not np.isin(choice.test, fold.test).any() and not np.isin(choice.train, fold.test).any()
            assert np.isin(choice.test, fold.train).all()
            check_no_leak(choice, groups={"site": site})


def test_planted_leaks_are_caught_and_named():
    site, year, day = tower_rows()
    honest = group_folds(site)[2]

    def planted(row):
        return Fold(name="planted", train=np.sort(np.append(honest.train, row)), test=honest.test)

    check_no_leak(honest, groups={"site": site})
    with pytest.raises(ContractError, match=rf"leak in fold 'planted': row {honest.test[0]} is trained on and tested"):
        check_no_leak(planted(honest.test[0]))
    half = Fold(name="half", train=honest.test[::2], test=honest.test[1::2])
    with pytest.raises(ContractError, match="site S2 is trained on and tested"):
        check_no_leak(half, groups={"site": site})
    with pytest.raises(ContractError, match="year 2018 is trained on"):
        check_no_leak(honest, groups={"site": site, "year": year})
    with pytest.raises(ContractError, match="within 30 of a test row"):
        check_no_leak(half, buffer=days_apart(day, 30, site))
    check_no_leak(half, buffer=days_apart(day, 5, site))  # a year ends five days after its last row


def test_towers_near_each_other_share_a_group():
    names = ["DE-Tha", "DE-Gri", "DE-Kli", "CH-Dav", "XX-One"]
    lat = np.array([50.962, 50.950, 50.893, 46.815, np.nan])
    lon = np.array([13.567, 13.513, 13.523, 9.856, np.nan])
    with pytest.raises(UsageError, match="no coordinates for XX-One"):
        near_groups(names, lat, lon)
    found = near_groups(names, lat, lon, known=[["XX-One", "CH-Dav", "elsewhere"]])
    assert found["DE-Tha"] == found["DE-Gri"] == found["DE-Kli"] == "DE-Gri+DE-Kli+DE-Tha"
    assert found["CH-Dav"] == found["XX-One"] == "CH-Dav+XX-One"
    assert len(set(near_groups(names[:4], lat[:4], lon[:4], within_km=0.5).values())) == 4
    chain = near_groups(["a", "b", "c"], np.array([0.0, 0.15, 0.3]), np.zeros(3))  # 17 km apart each, 33 km in all
    assert len(set(chain.values())) == 1
    with pytest.raises(UsageError, match="twice"):
        near_groups(["a", "a"], np.zeros(2), np.zeros(2))


def test_real_towers_that_lie_together(shared):
    import pandas as pd

    sites = pd.read_csv(shared / "data" / "fluxnet2015_daily" / "sites.csv")
    found = near_groups(sites.site.tolist(), sites.lat.to_numpy(), sites.lon.to_numpy())
    together = {g for g in found.values() if "+" in g}
    assert together == {"DE-Gri+DE-Kli+DE-Tha", "CH-Oe1+CH-Oe2", "IT-Ro1+IT-Ro2", "CH-Cha+CH-Fru"}
