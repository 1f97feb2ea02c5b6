import json
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from eomm.data.cube import open_cube
from eomm.embedding.run import embed
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation import representations
from eomm.evaluation.coherence.run import evaluate_coherence, space
from eomm.evaluation.coherence.space import measure_space, moran
from eomm.evaluation.coherence.time import find_events, pairs_apart, responses
from eomm.evaluation.coherence.vectors import make_stores
from eomm.evaluation.features import Features
from eomm.evaluation.fields import fields_of_series
from eomm.evaluation.representations import common, scaled, smooth_box, smooth_time
from eomm.evaluation.result_file import write_result
from eomm.evaluation.text import format_result
from tests import zoo
from tests.eomm.site import DAYS, SIZE, make_cube, make_model

HALF = np.arange(SIZE) >= SIZE // 2
FIELDS = (1 + HALF[None] + 2 * HALF[:, None]).astype(np.int32)  # four quarters


def features(values, valid=None, day=None):
    values = np.asarray(values, np.float32)
    valid = np.ones(values.shape[:3], bool) if valid is None else valid
    return Features(values, valid, np.arange(len(values), dtype=np.int32) if day is None else day)


def four_fields(rng, *, noise):
    """Six dates of four fields that differ by 1 or more in every one of four numbers."""
    return features(FIELDS[None, :, :, None] + rng.normal(0, noise, (6, SIZE, SIZE, 4)))


def mean_of(measured, name):
    return float(np.nanmean(measured[name]))


def test_fields_are_told_apart_and_their_edge_is_sharp():
    found = measure_space(four_fields(np.random.default_rng(0), noise=1e-3), FIELDS)
    assert mean_of(found, "told apart") == 1 and mean_of(found, "border / inside") > 100
    assert mean_of(found, "edges kept") == pytest.approx(1, abs=0.01) and mean_of(found, "Moran's I") > 0.9


def test_blur_raises_morans_i_and_loses_the_edge():
    sharp = four_fields(np.random.default_rng(0), noise=0.9)
    before, after = (measure_space(scaled(f), FIELDS) for f in (sharp, smooth_box(sharp, 5)))
    assert mean_of(after, "Moran's I") > mean_of(before, "Moran's I") + 0.2
    assert mean_of(after, "edges kept") < 0.5 * mean_of(before, "edges kept")


def test_shuffled_pixels_are_not_coherent():
    rng = np.random.default_rng(1)
    values = four_fields(rng, noise=0.3).values.reshape(6, -1, 4)
    shuffled = rng.permuted(values, axis=1).reshape(6, SIZE, SIZE, 4)
    found = measure_space(scaled(features(shuffled)), FIELDS)
    assert mean_of(found, "told apart") == pytest.approx(0.5, abs=0.03)
    assert mean_of(found, "between / within") == pytest.approx(1, abs=0.03)
    assert abs(mean_of(found, "Moran's I")) < 0.05


def test_masked_pixels_count_for_nothing():
    rng = np.random.default_rng(2)
    clean = four_fields(rng, noise=0.2)
    valid = rng.random(clean.valid.shape) < 0.7
    hidden = (features(np.where(valid[..., None], clean.values, x), valid) for x in (0, 50))
    first, second = (measure_space(Features(h.values, valid, h.day), FIELDS) for h in hidden)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    assert np.isnan(moran(clean.values[0], np.zeros((SIZE, SIZE), bool)))


def test_an_embedding_that_is_another_stands_equal_to_it():
    sharp = scaled(four_fields(np.random.default_rng(0), noise=0.3))
    found = space({"embedding": sharp, "twin": sharp}, FIELDS, 0)["measures"]
    for of in found.values():
        against = of["twin"].against
        assert against.value == 0 and against.resolved is False


def test_smoothing_equals_a_loop():
    rng = np.random.default_rng(3)
    f = features(
        rng.normal(size=(7, 6, 5, 2)), rng.random((7, 6, 5)) < 0.6, np.cumsum(rng.integers(1, 9, 7)).astype(np.int32)
    )
    box, time = smooth_box(f, 3), smooth_time(f, 6.0)
    for t, y, x in np.argwhere(f.valid):
        near = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
        expected = f.values[t][near][f.valid[t][near]].mean(0)
        np.testing.assert_allclose(box.values[t, y, x], expected, atol=1e-5)
        seen = f.valid[:, y, x]
        weight = np.exp(-0.5 * ((f.day[seen] - f.day[t]) / 6.0) ** 2)
        np.testing.assert_allclose(time.values[t, y, x], weight @ f.values[seen, y, x] / weight.sum(), atol=1e-5)
    assert not box.values[~f.valid].any() and not time.values[~f.valid].any()  # stays 0, as in every Features


def test_scaled_numbers_have_unit_variance_and_constants_are_dropped():
    rng = np.random.default_rng(4)
    values = rng.normal([5, 0, 3], [10, 0.1, 0], (4, 8, 8, 3))
    rows = scaled(features(values)).values.reshape(-1, 2)
    np.testing.assert_allclose(rows.std(0), 1 / np.sqrt(2), rtol=1e-4)


def test_only_common_dates_and_pixels_are_compared():
    rng = np.random.default_rng(5)
    day = np.array([1, 4, 9, 20], np.int32)
    a = features(rng.normal(size=(4, 3, 3, 2)), rng.random((4, 3, 3)) < 0.7, day)
    b = features(rng.normal(size=(3, 3, 3, 5)), rng.random((3, 3, 3)) < 0.7, day[[0, 2, 3]])
    both = common({"a": a, "b": b})
    assert list(both["a"].day) == [1, 9, 20]
    np.testing.assert_array_equal(both["a"].valid, a.valid[[0, 2, 3]] & b.valid)
    np.testing.assert_array_equal(both["b"].values[both["b"].valid], b.values[both["a"].valid])


