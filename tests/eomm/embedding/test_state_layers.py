"""What a store tells of vectors with a state: how many dates it rests on, how near the next is, how usual it is."""

import numpy as np
import pytest
import xarray as xr

from eomm.data.cube import GroupSource, open_cube, write_cube
from eomm.data.modality import SENTINEL2
from eomm.embedding import plan as planning
from eomm.embedding.layers import NO_NUMBER, TOLD, in_steps
from eomm.embedding.run import embed, open_embedding
from eomm.errors import UsageError
from eomm.export.frames import Frames
from eomm.models.directory import Model, build_parts, load_model, save_model
from eomm.models.state import build_encoder
from eomm.training.noise import SeriesSet, mixing, noise_of, rounded, whitening, with_noise
from tests import zoo
from tests.parameters import parameters

FRAMES = (3, 3)
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
NOISE = {"mean": [0.2] * 10, "whiten": (TURN / 0.02).tolist(), "scale": [9.0, 6.0]}
DEVIATION = np.linspace(12, 3, 10).tolist()
STEP = 0.0051  # half of what a layer is counted in


def state_model(**options):
    parts = {"encoder": {"code": "eomm.models.state", "frames": FRAMES, **NOISE, **options}, "decoder": {"width": 16}}
    encoder, decoder = build_parts(SENTINEL2, **parts)
    params = {"s2": {"encoder": {}, "decoder": parameters(decoder)}}
    networks = {"encoders": {"s2": encoder}, "decoders": {"s2": decoder}, "fusion": None}
    return Model(**networks, params=params, parts={"s2": parts}, info={})


def first_dates(count, path):
    """The zoo's cube as it was when it had so many Sentinel-2 dates."""
    group = zoo.cube()["s2"]
    values, valid = group.read(np.arange(count), slice(0, zoo.SIZE), slice(0, zoo.SIZE))
    source = GroupSource(
        modality=group.modality,
        grid=group.grid,
        acquisitions=group.acquisitions[:count],
        read=lambda i: (values[i], valid[i]),
    )
    write_cube(path, site=zoo.cube().site, groups=[source], provenance={"simulated": True})
    return open_cube(path)


@pytest.fixture(scope="module")
def model():
    return state_model(deviation=DEVIATION)


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("told") / "e.zarr"
    return embed(model, zoo.cube(), out, dtype="float32", clear_only=False)


def by_hand(position, row, col):
    """Support, days to the nearest and distance to training of a pixel-date, from its own window in float64."""
    group = zoo.cube()["s2"]
    window = np.arange(max(0, position - FRAMES[0]), min(len(group.day), position + FRAMES[1] + 1))
    values, valid = group.read(window, slice(row, row + 1), slice(col, col + 1))
    y = (SENTINEL2.decode(values[:, 0, 0]).astype(float) - 0.2) @ (TURN / 0.02).T
    apart, seen, own = np.abs(group.day[window] - group.day[position]), valid[:, 0, 0], window == position
    if not seen.any():
        return 0.0, np.nan, np.nan
    likeness = ((y - y[own]) ** 2).sum(-1) / 36 if seen[own].all() else 0
    weight = np.exp(-apart / 30 - likeness) * seen
    state = weight @ y / weight.sum()
    nearest = apart[seen & ~own].min(initial=10**6)
    support = weight.sum() ** 2 / (weight**2).sum()
    return support, nearest if nearest < 365 else np.nan, np.sqrt(((state / DEVIATION) ** 2).mean())


def test_layers_are_what_they_are_defined_as(store):
    ds = open_embedding(store, masked=False).load()
    names = list(map(str, ds.data_vars))
    assert names[1:6] == ["valid", "flags", *TOLD]
    kinds = set()
    for position in (0, 1, 9, 15, 16, 19):
        for row, col in ((0, 0), (5, 17), (23, 11), (12, 12)):
            found = [float(ds[name][position, row, col]) for name in TOLD]
            expected = by_hand(position, row, col)
            kinds.add(bool(ds["valid"][position, row, col]))
            np.testing.assert_allclose(found, expected, atol=STEP, rtol=1e-5)
    assert kinds == {True, False} and float(ds["support"].max()) > 2
    clear = float(ds["days_to_nearest"].where(ds["valid"]).min())
    assert clear > 0, "the target itself is not counted"


def test_layers_do_not_depend_on_blocks_or_on_the_dates_asked_for(model, store, tmp_path):
    whole = open_embedding(store, masked=False).load()
    blocks = embed(model, zoo.cube(), tmp_path / "b.zarr", dtype="float32", clear_only=False, block=16)
    dates = tuple(whole["time"].values[[6, 18]].astype("datetime64[D]").tolist())
    part = embed(model, zoo.cube(), tmp_path / "p.zarr", dtype="float32", clear_only=False, dates=dates)
    for path, places in ((blocks, slice(None)), (part, slice(6, 19))):
        ds = open_embedding(path, masked=False)
        for name in TOLD:
            np.testing.assert_allclose(ds[name], whole[name][places], atol=2 * STEP)


