"""Features of all kinds behind one interface: raw, embedded, and peers from files that are not to be trusted."""

import json
import pickle
import sys
import types
from datetime import date

import numpy as np
import pytest
import rasterio

from eomm.data.grid import Grid, to_date
from eomm.embedding.run import embed
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation import adapters, features_raw
from eomm.evaluation.adapters import load_array, provider
from eomm.evaluation.features import Features, fill, rows_of
from eomm.evaluation.features_model import embedded, randomised, stored
from tests.eomm.site import DAYS, GRID, SIZE, make_cube, make_model, truth

UTM = Grid(crs="EPSG:32631", transform=(10, 0, 501360, 0, -10, 5629680), height=SIZE, width=SIZE)
K = 5


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return make_cube(tmp_path_factory.mktemp("site") / "a.zarr", clouds=0.2, grid=UTM)


def vectors(height=SIZE, width=SIZE):
    y, x, k = np.mgrid[:height, :width, :K]
    return (y * 2 + x - 3 * k - 20).astype(np.int8)


def write_npy(path, array, *, grid=UTM, **about):
    np.save(path, array)
    path.with_suffix(".json").write_text(json.dumps({"crs": grid.crs, "transform": list(grid.transform), **about}))
    return path


def write_tiff(path, array, *, grid=UTM, **profile):
    shape = dict(height=array.shape[0], width=array.shape[1], count=array.shape[2], dtype=array.dtype)
    with rasterio.open(
        path, "w", driver="GTiff", crs=grid.crs, transform=rasterio.Affine(*grid.transform), **shape, **profile
    ) as file:
        file.write(np.moveaxis(array, -1, 0))
    return path


def read(spec, cube, dates=None):
    return provider(spec)[1](cube, dates)


# --- Raw features -------------------------------------------------------------------------------------------------


def test_bands_are_the_physical_values_of_each_date(cube):
    found = features_raw.bands(cube, None)
    assert found.check(UTM, "bands").day.tolist() == DAYS
    for i in (0, 7):
        np.testing.assert_allclose(found.values[i][found.valid[i]], truth(DAYS[i])[found.valid[i]] / 1e4, rtol=1e-5)
    assert 0.7 < found.valid.mean() < 0.9


def test_bands_of_another_modality_are_those_of_its_nearest_acquisition(cube):
    both = features_raw.bands(cube, None, names=("s2", "s1"))
    stored_values, _ = cube["s1"].read([4])
    np.testing.assert_allclose(both.values[4, ..., 10:12][both.valid[4]], stored_values[0][both.valid[4]] / 100)
    assert (both.values[4, ..., 12][both.valid[4]] == 1).all()


def test_window_holds_nothing_beyond_the_encoders_frames(cube):
    frames = {"s2": (2, 2)}
    before = features_raw.bands(cube, (to_date(DAYS[8]), to_date(DAYS[8])), frames=frames)
    assert before.values.shape == (1, SIZE, SIZE, 4 * 10 + 6 * (10 + 2))
    stored_values, valid = cube["s2"].read()
    y, x = np.argwhere(valid[8] & valid[7])[0]
    # the first of the three observations before or on the target is the target itself, the second the one before
    np.testing.assert_allclose(before.values[0, y, x, 40:50], stored_values[8, y, x] / 1e4, rtol=1e-5)
    np.testing.assert_allclose(before.values[0, y, x, 52:62], stored_values[7, y, x] / 1e4, rtol=1e-5)
    alone = features_raw.bands(cube, (to_date(DAYS[8]), to_date(DAYS[8])), frames={"s2": (0, 0)})
    np.testing.assert_array_equal(alone.values[0, ..., 52:62], alone.values[0, ..., 40:50])


def test_indices_follow_their_formulas(cube):
    found = features_raw.indices(cube, None)
    raw = features_raw.bands(cube, None)
    red, near = raw.values[..., 2], raw.values[..., 6]
    ndvi = (near - red) / np.where(raw.valid, near + red, 1)
    at = {n: i for i, n in enumerate(features_raw.INDICES)}
    np.testing.assert_allclose(found.values[..., at["NDVI"]][found.valid], ndvi[found.valid], rtol=1e-5)
    np.testing.assert_allclose(found.values[..., at["kNDVI"]][found.valid], np.tanh(ndvi**2)[found.valid], rtol=1e-5)


# --- From dates to a row ------------------------------------------------------------------------------------------


def test_missing_dates_lie_on_the_line_between_neighbours():
    at = np.array([0, 10, 20, 30], np.int32)
    values = np.array([1.0, 99, 3, 99], np.float32)[:, None, None, None]
    valid = np.array([True, False, True, False])[:, None, None]
    assert fill(values, valid, at).ravel().tolist() == [1, 2, 3, 3]
    assert fill(values, ~valid, at).ravel().tolist() == [99, 99, 99, 99]
    assert np.isfinite(fill(values, np.zeros_like(valid), at)).all()


