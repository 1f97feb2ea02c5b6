"""Probes: labels from files, folds that hold whole fields out, and scores that cannot be had by luck or by a leak."""

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.warp import transform

from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.features import Features
from eomm.evaluation.folds import Fold
from eomm.evaluation.labels import Labels, block_groups, fields, read_labels
from eomm.evaluation.probes import tables as probes
from eomm.evaluation.probes.fit import PENALTIES, ProbeTask, _fit_logistic, fit_head, fit_probe, fit_scaler, reduce
from eomm.evaluation.probes.plan import LabelledSite, Method, ProbePlan
from eomm.evaluation.probes.rows import draw, even
from eomm.evaluation.probes.score import confusion, metrics, squares
from eomm.evaluation.probes.tables import probe
from tests.eomm.site import make_cube

SIZE = 24
GRID = Grid(crs="EPSG:32631", transform=(10, 0, 501360, 0, -10, 5629680), height=SIZE, width=SIZE)


def field_map(seed=0, side=4):
    """Square fields of two classes with a lane between them: [y, x], -1 in the lanes."""
    rng = np.random.default_rng(seed)
    count = SIZE // side
    kinds = rng.permutation(np.arange(count**2) % 2).reshape(count, count)
    values = np.kron(kinds, np.ones((side, side), int)).astype(np.int32)
    lane = np.arange(SIZE) % side == side - 1
    values[lane], values[:, lane] = -1, -1
    return values


def labels_of(values, classes=("maize", "grass")):
    group, names = fields(values)
    return Labels(values, values >= 0, classes, group, names)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return make_cube(tmp_path_factory.mktemp("site") / "a.zarr", grid=GRID, s1=False)


def source(array):
    """A provider of features of no date."""
    array = np.asarray(array, np.float32)
    array = array[..., None] if array.ndim == 2 else array
    return lambda cube, dates: Features(array[None], np.ones((1, *array.shape[:2]), bool), None)


def run(cube, arrays, values=None, *, main=None, **changes):
    values = field_map() if values is None else values
    labels = values if isinstance(values, Labels) else labels_of(values)
    plan = ProbePlan(
        **{"shares": (1.0,), "seeds": (0,), "buffer_px": 2, "probes": ("knn", "linear"), "folds": 3} | changes
    )
    methods = {n: Method(n, n) for n in arrays}
    return probe([LabelledSite(cube, labels)], {n: source(a) for n, a in arrays.items()}, methods, plan, main=main)


def score(outcome, method, metric="balanced_accuracy", **where):
    (found,) = [
        s
        for s in outcome.scores
        if s["method"] == method and s["metric"] == metric and all(s[k] == v for k, v in where.items())
    ]
    return found


# --- Labels -------------------------------------------------------------------------------------------------------


def write_labels(path, values, **profile):
    shape = dict(height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype)
    with rasterio.open(
        path, "w", driver="GTiff", crs=GRID.crs, transform=rasterio.Affine(*GRID.transform), **shape, **profile
    ) as file:
        file.write(values, 1)
    return path


def test_raster_labels_have_fields_classes_and_what_is_ignored(tmp_path):
    raw = np.zeros((SIZE, SIZE), np.uint16)
    raw[2:8, 2:8], raw[2:8, 12:18], raw[14:20, 2:8], raw[14:16, 14:16] = 1200, 9120, 1200, 77
    path = write_labels(tmp_path / "l.tif", raw, nodata=0)
    found = read_labels(path, GRID)
    assert found.classes == ("77", "1200", "9120") and len(np.unique(found.group[found.known])) == 4
    assert (found.known == (raw > 0)).all() and not found.group[raw == 0].any()
    named = read_labels(path, GRID, classes={"1200": "maize", "9120": "grass"})
    assert named.classes == ("maize", "grass") and named.left_out == ("label 77",)
    assert read_labels(path, GRID, ignore=("77",)).classes == ("1200", "9120")
    large = read_labels(path, GRID, min_pixels=5)
    assert not large.known[14, 14] and "1 groups of fewer than 5" in large.left_out[0]
    with pytest.raises(UsageError, match="has no label 5"):
        read_labels(path, GRID, classes={"5": "five"})