def test_plain_readers_and_exports_have_them(model, tmp_path):
    path = embed(model, zoo.cube(), tmp_path / "e.zarr", dtype="float32")
    with xr.open_zarr(path) as ds:
        valid = ds["valid"].values
        assert ds["days_to_nearest"].attrs["units"] == "d"  # days, which xarray leaves numbers (below)
        for name in TOLD:
            assert ds[name].attrs["units"] in ("1", "d") and ds[name].attrs["grid_mapping"] == "spatial_ref"
            assert ds[name].dtype.kind == "f" and not np.isfinite(ds[name].values[~valid]).any()
        assert np.isfinite(ds["support"].values[valid]).all() and ds["support"].encoding["dtype"] == np.uint16
    assert set(TOLD) <= set(Frames(path).layers)


def test_models_without_a_state_and_states_without_deviations_have_none(tmp_path):
    assert set(TOLD).isdisjoint(open_embedding(zoo.store("clear")).data_vars)
    path = embed(state_model(), zoo.cube(), tmp_path / "e.zarr", dtype="float32")
    assert {"support", "days_to_nearest"} == set(TOLD) & set(map(str, open_embedding(path).data_vars))


@pytest.mark.parametrize("before", [False, True])
def test_a_store_is_continued_with_the_layers_that_it_has(before, model, tmp_path, monkeypatch):
    """`before`: the store was made before there were such layers."""
    early, late = (first_dates(n, tmp_path / f"{n}.zarr") for n in (17, 20))
    with monkeypatch.context() as patch:
        if before:
            patch.setattr(planning, "told_of", lambda *_: ())
        out = embed(model, early, tmp_path / "e.zarr", dtype="float32")
    embed(model, late, out, dtype="float32", append=True)
    anew = open_embedding(embed(model, late, tmp_path / "anew.zarr", dtype="float32")).load()
    continued = open_embedding(out).load()
    assert set(anew.data_vars) - set(continued.data_vars) == (set(TOLD) if before else set())
    for name in map(str, continued.data_vars):
        np.testing.assert_array_equal(continued[name], anew[name])


def test_numbers_are_counted_in_steps():
    values, wanted = np.array([0.0, 1.234, np.nan, 9e9, 3.0]), np.array([True, True, True, True, False])
    assert in_steps(values, 0.01, wanted).tolist() == [0, 123, NO_NUMBER, NO_NUMBER - 1, NO_NUMBER]


def series(seed=0, count=300, dates=12):
    """Places of ten bands that vary together, with the noise of a date."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 300, (count, 1, 3)) @ rng.normal(size=(3, 10))
    values = (2500 + level + rng.normal(0, 60, (count, dates, 10))).astype(np.int16)
    day = np.broadcast_to(17000 + 3 * np.arange(dates, dtype=np.int32), (count, dates))
    valid = np.ones((count, dates), bool)
    return SeriesSet(
        name="a", weight=1.0, values=values, valid=valid, day=day, orbit=np.zeros((count, dates), np.int32)
    )


def test_an_ordinary_date_of_training_is_one_away_and_a_strange_one_far(tmp_path):
    options = with_noise({"code": "eomm.models.state", "frames": FRAMES}, SENTINEL2, [series()])
    model = state_model(**{k: v for k, v in options.items() if k != "code"})
    group = zoo.cube()["s2"]
    rng = np.random.default_rng(1)
    usual = series().values[rng.integers(0, 300, (20, 24, 24)), 5]
    strange = np.where(np.arange(24)[:, None, None] < 12, usual[..., ::-1] + 2000, usual).astype(np.int16)
    source = GroupSource(
        modality=SENTINEL2,
        grid=group.grid,
        acquisitions=group.acquisitions,
        read=lambda i: (strange[i], np.ones((24, 24), bool)),
    )
    write_cube(tmp_path / "c.zarr", site="a", groups=[source], provenance={"simulated": True})
    with open_embedding(embed(model, tmp_path / "c.zarr", tmp_path / "e.zarr", dtype="float32")) as ds:
        distance = ds["distance_to_training"].load()
    assert 0.7 < distance[:, 13:].mean() < 1.2
    assert distance[:, :11].min() > 3 > distance[:, 13:].quantile(0.99)


def test_deviations_are_measured_saved_and_found_in_models_of_before_them(tmp_path):
    mean, whiten, deviation = whitening(SENTINEL2, [series()])
    options = {"code": "eomm.models.state", "inner": {"size": "tiny", "dim": 4, "dilations": ()}, "mixed": True}
    found = with_noise(options, SENTINEL2, [series()])
    assert found["deviation"] == rounded(deviation)
    fields = {k: v for k, v in found.items() if k not in ("code", "deviation")}
    before = build_encoder(SENTINEL2, fields)
    assert before.inner.mix == tuple(map(tuple, rounded(mixing(SENTINEL2, mean, whiten, deviation))))
    np.testing.assert_allclose(before.deviations, deviation, rtol=1e-5)
    assert noise_of(found, options)["deviation"] == found["deviation"]
    back = load_model(save_model(state_model(deviation=DEVIATION), tmp_path / "m")).encoders["s2"]
    assert back.deviation == tuple(DEVIATION)
    with pytest.raises(UsageError, match="deviation must be 10 numbers above 0"):
        state_model(deviation=DEVIATION[1:])


@pytest.mark.parametrize("name", ["base", "base_past"])
def test_shipped_models_tell_all_of_it(name):
    encoder = load_model(name).encoders["s2"]
    assert len(encoder.deviations) == 10 and min(encoder.deviations) > 0.5
    assert set(encoder.tells) == set(TOLD) - {"days_to_nearest"}
