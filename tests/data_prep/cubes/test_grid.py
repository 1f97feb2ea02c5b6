import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.cubes.grid import cube_grid, decibel, power, to_grid
from eomm.data.grid import Grid
from eomm.errors import ContractError, UsageError


def make(gsd=10.0, west=500000.0, north=5600000.0, height=8, width=12, crs="EPSG:32631"):
    return Grid(crs=crs, transform=(gsd, 0.0, west, 0.0, -gsd, north), height=height, width=width)


TEN, TWENTY = make(), make(gsd=20.0, height=4, width=6)


def test_bilinear_keeps_a_plane_and_does_not_shift_it():
    plane = (TWENTY.x[None] * 0.01 - TWENTY.y[:, None] * 0.02).astype(np.float64)
    got = to_grid(plane, TWENTY, TEN, method="bilinear")
    expected = TEN.x[None] * 0.01 - TEN.y[:, None] * 0.02
    np.testing.assert_allclose(got[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)  # the rim is extrapolated flat


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
def test_missing_inputs_never_bleed_into_their_neighbours(method):
    values = np.full((4, 6), 0.3, np.float32)
    values[1, 2] = np.nan
    got = to_grid(values, TWENTY, TEN, method=method)
    missing = np.zeros((8, 12), bool)
    missing[2:4, 4:6] = True  # exactly the four pixels within the missing one
    np.testing.assert_array_equal(np.isnan(got), missing)
    np.testing.assert_allclose(got[~missing], 0.3, atol=1e-6)


@given(row=st.integers(-10, 10), col=st.integers(-14, 14))
@settings(max_examples=60, deadline=None)
def test_an_aligned_window_is_copied_exactly(row, col):
    values = np.random.default_rng(0).random((8, 12)).astype(np.float32)
    source = make(west=500000.0 + 10 * col, north=5600000.0 - 10 * row)
    got = to_grid(values, source, TEN, method="bilinear")
    canvas = np.full((100, 100), np.nan, np.float32)
    canvas[40 + row : 48 + row, 40 + col : 52 + col] = values
    np.testing.assert_array_equal(got, canvas[40:48, 40:52])


def test_partial_overlap_is_missing_outside():
    shifted = make(gsd=20.0, west=500060.0, height=4, width=6)
    got = to_grid(np.ones((4, 6), np.float32), shifted, TEN, method="bilinear")
    assert np.isnan(got[:, :6]).all() and (got[:, 6:] == 1).all()


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
@pytest.mark.parametrize("gsd", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("shift", [-23.3, 2.5, 47.1])
def test_what_lies_outside_is_missing_whether_or_not_something_inside_is(method, gsd, shift):
    source = make(gsd=gsd, west=500000 + shift, north=5600000 - shift / 2, height=8, width=8)
    values = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    holed = np.where(np.arange(64).reshape(8, 8) == 27, np.float32(np.nan), values)
    whole, nearest = (to_grid(values, source, TEN, method=m) for m in (method, "nearest"))
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(nearest))
    hole = np.isnan(to_grid(holed, source, TEN, method="nearest"))
    np.testing.assert_array_equal(np.isnan(to_grid(holed, source, TEN, method=method)), hole)


def test_classes_are_never_mixed():
    classes = np.array([[4, 9], [8, 5]], np.float32)
    source, target = make(gsd=20.0, height=2, width=2), make(height=4, width=4)
    got = to_grid(classes, source, target, method="nearest")
    np.testing.assert_array_equal(got, classes.repeat(2, 0).repeat(2, 1))


def test_no_power_is_no_db_and_both_ways_agree():
    db = np.array([-25.0, -10.0, 3.0], np.float32)
    np.testing.assert_allclose(decibel(power(db)), db, atol=1e-4)
    assert np.isnan(decibel(np.array([0.0, -0.1, np.nan], np.float32))).all()


def test_the_finest_aligned_grids_are_joined():
    got = cube_grid([("a", TEN), ("b", TWENTY), ("c", make(west=500050.0, north=5600020.0))])
    assert got == Grid(crs="EPSG:32631", transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5600020.0), height=10, width=17)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(crs="EPSG:32632"), "b.tif: lies in EPSG:32632, expected EPSG:32631.*warp it"),
        (make(west=500003.0), "b.tif: its 10 m grid starts at 500003.0.*not aligned.*Warp it"),
        (make(crs="EPSG:4326"), "b.tif: lies in EPSG:4326.*expected a UTM zone.*gdalwarp"),
    ],
)
def test_grids_that_cannot_be_joined_are_refused(other, message):
    with pytest.raises(ContractError, match=message):
        cube_grid([("a.tif", TEN), ("b.tif", other)])


def test_unknown_methods_are_refused():
    with pytest.raises(UsageError, match=r"'lanczos3' is unknown; choose one of nearest, bilinear"):
        to_grid(np.ones((4, 6), np.float32), TWENTY, TEN, method="lanczos3")