def test_labels_on_another_grid_are_those_of_the_nearest_pixel(tmp_path):
    raw = (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 5).astype(np.uint8)
    path = write_labels(tmp_path / "l.tif", raw)
    shifted = Grid(crs=GRID.crs, transform=(20, 0, 501380, 0, -20, 5629640), height=8, width=8)
    found = read_labels(path, shifted, regression=True)
    # the centre of a 20 m pixel is a corner of four 10 m pixels
    assert all(
        found.values[i, j] in raw[4 + 2 * i : 6 + 2 * i, 2 + 2 * j : 4 + 2 * j] for i in range(8) for j in range(8)
    )
    away = Grid(crs=GRID.crs, transform=(20, 0, 601380, 0, -20, 5629640), height=8, width=8)
    with pytest.raises(ContractError, match="lies elsewhere"):
        read_labels(path, away)


def test_netcdf_labels_need_the_variable_and_know_their_crs(tmp_path):
    raw = np.where(np.arange(SIZE)[:, None] < 10, 11, 13).astype(np.uint16) * np.ones((1, SIZE), np.uint16)
    raw[0, 0] = 0
    data = xr.Dataset(
        {"LC": (("y", "x"), raw, {"_FillValue": np.uint16(0)})}, {"y": GRID.y, "x": GRID.x}, {"epsg": 32631}
    )
    data.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    found = read_labels(tmp_path / "l.nc", GRID, column="LC")
    assert found.classes == ("11", "13") and not found.known[0, 0] and found.known.sum() == SIZE**2 - 1
    with pytest.raises(DataError, match="it has LC"):
        read_labels(tmp_path / "l.nc", GRID)


def lonlat(row, col):
    x, y = 501360 + 10 * (col + 0.5), 5629680 - 10 * (row + 0.5)
    (lon,), (lat,) = transform("EPSG:32631", "EPSG:4326", [x], [y])
    return lon, lat


def test_points_and_polygons_are_labels_too(tmp_path):
    rows = [(3, 4, "oak"), (10, 11, "pine"), (20, 2, "oak")]
    text = "lon,lat,species\n" + "\n".join("{},{},{}".format(*lonlat(r, c), s) for r, c, s in rows)
    (tmp_path / "p.csv").write_text(text)
    found = read_labels(tmp_path / "p.csv", GRID, column="species")
    assert found.known.sum() == 3 and found.classes == ("oak", "pine")
    assert found.values[10, 11] == 1 and found.group[3, 4] != found.group[20, 2]
    ring = [lonlat(-0.5, -0.5), lonlat(-0.5, 4.5), lonlat(4.5, 4.5), lonlat(4.5, -0.5), lonlat(-0.5, -0.5)]
    shape = {"type": "Polygon", "coordinates": [ring]}
    content = {"type": "Feature", "geometry": shape, "properties": {"label": "oak", "height": 12.5}}
    (tmp_path / "p.geojson").write_text(json.dumps(content))
    assert read_labels(tmp_path / "p.geojson", GRID).known.sum() == 25
    tall = read_labels(tmp_path / "p.geojson", GRID, column="height", regression=True)
    assert tall.regression and tall.values[2, 2] == 12.5
    with pytest.raises(DataError, match="properties label, height"):
        read_labels(tmp_path / "p.geojson", GRID, column="crop")


def test_features_without_effect_are_said_and_exchanged_coordinates_are_known(tmp_path):
    names = [("a", lonlat(3, 4)), ("b", lonlat(20, 2)[::-1]), ("c", (10.0, 50.0))]
    text = "\ufeffID, Longitude , Latitude, Class\n" + "\n".join(f" {n} , {x}, {y}, oak" for n, (x, y) in names)
    (tmp_path / "p.csv").write_text(text)
    found = read_labels(tmp_path / "p.csv", GRID)
    assert found.known.sum() == 1 and found.classes == ("oak",)
    assert found.left_out == (
        "2 of 3 features without a pixel of the cube (b, c)",
        "1 of them would lie on it with longitude and latitude exchanged (b): mend the file",
    )
    (tmp_path / "q.csv").write_text("\n".join(text.split("\n")[:1] + text.split("\n")[2:3]))
    with pytest.raises(UsageError, match=r"no labelled pixel .*would lie on it with longitude and latitude exchanged"):
        read_labels(tmp_path / "q.csv", GRID)
    both = [
        f"{k}, {x}, {y}, {label}" for k, (label, (x, y)) in enumerate([("oak", lonlat(3, 4)), ("ash", lonlat(3, 4))])
    ]
    (tmp_path / "r.csv").write_text(
        "\n".join(["id,lon,lat,label", *both, f"9, {lonlat(5, 5)[0]}, {lonlat(5, 5)[1]}, ash"])
    )
    assert read_labels(tmp_path / "r.csv", GRID).left_out == ("1 pixels that lie in features of different labels",)