def test_rows_by_date_season_and_series():
    day = np.array([17600, 17605, 17700, 17705], np.int32)  # March and June 2018
    values = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 1, 2, 1), np.float32)
    valid = np.ones((4, 1, 2), bool)
    valid[3, 0, 1] = False
    some = Features(values, valid, day)
    assert rows_of(some, "date", 17605).values.ravel().tolist() == [1, 1]
    season = rows_of(some, "season")
    assert season.about == ("MAM", "JJA")
    assert season.values.tolist() == [[[0.5, 2.5], [0.5, 2.0]]]
    series = rows_of(some, "series")
    assert series.values.tolist() == [[[0, 1, 2, 3], [0, 1, 2, 2]]]
    with pytest.raises(UsageError, match="2018-03-10"):
        rows_of(some, "date", 17601)


def test_features_of_no_date_are_the_same_in_every_mode():
    one = Features(np.ones((1, 2, 2, 3), np.float32), np.ones((1, 2, 2), bool), None)
    assert all(rows_of(one, mode, 17000).values.shape == (2, 2, 3) for mode in ("date", "season", "series"))


# --- Models -------------------------------------------------------------------------------------------------------


def test_model_and_random_encoder_differ_only_in_parameters(cube, tmp_path):
    model = make_model(("s2", "s1"), fused=True)
    dates = (to_date(DAYS[8]), to_date(DAYS[9]))
    trained = embedded(model, cube, dates, work=tmp_path)
    again = stored(next(tmp_path.glob("*.zarr")), cube, dates, name="again")
    np.testing.assert_array_equal(trained.values, again.values)
    random = embedded(randomised(model, 1), cube, dates)
    assert random.values.shape == trained.values.shape == (2, SIZE, SIZE, 8)
    assert (random.valid == trained.valid).all()
    assert np.abs(random.values - trained.values)[trained.valid].mean() > 0.01


def test_a_store_of_another_site_or_of_simulated_data_is_refused(cube, tmp_path):
    model = make_model()
    for name, changes in {"other site": {"site": "b"}, "simulated": {"simulated": True}, "other grid": {}}.items():
        grid = UTM if changes else GRID
        other = make_cube(tmp_path / f"{name}.zarr", s1=False, grid=grid, **changes)
        path = embed(model, other, tmp_path / f"{name}-e.zarr", dtype="float32")
        with pytest.raises(ContractError, match="embed this cube"):
            read(f"x={path}", cube)


# --- Peers' files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["pixel", "number"])
def test_tessera_is_int8_times_scales(cube, tmp_path, shape):
    scales = np.full((SIZE, SIZE), 0.5, np.float32) if shape == "pixel" else np.full((SIZE, SIZE, K), 0.5, np.float32)
    scales[3, 4], scales[5, 6] = np.nan, 0
    path = write_npy(tmp_path / "grid_3.05_50.85.npy", vectors())
    np.save(tmp_path / "grid_3.05_50.85_scales.npy", scales)
    found = read(f"tessera={path}", cube)
    assert found.day is None and found.values.shape == (1, SIZE, SIZE, K)
    assert not found.valid[0, 3, 4] and not found.valid[0, 5, 6] and found.valid.sum() == SIZE**2 - 2
    np.testing.assert_allclose(found.values[0][found.valid[0]], 0.5 * vectors()[found.valid[0]])


def test_tesseras_land_mask_says_where_it_lies(cube, tmp_path):
    wider = Grid(crs="EPSG:32631", transform=(10, 0, 501310, 0, -10, 5629700), height=60, width=50)
    np.save(tmp_path / "t.npy", vectors(60, 50))
    np.save(tmp_path / "t_scales.npy", np.ones((60, 50), np.float32))
    write_tiff(tmp_path / "t.tiff", np.ones((60, 50, 1), np.uint8), grid=wider)
    found = read(f"t={tmp_path / 't.npy'}", cube)
    np.testing.assert_array_equal(found.values[0], vectors(60, 50)[2 : 2 + SIZE, 5 : 5 + SIZE])
    (tmp_path / "t.tiff").unlink()
    with pytest.raises(DataError, match="nothing says where it lies"):
        read(f"t={tmp_path / 't.npy'}", cube)


def test_alphaearth_is_dequantised_and_may_lie_bottom_up(cube, tmp_path):
    raw = vectors()
    raw[0, 0] = -128
    upward = Grid(crs="EPSG:32631", transform=(10, 0, 501360, 0, 10, 5629680 - 10 * SIZE), height=SIZE, width=SIZE)
    path = write_tiff(tmp_path / "aef.tif", raw[::-1], grid=upward)
    found = read(f"aef=alphaearth:{path}", cube)
    assert not found.valid[0, 0, 0] and found.valid.sum() == SIZE**2 - 1
    expected = np.sign(raw) * (raw.astype(float) / 127.5) ** 2
    np.testing.assert_allclose(found.values[0][found.valid[0]], expected[found.valid[0]], rtol=1e-6)
    with pytest.raises(UsageError, match="alphaearth:"):
        read(f"aef={path}", cube)


