import dataclasses
import os
import sys
import types

import numpy as np
import pytest

from data_prep.cubes.clouds import CLEAR, CLOUD, LEFT_OUT, NOT_SEEN, away_from, classify
from data_prep.cubes.haze import HazeScreen
from data_prep.mappings.mapping import MASK, SNOW, Mask
from eomm.errors import ContractError, DataError, UsageError

SHAPE = (60, 60)
DAYS = list(range(100, 220, 6))


def series(seed=0):
    """(blue, red) per date of a field with noise."""
    rng = np.random.default_rng(seed)
    field = 0.04 + 0.01 * rng.random(SHAPE)
    return [
        tuple((field * k + 0.002 * rng.standard_normal(SHAPE)).astype(np.float32) for k in (1.0, 1.1)) for _ in DAYS
    ]


def screen(tmp_path, dates, clear=None):
    with HazeScreen(SHAPE, 10.0, tmp_path) as haze:
        for i, (day, (blue, red)) in enumerate(zip(DAYS, dates, strict=True)):
            haze.add(day, blue, red, np.ones(SHAPE, bool) if clear is None else clear[i])
        found = np.array(list(haze.hazy()))
    assert list(tmp_path.iterdir()) == []
    return found


def test_of_classes_the_named_are_kept_and_the_unclassified_are_not_cloud():
    mask = Mask(variable="SCL", clear=(4, 5, 6), cloud=(3, 8, 9, 10, 11))
    classes = np.append(np.arange(12), np.nan).astype(np.float32)[None]
    states = classify(mask, {MASK: classes})[0]
    assert np.flatnonzero(states == CLEAR).tolist() == [4, 5, 6]
    assert np.flatnonzero(states == CLOUD).tolist() == [3, 8, 9, 10, 11]
    assert np.flatnonzero(states == NOT_SEEN).tolist() == [0, 12]
    assert np.flatnonzero(states == LEFT_OUT).tolist() == [1, 2, 7]
    widest = classify(dataclasses.replace(mask, cloud=None), {MASK: classes})[0]
    assert np.flatnonzero(widest == CLOUD).tolist() == [1, 2, 3, 7, 8, 9, 10, 11]


def test_of_probabilities_a_threshold_decides_and_snow_is_left_out():
    mask = Mask(method="probability", variable="cloud", snow="snow", threshold=40)
    cloud = np.array([[0, 39, 40, 100, 0, np.nan, 90]], np.float32)
    snow = np.array([[0, 0, 0, 0, 40, 0, 90]], np.float32)
    states = classify(mask, {MASK: cloud, SNOW: snow})[0].tolist()
    assert states == [CLEAR, CLEAR, CLOUD, CLOUD, LEFT_OUT, NOT_SEEN, CLOUD]
    assert classify(dataclasses.replace(mask, snow=None), {MASK: cloud})[0, 4] == CLEAR


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "fmask", "variable": "x"}, "method is 'fmask', expected one of classes, probability"),
        ({"method": "probability"}, "variable is missing; method 'probability' reads it"),
        ({"method": "s2cloudless", "bands": {"B02": "x"}}, "bands are B02, expected B01 B02 .* B10 .*'s2cloudless'"),
        ({"variable": "SCL", "clear": (4,), "bands": {"B02": "x"}}, "bands are B02, expected none"),
        ({"variable": "SCL"}, "clear is empty"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ContractError, match=message):
        Mask(**fields)


def by_bands(method, spectra, **fields):
    """States of pixels given as top-of-atmosphere reflectance by band, in numbers of 1e-4."""
    mask = Mask(method=method, bands={b: b for b in Mask.METHODS[method]}, scale=1e-4, **fields)
    layers = {f"{MASK} {b}": np.array([[s[b] * 1e4 for s in spectra]], np.float32) for b in mask.bands}
    return classify(mask, layers)[0].tolist()


def test_s2cloudless_tells_cloud_from_land_in_top_of_atmosphere_reflectance():
    names = Mask.METHODS["s2cloudless"]
    land = dict(zip(names, (0.12, 0.10, 0.08, 0.12, 0.33, 0.35, 0.10, 0.001, 0.22, 0.13), strict=True))
    cloud = dict(zip(names, (0.55, 0.56, 0.58, 0.60, 0.64, 0.66, 0.35, 0.02, 0.45, 0.35), strict=True))
    missing = cloud | {"B10": np.nan}
    assert by_bands("s2cloudless", [land, cloud, missing]) == [CLEAR, CLOUD, NOT_SEEN]
    assert by_bands("s2cloudless", [missing]) == [NOT_SEEN]