@pytest.mark.parametrize("kind", ["tif", "nc"])
def test_values_to_predict_are_what_the_file_says_that_its_numbers_stand_for(tmp_path, kind):
    raw = np.full((SIZE, SIZE), 50, np.int16)
    raw[0, 0], raw[0, 1] = -1, 40
    if kind == "tif":
        path = write_labels(tmp_path / "l.tif", raw)
        with rasterio.open(path, "r+") as file:
            file.nodata, file.scales, file.offsets = -1, [0.1], [2.0]
    else:
        path = tmp_path / "l.nc"
        attributes = {"_FillValue": np.int16(-1), "scale_factor": 0.1, "add_offset": 2.0}
        data = xr.Dataset({"yield": (("y", "x"), raw, attributes)}, {"y": GRID.y, "x": GRID.x}, {"epsg": 32631})
        data.to_netcdf(path, engine="h5netcdf")
    found = read_labels(path, GRID, column="yield", regression=True)
    assert (
        not found.known[0, 0] and found.values[0, 1] == pytest.approx(6.0) and found.values[1, 1] == pytest.approx(7.0)
    )
    assert read_labels(path, GRID, column="yield").classes == ("40", "50")


# --- Fitting ------------------------------------------------------------------------------------------------------


def blobs(rng, n=200, f=6, gap=3.0):
    y = np.arange(n) % 2
    x = rng.normal(size=(n, f)).astype(np.float32)
    x[:, 0] += gap * y
    return x, y


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_probes_learn_what_can_be_learned(kind):
    rng = np.random.default_rng(0)
    x, y = blobs(rng)
    predict, _ = fit_probe(kind, x, y, np.arange(200) % 8, ProbeTask(2))
    fresh, truth = blobs(rng)
    assert (np.argmax(predict(fresh), 1) == truth).mean() > 0.85
    line = (2 * x[:, 1] + 1).astype(np.float64)
    predict, _ = fit_probe(kind, x, line, np.arange(200) % 8, ProbeTask(0))
    assert np.corrcoef(predict(fresh)[:, 0], fresh[:, 1])[0, 1] > (0.99 if kind == "linear" else 0.6)


def test_logistic_fits_equal_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(10)
    x = (rng.normal(size=(120, 5)) * [1, 2, 0.1, 1, 1]).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=120) > 0.8).astype(int) + (x[:, 1] > 2)
    weight = (1 / np.bincount(y))[y] / 3
    for penalty, predict in zip(PENALTIES, _fit_logistic(x, y, task=ProbeTask(3)), strict=True):
        reference = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x, y, sample_weight=weight)
        logits = predict(x)
        found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found, reference.predict_proba(x), atol=5e-3)


def test_more_columns_than_rows_lose_nothing():
    rng = np.random.default_rng(1)
    x, fresh = rng.normal(size=(20, 70)).astype(np.float32), rng.normal(size=(5, 70)).astype(np.float32)
    scaler = fit_scaler(x)
    assert scaler.basis is not None and scaler(x).shape[1] <= 20
    z, w = (x - scaler.mean) / scaler.scale, (fresh - scaler.mean) / scaler.scale
    np.testing.assert_allclose(scaler(fresh) @ scaler(x).T, w @ z.T, rtol=1e-3, atol=1e-3)


def test_pca_is_fitted_on_what_it_is_given():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 8))).astype(np.float32)
    short = reduce(x, 2)(x)
    design = np.concatenate([short, np.ones((300, 1))], axis=1)
    assert np.abs(design @ np.linalg.lstsq(design, x, rcond=None)[0] - x).max() < 1e-3