def test_another_projection_is_warped_by_nearest_neighbour(cube, tmp_path):
    degrees = Grid(crs="EPSG:4326", transform=(1e-4, 0, 3.0185, 0, -1e-4, 50.8215), height=60, width=80)
    y, x = np.mgrid[:60, :80]
    path = write_tiff(tmp_path / "d.tif", np.stack([y, x], -1).astype(np.float32), grid=degrees)
    found = read(f"d={path}", cube)
    to_degrees = rasterio.warp.transform("EPSG:32631", "EPSG:4326", [501360 + 125], [5629680 - 85])
    lon, lat = to_degrees[0][0], to_degrees[1][0]
    assert found.valid[0, 8, 12]
    assert found.values[0, 8, 12].tolist() == [int((50.8215 - lat) * 1e4), int((lon - 3.0185) * 1e4)]


def test_what_lies_elsewhere_is_refused(cube, tmp_path):
    away = Grid(crs="EPSG:32631", transform=(10, 0, 601360, 0, -10, 5629680), height=SIZE, width=SIZE)
    path = write_npy(tmp_path / "away.npy", vectors().astype(np.float32), grid=away)
    with pytest.raises(ContractError, match="lies elsewhere"):
        read(f"away={path}", cube)
    path = write_npy(tmp_path / "lost.npy", vectors().astype(np.float32), grid=GRID)
    with pytest.raises(ContractError, match="no position"):
        read(f"lost={path}", cube)


def test_dates_of_an_array_are_declared(cube, tmp_path):
    array = np.stack([np.full((SIZE, SIZE, 2), v, np.float32) for v in (1, 2)])
    array[1, 0, 0] = np.nan
    path = write_npy(tmp_path / "presto.npy", array, dates=["2018-03-01", "2018-06-01"])
    found = read(f"presto={path}", cube)
    assert [str(to_date(d)) for d in found.day] == ["2018-03-01", "2018-06-01"]
    assert not found.valid[1, 0, 0] and found.valid.sum() == 2 * SIZE**2 - 1
    assert read(f"presto={path}", cube, (date(2018, 5, 1), date(2018, 7, 1))).day.tolist() == found.day[1:].tolist()
    about = {"crs": UTM.crs, "transform": list(UTM.transform)}
    for dates, message in (([17591, 17683], "17591 is no day"), (20180301, "expected a list of days")):
        path.with_suffix(".json").write_text(json.dumps(about | {"dates": dates}))
        with pytest.raises(DataError, match=rf"presto.json.*dates.*{message}"):
            read(f"presto={path}", cube)
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="must name them"):
        read(f"presto={path}", cube)


def test_pickles_are_refused_and_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (sys.exit, (9,))

    path = tmp_path / "bad.npy"
    np.save(path, np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled objects are refused"):
        load_array(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="pickled objects are refused"):
        load_array(path)


def test_sizes_are_looked_at_before_anything_is_read(cube, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "MAX_BYTES", 1000)
    path = write_npy(tmp_path / "big.npy", vectors().astype(np.float32))
    with pytest.raises(DataError, match="at most"):
        read(f"big={path}", cube)


@pytest.mark.parametrize("spec", ["", "name", "=x.npy", "name=", "name=nothing_that_exists", "name=zarr:"])
def test_specs_say_what_is_expected(spec):
    with pytest.raises(UsageError, match="NAME=FORM:PATH"):
        provider(spec)


# --- Anybody's function -------------------------------------------------------------------------------------------


def test_the_example_of_a_function_runs(cube):
    found = read("mine=function:experiments.greenness:greenness", cube, (to_date(DAYS[2]), to_date(DAYS[4])))
    assert found.day.tolist() == DAYS[2:5] and found.values.shape == (3, SIZE, SIZE, 1)
    expected = (truth(DAYS[2])[..., 6] - truth(DAYS[2])[..., 2]) / 1e4
    np.testing.assert_allclose(found.values[0, ..., 0][found.valid[0]], expected[found.valid[0]], rtol=1e-4)


def test_a_users_function_is_checked(cube, monkeypatch):
    module = types.ModuleType("my_features")
    monkeypatch.setitem(sys.modules, "my_features", module)
    module.greenness = lambda cube: np.zeros(3)
    with pytest.raises(UsageError, match="expected Features"):
        read("mine=function:my_features:greenness", cube)
    module.greenness = lambda cube: (np.zeros((1, 2, 2, 1)), np.ones((1, 2, 2), bool), None)
    with pytest.raises(UsageError, match="on the cube's grid"):
        read("mine=function:my_features:greenness", cube)
    module.greenness = lambda cube: (np.full((1, SIZE, SIZE, 1), np.nan), np.ones((1, SIZE, SIZE), bool), None)
    assert not read("mine=function:my_features:greenness", cube).valid.any()
    with pytest.raises(UsageError, match="expected MODULE:FUNCTION"):
        provider("mine=function:my_features:missing")
