"""What a model says of an acquisition that is hidden from it."""

import jax.numpy as jnp
import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.evaluation.hidden.task import Plan, make_task
from eomm.models.predict import Predictor, read_batch
from tests import zoo
from tests.eomm.site import DAYS, SIZE, TEST_DAYS, make_cube, make_model

GAPS = (0, 20)


@pytest.fixture
def cube():
    return zoo.cube()


def test_neighbours_within_the_gap_reach_no_method(tmp_path):
    day = TEST_DAYS[1]
    near = [d for d in DAYS if 0 < abs(d - day) <= 20]
    change = {d: np.full((SIZE, SIZE, 10), 9000, np.int16) for d in near}
    model = make_model()
    caught = []
    for cube in (zoo.local(), make_cube(tmp_path / "b.zarr", s1=False, change=change)):
        task = make_task(Plan(dates=[day], gaps=(20,)), cube, "s2")
        predictor = Predictor(model, "s2")
        batch = read_batch(cube, "s2", row=0, col=0, size=SIZE, halo=7)
        seen = predictor.see("s2", batch, task.is_test)
        caught.append(predictor.predict(seen, task.targets, task.hidden(task.targets, 20), {})["encoder"])
    np.testing.assert_array_equal(*caught)


def test_fused_predictions_are_those_of_the_parts_composed_by_hand(cube):
    model = make_model(("s2", "s1"), fused=True)
    task = make_task(Plan(dates=TEST_DAYS, gaps=GAPS), cube, "s2")
    predictor = Predictor(model, "s2")
    batches = {n: read_batch(cube, n, row=0, col=0, size=SIZE, halo=7) for n in ("s2", "s1")}
    seen = {n: predictor.see(n, batches[n], task.is_test if n == "s2" else None) for n in batches}
    other = predictor.embed_other("s1", seen["s1"], task.day[task.targets])
    hidden = task.hidden(task.targets, 20)
    got = predictor.predict(seen["s2"], task.targets, hidden, {"s1": other})

    nearest = jnp.asarray(task.targets)[None]  # radar comes 3 days after, 5 days before the next
    z1 = model.encoders["s1"].embed(
        model.params["s1"]["encoder"], seen["s1"].features, seen["s1"].inside, batches["s1"]["day"], nearest
    )
    np.testing.assert_allclose(other.embedding, z1, atol=1e-6)
    assert np.asarray(other.offset_days).min() == np.asarray(other.offset_days).max() == 3
    z2 = predictor.embed(seen["s2"], task.targets, hidden)
    ones = jnp.ones(z2.shape[:-1], bool)
    for method, radar in {"fused": ones, "fused_alone": ~ones}.items():
        present, days = {"s2": ones, "s1": radar}, {"s2": 0.0 * ones, "s1": 3.0 * ones}
        fused = model.fusion.fuse(model.params["fusion"], {"s2": z2, "s1": z1}, present, days)
        projected = model.fusion.project(model.params["fusion"], fused)["s2"]
        at = jnp.zeros((1, len(task.targets), 1))
        queries = {k: at for k in ("days", "dy", "dx", "same_orbit", "direction", "incidence")}
        queries["day"] = jnp.asarray(task.day[task.targets])[None, :, None]
        decoded = model.decoders["s2"].decode(model.params["s2"]["decoder"], projected, queries)[0, :, 0]
        expected = np.asarray(decoded).reshape(len(task.targets), -1, 10) * 0.15 + 0.2
        np.testing.assert_allclose(got[method], expected, atol=1e-5)
    assert np.abs(got["fused"] - got["fused_alone"]).max() > 1e-4


def test_a_shorter_length_uses_only_the_first_numbers_of_what_is_stored(cube):
    task = make_task(Plan(dates=TEST_DAYS, gaps=GAPS), cube, "s2")
    batch = read_batch(cube, "s2", row=0, col=0, size=SIZE, halo=7)
    hidden = task.hidden(task.targets, 20)
    for model in (make_model(), make_model(("s2", "s1"), fused=True)):  # the latter stores what is fused
        whole, cut = Predictor(model, "s2"), Predictor(model, "s2", length=5)
        seen = whole.see("s2", batch, task.is_test)
        z = {p: p.embed(seen, task.targets, hidden) for p in (whole, cut)}
        if model.fusion:
            np.testing.assert_array_equal(z[cut], z[whole])
            radar = whole.see("s1", read_batch(cube, "s1", row=0, col=0, size=SIZE, halo=7))
            others = {"s1": whole.embed_other("s1", radar, task.day[task.targets])}
            z = {p: p.fuse(z[p], others) for p in (whole, cut)}
        np.testing.assert_array_equal(z[cut][..., :5], z[whole][..., :5])
        assert not z[cut][..., 5:].any() and z[whole][..., 5:].any()
    with pytest.raises(UsageError, match="length is 99"):
        Predictor(model, "s2", length=99)