def test_principal_components_keep_their_weight():
    """The first column tells the class, forty others are weak noise, which one variance for all would make strong."""
    rng = np.random.default_rng(11)
    y, group = np.arange(240) % 2, np.arange(240) % 6
    x = (0.05 * rng.normal(size=(240, 41))).astype(np.float32)
    x[:, 0] += y + 0.3 * rng.normal(size=240)
    right = {}
    for by_column in (True, False):
        predict, _ = fit_probe("knn", x[:120], y[:120], group[:120], ProbeTask(2), by_column=by_column)
        right[by_column] = (np.argmax(predict(x[120:]), 1) == y[120:]).mean()
    assert right[True] < 0.8 < 0.9 < right[False]


def test_the_head_sees_the_surroundings():
    """The class of a pixel is the sign of its left neighbour: nothing but a convolution can tell."""
    rng = np.random.default_rng(3)
    image = rng.choice([-1.0, 1.0], (30, 30, 1)).astype(np.float32)
    row, col = (a.ravel() for a in np.mgrid[:30, 1:30])
    at = np.stack([np.zeros_like(row), row, col], axis=1)
    y = (image[row, col - 1, 0] > 0).astype(int)
    train = row < 20
    predict = fit_head([image], at[train], y[train], ProbeTask(2), seed=0)
    assert (np.argmax(predict(at[~train]), 1) == y[~train]).mean() > 0.95
    pixel, _ = fit_probe("linear", image[row, col][train], y[train], row[train], ProbeTask(2))
    assert (np.argmax(pixel(image[row, col][~train]), 1) == y[~train]).mean() < 0.65


# --- Scores -------------------------------------------------------------------------------------------------------


def test_metrics_equal_those_of_scikit_learn():
    from sklearn import metrics as reference

    rng = np.random.default_rng(4)
    truth, guess, group = rng.integers(0, 3, 400), rng.integers(0, 3, 400), rng.integers(0, 7, 400)
    sums = confusion(truth, guess, group, 7, 3).sum(0)
    found = {n: float(m(sums)) for n, m in metrics(3, 1).items()}
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["miou"] == pytest.approx(reference.jaccard_score(truth, guess, average="macro"))
    y, z = rng.normal(size=400), rng.normal(size=400)
    sums = squares(y, z, group, 7).sum(0)
    found = {n: float(m(sums)) for n, m in metrics(0, 1).items()}
    assert found["r2"] == pytest.approx(reference.r2_score(y, z))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(y, z))


def test_a_resample_without_a_class_says_nothing():
    sums = confusion(np.array([0, 0]), np.array([0, 1]), np.array([0, 0]), 1, 2).sum(0)
    assert all(np.isnan(float(m(sums))) for n, m in metrics(2, 1).items() if n != "accuracy")


# --- Honesty ------------------------------------------------------------------------------------------------------


def test_an_oracle_scores_one_and_noise_scores_chance(cube):
    values = field_map()
    rng = np.random.default_rng(5)
    arrays = {"oracle": values == 1, "noise": rng.normal(size=(SIZE, SIZE, 4))}
    found = run(cube, arrays, values, main="oracle", seeds=(0, 1), shares=(0.1, 1.0))
    for kind in ("knn", "linear"):
        for share in (0.1, 1.0):
            assert score(found, "oracle", probe=kind, share=share)["value"] == 1
        noise = score(found, "noise", probe=kind, share=1.0)
        # below is as honest: classes that are rarer in training than in the test are called too rarely
        assert noise["value"] < 0.6 and noise["interval"][0] < 0.5
    (gain,) = [
        d for d in found.differences if (d["probe"], d["share"], d["metric"]) == ("linear", 1.0, "balanced_accuracy")
    ]
    assert gain["against"] == "noise" and gain["resolved"] and 0.4 < gain["value"] < 0.6


def test_shuffled_labels_score_chance(cube):
    values = field_map()
    group, _ = fields(values)
    rng = np.random.default_rng(6)
    kinds = np.array([-1, *rng.permutation(np.arange(group.max()) % 2)])
    shuffled = Labels(kinds[group].astype(np.int32), values >= 0, ("a", "b"), group, tuple(map(str, range(len(kinds)))))
    found = run(cube, {"true": values == 1}, shuffled, seeds=(0, 1))
    for kind in ("knn", "linear"):
        low, high = score(found, "true", probe=kind)["interval"]
        assert low < 0.5 < high


