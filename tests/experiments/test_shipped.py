"""Readers and roles of the shipped sets, against what the sets hold."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from eomm.experiments.shipped import bavaria, bench, card, flanders, korea, looks, places, plan, sets, slovakia, tables
from eomm.experiments.shipped import unlabelled_sets as unlabelled

from eomm.errors import DataError, UsageError
from eomm.evaluation.quality.vectors import Vectors


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data"


@pytest.fixture(scope="module")
def mowing(data):
    return slovakia.read_mowing(data)


@pytest.fixture(scope="module")
def parcels(data):
    return korea.read_korea(data)


@pytest.mark.parametrize(
    ("read", "series", "groups"),
    [
        (unlabelled.read_swiss, 1560, 26),
        (unlabelled.read_towers, 180, 3),
        (unlabelled.read_forest, 180, 5),
        (unlabelled.read_berlin, 573, 573),
        (bavaria.read_bavaria, 1249, 21),
        (korea.read_korea, 597, 597),
        (slovakia.read_plots, 123, 46),
        (slovakia.read_mowing, 399, 42),
    ],
)
def test_readers_find_what_is_there(data, read, series, groups):
    found = read(data)
    assert (len(found), len({s.group for s in found})) == (series, groups)
    for s in found:
        assert s.values.shape == (len(s), 10) and s.values.dtype == np.float32 and s.day.dtype == np.int32
        assert -0.05 < s.values.min() and s.values.max() < 1.2


def test_flanders_holds_fields_and_two_parts_with_columns_between(data):
    found = flanders.read_flanders(data)
    assert len(found) == 1024
    columns = {part: {s.labels["column"] for s in found if s.labels["part"] == part} for part in ("train", "test")}
    assert max(columns["train"]) == 40 and min(columns["test"]) == 50
    fields = {s.group: {s.labels["crop"] for s in found if s.labels["crop"]} for s in found}
    assert Counter(s.labels["crop"] for s in found)[1200] == pytest.approx(1249 / 4, rel=0.1) and len(fields) > 20


def test_landsat_scenes_that_repeat_are_left_out(data):
    days = flanders.read_landsat(data)[3]
    dates = [date.fromordinal(date(1970, 1, 1).toordinal() + int(d)) for d in days]
    assert not set(dates) & set(flanders.REPEATED) and len(set(dates)) == len(dates) >= 8
    reflectance, kelvin, about = flanders.seen_by_landsat(data, flanders.read_flanders(data))
    assert 270 < kelvin.values.min() and kelvin.values.max() < 330
    assert np.abs(about["nearest"] - about["date"]).max() <= flanders.NEAREST_DAYS
    red = np.array([s.values[i, 2] for s, i in zip(reflectance.series, reflectance.at, strict=True)])
    assert np.corrcoef(red, reflectance.values[:, 2])[0, 1] > 0.6


def test_no_place_has_two_roles(mowing, parcels):
    counts = Counter(s.labels["role"] for s in parcels)
    assert counts == {"choose": 100, "report": 197, "train": 300}
    by_role = {r: {s.group for s in mowing if s.labels["role"] == r} for r in ("choose", "report")}
    assert not by_role["choose"] & by_role["report"] and len(by_role["choose"]) == 21
    assert all(s.labels["role"] != "train" for s in mowing)


def test_written_roles_are_those_of_the_rules(mowing):
    localities = {slovakia.locality_of(s.labels["plot"]) for s in mowing}
    assert len(localities) == 44
    assert places.halve_localities(sorted(localities)) == places.CHOSEN_LOCALITIES
    fields = [f for farm in places.FARMS.values() for f in farm]
    assert len(set(fields)) == 21 and sum(places.bavarian_role(f) == "report" for f in fields) == 7
    assert not set(places.FLANDERS_TEST_DATES) & set(places.FLANDERS_VALIDATION_DATES)


def test_flemish_dates_are_every_third_of_the_clear_ones(data):
    import xarray as xr

    with xr.open_dataset(tables.files(data / "flanders_s1s2", "S2_L2A_20m*")[0], mask_and_scale=False) as ds:
        share = np.isin(ds.SCL.values, (4, 5, 6)).mean((1, 2))
        clear = ds.timestamp.values[share >= 0.9].astype("datetime64[D]").astype(object).tolist()
    assert tuple(clear[1::3]) == places.FLANDERS_TEST_DATES
    assert tuple(clear[3::6]) == places.FLANDERS_VALIDATION_DATES


def test_the_missing_band_follows_from_its_neighbours(data):
    series = unlabelled.read_swiss(data, pixels=5)
    values = np.concatenate([s.values for s in series])
    guess = tables.with_b8a(np.delete(values, 7, axis=1))
    np.testing.assert_array_equal(np.delete(guess, 7, axis=1), np.delete(values, 7, axis=1))
    assert np.sqrt(np.mean((guess[:, 7] - values[:, 7]) ** 2)) < 0.013


def test_yields_are_of_whole_pixels(data):
    found = bavaria.read_bavaria(data, pixels=20)
    values = np.array([s.labels["yield"] for s in found])
    assert np.isfinite(values).all() and 0.3 < values.min() and values.max() < 14
    assert {s.labels["crop"] for s in found} == {"wheat", "barley"}


@pytest.mark.whole
def test_constants_are_measured_on_training_places_without_flanders(data):
    sample = plan.sample_of(data)
    assert Counter(s.labels["set"] for s in sample) == {
        "swiss": 300, "towers": 180, "forest": 180, "berlin": 300, "bavaria": 300, "korea": 300
    }  # fmt: skip
    assert all(s.labels.get("role", "train") == "train" for s in sample)


@pytest.mark.whole
def test_the_card_counts_what_trains(data):
    for name, series in sets.training_series(data).items():
        days = np.concatenate([s.day for s in series]).astype("datetime64[D]")
        first, last = (str(d)[:4] for d in (days.min(), days.max()))
        _, years, *counts, _ = card.SOURCES[name]
        assert counts == [len(series), len({s.group for s in series}), len(days)], name
        assert years == (first if first == last else f"{first}-{last}"), name


def test_crops_are_told_of_parcels_that_train_alone_and_permuted_ones_are_as_many(parcels):
    told = {s.labels["role"] for s, crop in zip(parcels, sets.crops_of(parcels), strict=True) if crop}
    assert told == {"train"}
    trained = [s for s in parcels if s.labels["role"] == "train"]
    own, permuted = sets.crops_of(trained), sets.crops_of(trained, permuted=True)
    assert Counter(own) == Counter(permuted) and own != permuted
    assert min(n for crop, n in Counter(own).items() if crop) >= sets.FEWEST_PARCELS and "" in own
    fields = [replace(parcels[0], labels={**parcels[0].labels, "set": "bavaria"})] * 9
    assert set(sets.crops_of(fields)) == {""}


def test_names_of_tasks_are_distinct_and_nothing_is_left_open():
    names = [t.name for t in plan.TASKS]
    assert len(set(names)) == len(names)
    assert all(t.metric and t.probe and t.labels and t.group for t in plan.TASKS)


def test_a_look_is_logged_before_anything_is_scored(tmp_path):
    log = tmp_path / "looks.jsonl"
    for count in (1, 2):
        found = looks.Look(why="test", command="eomm bench", path=log).log(models={"model": "abc"}, tasks=["t"])
        assert found == count
    assert [e["why"] for e in looks.read_looks(log)] == ["test", "test"]
    with pytest.raises(DataError, match="cannot be logged"):
        looks.Look(why="", path=tmp_path).log(models={}, tasks=[])
    with pytest.raises(DataError, match="missing"):  # the look is logged although the data are not there
        bench.run((), bench.Request(data=tmp_path, role="report", look=looks.Look(why="try", path=log)))
    assert len(looks.read_looks(log)) == 3 and json.loads(log.read_text().splitlines()[-1])["why"] == "try"


def test_report_needs_a_reason_and_what_trains_is_not_scored(tmp_path):
    with pytest.raises(UsageError, match="--why"):
        bench.Request(data=tmp_path, role="report", look=looks.Look(path=tmp_path / "log"))
    with pytest.raises(UsageError, match="role 'train'"):
        bench.Request(data=tmp_path, role="train")
    with pytest.raises(UsageError, match="none begins so"):
        bench.Request(data=tmp_path, only=["nothing"])


class SeenError(Exception):
    """What a spy raises once it was shown series."""


@pytest.mark.whole
def test_choosing_looks_at_nothing_that_reports(data):
    """Every series that a trial of `choose` scores is of a place that chooses, or of one that trains."""
    roles: dict[tuple[str, str], set[str | None]] = {}

    def spy(series, at):
        for s in series:
            roles.setdefault((s.labels["set"], s.labels["region"]), set()).add(s.labels.get("role"))
        raise SeenError

    vectors = Vectors(name="spy", length=1, make=spy)
    for trial in plan.trials(data, "choose"):
        with pytest.raises(SeenError):
            trial.score(vectors)
    assert roles["mowing", "SK"] == roles["korea", "us"] == roles["plots", "LR"] == {"choose"}
    assert ("korea", "nj") not in roles and ("plots", "NB") not in roles
    assert roles["bavaria", "bavaria"] == {"train"}