def test_omnicloudmask_without_weights_is_refused_and_nothing_is_fetched(tmp_path, monkeypatch):
    land = {"B03": 0.06, "B04": 0.04, "B8A": 0.3}
    with pytest.raises(UsageError, match=r"name the folder of its weights as `weights`; none are fetched"):
        by_bands("omnicloudmask", [land])
    with pytest.raises(DataError, match=rf"{tmp_path}: holds no weights"):
        by_bands("omnicloudmask", [land], weights=str(tmp_path))
    (tmp_path / "model.pth").touch()
    monkeypatch.setitem(sys.modules, "omnicloudmask", None)
    with pytest.raises(UsageError, match=r"not installed; pip install omnicloudmask"):
        by_bands("omnicloudmask", [land], weights=str(tmp_path))


def test_omnicloudmask_is_given_its_bands_and_folder_and_its_classes_are_cloud_and_shadow(tmp_path, monkeypatch):
    (tmp_path / "model.pth").touch()

    def predict(array, *, destination_model_dir, model_download_source):
        assert os.environ["HF_HUB_OFFLINE"] == "1" and destination_model_dir == tmp_path
        np.testing.assert_allclose(array[:, 0, 0], [0.04, 0.06, 0.3], rtol=1e-6)  # red, green, near infrared
        return np.array([[[0, 1, 2, 3]]], np.uint8)

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setitem(sys.modules, "omnicloudmask", types.SimpleNamespace(predict_from_array=predict))
    land = {"B03": 0.06, "B04": 0.04, "B8A": 0.3}
    assert by_bands("omnicloudmask", [land] * 4, weights=str(tmp_path)) == [CLEAR, CLOUD, CLOUD, CLOUD]


def test_dilation_reaches_forty_metres_and_no_further():
    cloud = np.zeros((21, 21), bool)
    cloud[10, 10] = True
    got = away_from(cloud, 40.0, 10.0)
    assert np.flatnonzero(~got[10]).tolist() == list(range(6, 15))
    assert not got[12, 13] and got[13, 13]  # 36 m and 42 m away
    assert away_from(np.zeros((5, 5), bool), 40.0, 10.0).all()
    assert not away_from(np.ones((5, 5), bool), 40.0, 10.0).any()


def test_haze_goes_and_the_other_dates_stay(tmp_path):
    dates = series()
    dates[7] = (dates[7][0] + np.float32(0.05), dates[7][1] + np.float32(0.045))
    found = screen(tmp_path, dates)
    assert found[7].all()
    assert found[[i for i in range(len(DAYS)) if i != 7]].mean() < 1e-3


def test_a_missed_cloud_goes_where_it_is(tmp_path):
    dates = series()
    blue, red = (a.copy() for a in dates[5])
    blue[10:20, 10:20] += 0.4
    red[10:20, 10:20] += 0.38
    dates[5] = (blue, red)
    found = screen(tmp_path, dates)[5]
    assert found[10:20, 10:20].all() and not found[30:].any()


@pytest.mark.parametrize("lasting", [True, False])
def test_harvest_brightens_and_stays(tmp_path, lasting):
    """Soil brightens red nearly twice as much as blue; a real change must not be taken for haze."""
    dates = series()
    for i in range(8, len(DAYS) if lasting else 9):
        dates[i] = (dates[i][0] + np.float32(0.05), dates[i][1] + np.float32(0.095))
    assert screen(tmp_path, dates).mean() < 1e-3


def test_two_dates_say_nothing(tmp_path):
    dates = series()
    dates[7] = (dates[7][0] + np.float32(0.05), dates[7][1] + np.float32(0.045))
    clear = np.zeros((len(DAYS), *SHAPE), bool)
    clear[[6, 7]] = True
    assert not screen(tmp_path, dates, clear).any()


def test_what_is_not_clear_neither_counts_nor_is_called_haze(tmp_path):
    dates = series()
    clear = np.ones((len(DAYS), *SHAPE), bool)
    for i in range(0, len(DAYS), 2):  # cloud on every other date, masked
        dates[i] = (np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 0.5, np.float32))
        clear[i] = False
    dates[7] = (dates[7][0] + np.float32(0.05), dates[7][1] + np.float32(0.045))
    found = screen(tmp_path, dates, clear)
    assert found[7].all() and found.sum() == found[7].sum()