def test_a_feature_that_names_the_field_helps_only_where_fields_leak(cube):
    """Every field has a signature of its own: known pixels of a field give it away, other fields cannot."""
    values = field_map()
    group, _ = fields(values)
    signature = np.random.default_rng(7).normal(size=(group.max() + 1, 6))[group]
    apart = run(cube, {"signature": signature}, values, buffer_px=0)
    assert score(apart, "signature", probe="knn")["interval"][0] < 0.5
    leaky = Labels(values, values >= 0, ("a", "b"), np.arange(SIZE**2).reshape(SIZE, SIZE) + 1, ("",) * (SIZE**2 + 1))
    assert score(run(cube, {"signature": signature}, leaky, buffer_px=0), "signature", probe="knn")["value"] == 1


def test_a_planted_leak_is_caught(cube, monkeypatch):
    made = probes.make_folds

    def planted(rows, plan, seed):
        folds, buffer = made(rows, plan, seed)
        first = folds[0]
        return [Fold(name="planted", train=np.append(first.train, first.test[0]), test=first.test[1:])], buffer

    monkeypatch.setattr(probes, "make_folds", planted)
    with pytest.raises(ContractError, match=r"leak in fold 'planted'.*fields"):
        run(cube, {"a": field_map()})


def test_a_planted_neighbour_is_caught(cube, monkeypatch):
    made = probes.make_folds

    def narrow(rows, plan, seed):
        return made(rows, ProbePlan(buffer_px=0, folds=plan.folds), seed)[0], made(rows, plan, seed)[1]

    monkeypatch.setattr(probes, "make_folds", narrow)
    with pytest.raises(ContractError, match="within 3 of a test row"):
        run(cube, {"a": field_map()}, buffer_px=3)


def test_training_rows_decide_alone(cube):
    """Labels of the tested field may be anything: no prediction of it changes."""
    values = field_map()
    rng = np.random.default_rng(8)
    image = (values == 1)[..., None] + 0.8 * rng.normal(size=(SIZE, SIZE, 3))
    group, names = fields(values)
    before = run(cube, {"a": image}, values, folds=4, buffer_px=0)
    one = group == 5
    changed = np.where(one, 1 - values, values).astype(np.int32)
    labels = Labels(changed, changed >= 0, ("maize", "grass"), group, names)
    after = run(cube, {"a": image}, labels, folds=4, buffer_px=0)
    rows = after.rows["date"]
    mine = one[rows.at[:, 1], rows.at[:, 2]]
    for kind in ("knn", "linear"):
        key = ("date", kind, 1.0, "a")
        np.testing.assert_array_equal(before.guesses[key][mine], after.guesses[key][mine])


def test_simulated_and_real_never_meet(cube, tmp_path):
    other = make_cube(tmp_path / "b.zarr", site="b", simulated=True, grid=GRID, s1=False)
    labels = labels_of(field_map())
    sites = [LabelledSite(cube, labels), LabelledSite(other, labels)]
    with pytest.raises(ContractError, match="never share a table"):
        probe(sites, {"a": source(field_map())}, {"a": Method("a", "a")}, ProbePlan())


# --- Plans --------------------------------------------------------------------------------------------------------


def test_sites_can_be_held_out_whole(cube, tmp_path):
    cubes = [cube, make_cube(tmp_path / "b.zarr", site="b", grid=GRID, s1=False)]
    sites = [LabelledSite(c, labels_of(field_map(i))) for i, c in enumerate(cubes)]
    plan = ProbePlan(shares=(1.0,), seeds=(0,), groups="sites", probes=("linear", "segmentation"))
    images = {"a": field_map(0) == 1, "b": field_map(1) == 1}
    found = probe(sites, {"x": lambda c, d: source(images[c.site])(c, d)}, {"x": Method("x", "x")}, plan)
    assert found.facts["modes"]["date"]["folds"] == 2
    assert score(found, "x", probe="linear")["value"] == 1
    assert score(found, "x", "miou", probe="segmentation")["value"] > 0.9
    assert score(found, "x", probe="linear")["interval"] is None  # two sites give none