NDVI = {
    "harvest": [0.8, 0.8, 0.3, 0.3, 0.3, 0.3],
    "a cloud for a date": [0.8, 0.8, 0.3, 0.8, 0.8, 0.8],
    "slow": [0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
    "green-up": [0.3, 0.3, 0.8, 0.8, 0.8, 0.8],
    "long unseen": [0.8, 0.8, 0.8, 0.8, 0.3, 0.3],
}


def test_events_are_drops_that_stay():
    ndvi = np.array(list(NDVI.values()), np.float32).T[:, None]
    day = np.array([0, 5, 10, 15, 50, 55], np.int32)
    found = find_events(ndvi, np.ones(ndvi.shape, bool), day)
    assert [list(NDVI)[c] for c in found.col] == ["harvest"] and list(found.at[0]) == [0, 1, 2, 3]
    # clouded in between: the dates round the drop are the pixel's own
    valid = np.ones(ndvi.shape, bool)
    valid[2, 0, 0] = False
    assert list(find_events(ndvi, valid, day).at[0]) == [0, 1, 3, 4]


def test_the_response_to_an_event_is_the_step_at_its_dates():
    ndvi = np.array([NDVI["harvest"]], np.float32).T[:, None]
    day = np.arange(6, dtype=np.int32) * 5
    events = find_events(ndvi, np.ones(ndvi.shape, bool), day)
    sharp = features(ndvi[..., None], day=day)
    of = responses(sharp, events)
    assert of["step"] == of["whole"] == pytest.approx(0.5)
    blurred = responses(smooth_time(sharp, 12.0), events)
    assert blurred["step"] < 0.5 * blurred["whole"]


def test_pairs_of_dates_by_days_apart():
    day = np.array([0, 2, 3, 10, 70], np.int32)
    assert list(zip(*pairs_apart(day, 2, 3), strict=True)) == [(0, 1), (0, 2)]
    assert list(zip(*pairs_apart(day, 60, None), strict=True)) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert len(pairs_apart(day, 1, None, limit=4)[0]) == 4


def fields_cube(path, **options):
    """Four fields that differ at every date."""
    stored = np.full((SIZE, SIZE, 10), 800, np.int16) * np.array([1, 2, 4, 7])[FIELDS - 1][..., None]
    stored[..., 2] = 500
    noise = np.random.default_rng(0).integers(-9, 9, (len(DAYS), SIZE, SIZE, 10))
    change = {d: (stored + n).astype(np.int16) for d, n in zip(DAYS, noise, strict=True)}
    return make_cube(path, change=change, **options)


def test_segments_without_labels_do_not_cross_a_border(tmp_path):
    found = fields_of_series(fields_cube(tmp_path / "c.zarr", s1=False)["s2"])
    assert found.max() >= 2
    for number in range(1, found.max() + 1):
        inside = found == number
        assert inside.sum() >= 20
        assert np.bincount(FIELDS[inside]).max() > 0.9 * inside.sum()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    work = tmp_path_factory.mktemp("coherence")
    cube = fields_cube(work / "cube.zarr", simulated=True, clouds=0.1)
    model = make_model(("s2", "s1"), fused=True)
    embed(model, cube, work / "embedding.zarr", dtype="float32")
    stores = make_stores(model, cube, work / "embedding.zarr", work)
    return evaluate_coherence(cube, stores, fields=FIELDS), work, stores


def test_everything_stands_beside_its_baselines(made):
    result = made[0]
    json.dumps(result.to_json(), allow_nan=False)
    labels = {"embedding", "random encoder", *(representations.RAW, representations.BOX, representations.TIME)}
    for of in result["space"]["measures"].values():
        assert labels < set(of) and of["embedding"].against is None
    raw = result["space"]["measures"]["told apart"][representations.RAW]
    assert raw.value > 0.9 and raw.interval[0] <= raw.value <= raw.interval[1]
    assert set(result["radar"]["ratio to far"]) and result["radar"]["orbits"] == 1
    assert result["seam"]["largest"] < 1e-3 and len(result["seam"]["dates"]) == 3
    text = format_result(result)
    assert text.startswith("SIMULATED") and "random encoder" in text and "no sudden drop" in text.lower()


def test_figures_are_drawn_beside_the_result(made, tmp_path):
    figures = write_result(made[0], tmp_path / "c.json").to_json()["figures"]
    assert [f["png"] for f in figures] == [f"c_figures/{n}.png" for n in ("maps", "measures", "seams")]
    assert all((tmp_path / f["png"]).stat().st_size > 5_000 and f["caption"] for f in figures)
    assert matplotlib.rcParams["axes.grid"] is False  # no style is left behind


def test_the_first_sentences_say_how_it_stands_to_raw_bands_and_to_chance(made):
    first, second = made[0].conclusions[:2]
    assert first.startswith("In telling fields apart the embedding ") and "raw bands" in first
    assert "the random encoder" in first and second.startswith("In repeating after 2 to 3 days the embedding ")


def test_bad_requests_are_named(made):
    _, work, stores = made
    cube = open_cube(work / "cube.zarr")
    with pytest.raises(UsageError, match="fields have"):
        evaluate_coherence(cube, stores, fields=np.ones((3, 3), np.int32))
    with pytest.raises(DataError, match="nothing"):
        evaluate_coherence(cube, replace(stores, embedding=work / "nothing.zarr"), fields=FIELDS)


def test_an_embedding_of_another_model_is_refused(tmp_path):
    with pytest.raises(ContractError, match=r"was made by model .*; name the model that made it"):
        make_stores(zoo.model("s2"), zoo.cube(), zoo.store("clear"), tmp_path)
