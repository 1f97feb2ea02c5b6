"""The screen for shadow and thin cloud that masks pass."""

import numpy as np
import pytest

from data_prep.cubes.build import build_cube
from data_prep.cubes.excursions import (
    BANDS,
    BRIGHTER,
    DARKER,
    MEANINGS,
    NOTHING,
    PROVISIONAL,
    ExcursionScreen,
    check_screen,
    excursions,
)
from data_prep.cubes.options import CubeOptions
from eomm.data.cube import open_cube
from eomm.data.modality import SENTINEL2
from eomm.errors import UsageError
from tests.data_prep.tiny_scenes import optical, write_site

DAY = np.arange(100, 160, 6, dtype=np.int32)
MEADOW = np.array([2500, 3000, 3200, 3300, 2000, 1000], np.int16)  # of BANDS


def series(**changes):
    """[10, 6, 1, 1] of a meadow; changes: `day_5` = factors of the bands."""
    planes = np.repeat(MEADOW[None], len(DAY), 0)
    for name, factor in changes.items():
        planes[int(name.removeprefix("day_"))] = np.rint(MEADOW * np.asarray(factor))
    return planes[:, :, None, None]


def found(planes, clear=None, day=DAY):
    return excursions(planes, np.ones((len(day), 1, 1), bool) if clear is None else clear, day)[:, 0, 0].tolist()


def test_shadow_and_thin_cloud_of_one_date_are_found_and_the_newest_dates_are_provisional():
    quiet = [NOTHING] * 9 + [PROVISIONAL]
    assert found(series()) == quiet
    assert found(series(day_5=0.6))[5] == DARKER and found(series(day_5=1.3))[5] == BRIGHTER
    assert found(series(day_9=0.6)) == quiet
    clear = np.ones((10, 1, 1), bool)
    clear[8:] = False
    assert found(series(day_7=0.6), clear) == [NOTHING] * 7 + [PROVISIONAL, NOTHING, NOTHING]


@pytest.mark.parametrize(
    "changes",
    [
        {f"day_{i}": (0.8, 0.7, 0.7, 0.7, 1.2, 1.4) for i in range(5, 10)},  # mown, and it stays so
        {"day_5": (0.8, 0.7, 0.7, 0.7, 1.2, 1.4)},  # bands part
        {f"day_{i}": 0.6 for i in range(5, 10)},  # lasts
        {"day_5": 0.9},  # little
        {"day_5": (0.6, 0.6, 0.6, 0.6, 0.6, 0.95)},  # one band stays
    ],
)
def test_what_parts_or_stays_is_not_found(changes):
    assert found(series(**changes)) == [NOTHING] * 9 + [PROVISIONAL]


def test_neighbours_are_the_clear_ones_and_none_too_far():
    clear = np.ones((10, 1, 1), bool)
    clear[[4, 6]] = False
    assert found(series(day_4=2.0, day_5=0.6, day_6=2.0), clear)[5] == DARKER
    clear[[3, 7]] = False
    assert found(series(day_5=0.6), clear)[5] == DARKER  # 18 days
    clear[2] = False
    assert found(series(day_5=0.6), clear)[5] == NOTHING  # 24


def test_a_later_date_never_takes_back_what_was_found():
    rng = np.random.default_rng(0)
    planes = np.rint(MEADOW[:, None, None] * rng.choice([0.6, 1, 1, 1, 1.3], (10, 1, 6, 5))).astype(np.int16)
    clear = rng.random((10, 6, 5)) < 0.8
    whole = excursions(planes, clear, DAY)
    assert {NOTHING, DARKER, BRIGHTER, PROVISIONAL} == set(np.unique(whole))
    for n in range(3, 10):
        part = excursions(planes[:n], clear[:n], DAY[:n])
        final = part != PROVISIONAL
        np.testing.assert_array_equal(part[final], whole[:n][final])


def test_a_site_in_rows_is_the_site_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    planes = np.rint(MEADOW[:, None, None] * rng.choice([0.6, 1, 1, 1, 1.3], (10, 1, 7, 5))).astype(np.int16)
    clear = rng.random((10, 7, 5)) < 0.8
    monkeypatch.setattr("data_prep.cubes.excursions.ROWS_TOGETHER", 10 * 6 * 5 * 2)
    with ExcursionScreen((7, 5), 6, tmp_path) as screen:
        for day, plane in zip(DAY, planes, strict=True):
            screen.add(int(day), plane * np.float32(1e-4))
        got = np.stack(list(screen.found(lambda i: clear[i])))
    np.testing.assert_array_equal(got, excursions(planes, clear, DAY))
    assert list(tmp_path.iterdir()) == []


def test_a_cube_tells_flags_beside_its_mask_or_takes_them_out_of_it(tmp_path):
    site = optical(write_site(tmp_path / "in") / "s2")
    cubes = {
        mode: open_cube(
            build_cube(tmp_path / f"{mode}.zarr", site="x", sources=site, options=CubeOptions(screen=mode))
        )["s2"]
        for mode in ("none", "flag", "mask")
    }
    assert cubes["none"].read_screen() is None and "screen" not in cubes["none"].attributes
    flags = cubes["flag"].read_screen()
    assert flags.shape == cubes["flag"].read()[1].shape
    np.testing.assert_array_equal(flags, cubes["mask"].read_screen())
    np.testing.assert_array_equal(cubes["none"].read()[1], cubes["flag"].read()[1])
    assert cubes["none"].digests == cubes["flag"].digests
    flagged = (flags == DARKER) | (flags == BRIGHTER)
    np.testing.assert_array_equal(cubes["mask"].read()[1], cubes["flag"].read()[1] & ~flagged)
    said = cubes["mask"].attributes["screen"]
    assert said["mode"] == "mask" and list(said["fraction_of_clear"]) == MEANINGS.split()
    part = cubes["flag"].read_screen(slice(2, 4), slice(1, 3), slice(0, 2))
    np.testing.assert_array_equal(part, flags[2:4, 1:3, :2])


def test_what_cannot_be_screened_is_refused(tmp_path):
    check_screen("s2", SENTINEL2.band_names)
    with pytest.raises(UsageError, match=f"has B08, B8A of {', '.join(BANDS)}"):
        check_screen("s2", ("B02", "B08", "B8A"))
    with pytest.raises(UsageError, match="screen 'all' is unknown; choose one of none, flag, mask"):
        CubeOptions(screen="all")