def test_a_species_that_is_one_plot_cannot_be_probed(cube, tmp_path):
    """Held out, each plot is a class that no other plot shows: nothing can be right, and the result says why."""
    cubes = [cube, make_cube(tmp_path / "b.zarr", site="b", grid=GRID, s1=False)]
    group = np.ones((SIZE, SIZE), np.int32)
    plots = [Labels(group * 0, group > 0, (name,), group, ("", "plot")) for name in ("fir", "birch")]
    images = {"a": np.zeros((SIZE, SIZE)), "b": np.ones((SIZE, SIZE))}
    sites = [LabelledSite(c, labels) for c, labels in zip(cubes, plots, strict=True)]
    plan = ProbePlan(shares=(1.0,), seeds=(0,), groups="sites", probes=("linear",))
    found = probe(sites, {"x": lambda c, d: source(images[c.site])(c, d)}, {"x": Method("x", "x")}, plan)
    assert score(found, "x")["value"] == 0
    assert found.facts["modes"]["date"]["untrained"] == ["fir (fold 1 of 2)", "birch (fold 2 of 2)"]


def test_blocks_have_a_buffer_between_them(cube):
    values = field_map()
    found = run(cube, {"a": values == 1}, values, groups="blocks", block_px=12, buffer_px=4, folds=4)
    facts = found.facts["modes"]["date"]
    assert facts["groups"] == 4 and facts["folds"] == 4
    whole = facts["pixels"] * 3 / 4
    assert all(n < whole for n in facts["training_pixels"])
    assert (block_groups((5, 7), 3) == [[1, 1, 1, 2, 2, 2, 3]] * 3 + [[4, 4, 4, 5, 5, 5, 6]] * 2).all()


def test_regression_has_a_score_of_its_own(cube):
    y, x = np.mgrid[:SIZE, :SIZE]
    values = (y * 0.5 + x).astype(np.float32)
    labels = Labels(values, np.ones((SIZE, SIZE), bool), (), np.ones((SIZE, SIZE), np.int32), ("", "all"))
    arrays = {"slope": np.stack([y, x], -1), "noise": np.random.default_rng(9).normal(size=(SIZE, SIZE, 2))}
    found = run(cube, arrays, labels, groups="blocks", block_px=8, probes=("linear", "knn"))
    assert score(found, "slope", "r2", probe="linear")["value"] > 0.999
    assert score(found, "noise", "r2", probe="linear")["value"] < 0.1
    assert score(found, "slope", "rmse", probe="linear")["value"] < 0.1


def test_draws_are_shares_of_every_class():
    y = np.repeat([0, 1, 2], [700, 200, 5])
    fold = Fold(name="f", train=np.arange(905), test=np.arange(0))
    rows = draw(fold, y, 0.1, 3, classes=3)
    assert np.bincount(y[rows]).tolist() == [70, 20, 1]
    np.testing.assert_array_equal(rows, draw(fold, y, 0.1, 3, classes=3))
    assert set(rows) != set(draw(fold, y, 0.1, 4, classes=3))


def test_large_sites_are_thinned_in_turns():
    group = np.repeat([0, 1, 2], [500, 40, 3])
    assert np.bincount(group[even(group, 83)]).tolist() == [40, 40, 3]
    assert even(group, 10_000).all()


def test_methods_are_scored_on_the_same_pixels(cube):
    values = field_map()
    lacking = np.ones((1, SIZE, SIZE), bool)
    lacking[0, :6] = False
    image = (values == 1)[None, ..., None].astype(np.float32)
    sources = {"all": source(values == 1), "part": lambda c, d: Features(image, lacking, None)}
    methods = {n: Method(n, n) for n in sources}
    plan = ProbePlan(shares=(1.0,), seeds=(0,), buffer_px=0, probes=("linear",))
    found = probe([LabelledSite(cube, labels_of(values))], sources, methods, plan, main="all")
    facts = found.facts["modes"]["date"]
    assert facts["pixels_lacking"] == {"all": 0, "part": int((values[:6] >= 0).sum())}
    assert found.rows["date"].at[:, 1].min() >= 6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shares": (0.0,)}, "above 0"),
        ({"groups": "towns"}, "fields, blocks or sites"),
        ({"seeds": ()}, "at least one"),
    ],
)
def test_plans_are_checked(cube, change, message):
    with pytest.raises(UsageError, match=message):
        run(cube, {"a": field_map()}, **change)
