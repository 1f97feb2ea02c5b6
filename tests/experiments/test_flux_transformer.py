"""The temporal transformer: real distances in days, padding that does not count, skill on a world that needs memory."""

import dataclasses

import jax
import numpy as np
import pytest
from eomm.experiments.flux_transformer import (
    MAX_OBSERVATIONS,
    WINDOW_DAYS,
    Irregular,
    Published,
    filled_windows,
    irregular_windows,
    transformer,
    transformers_for,
)

from eomm.evaluation.folds import Fold, group_folds
from eomm.evaluation.gpp.models import ridge
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.scores import moments, r2
from tests.eomm.gpp_world import make_world

SMALL = Irregular(width=16, layers=1)


def test_windows_hold_the_days_before_and_nothing_of_other_sites():
    world = make_world(sites=2)
    x = np.stack([world.day, world.site == "S1"], axis=1).astype(float)
    windows = irregular_windows(world, x)
    for row in (0, 3, 50, len(world) - 1):
        seen = windows.values[row, windows.present[row]]
        age = windows.age[row, windows.present[row]]
        assert np.allclose(seen[:, 0], world.day[row] - age, atol=1)  # float32 days
        assert (age < WINDOW_DAYS).all() and age[-1] == 0 and (np.diff(age) < 0).all()
        assert (seen[:, 1] == (world.site[row] == "S1")).all()
    assert windows.present[0].sum() == 1 and windows.present[50].sum() == 8  # every 12 days
    assert windows.values.shape[1] == MAX_OBSERVATIONS


def test_published_windows_are_filled_by_straight_lines():
    world = make_world(sites=2)
    windows = filled_windows(world, world.day[:, None].astype(float))
    assert windows.values.shape[1] == WINDOW_DAYS and windows.present.all()
    assert np.allclose(np.diff(windows.values[40, :, 0]), 1, atol=0.01)
    first = windows.values[0, :, 0]
    assert (first == first[0]).all()  # before the first observation there is nothing to draw a line from


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    batch = {
        "values": rng.standard_normal((3, 6, 2)).astype(np.float32),
        "age": np.tile(np.array([50, 40, 30, 20, 10, 0], np.int32), (3, 1)),
        "present": np.array([[False] * 2 + [True] * 4] * 3),
    }
    return batch


def compiled(model, batch):
    """A function of a batch, compiled once: quicker than layer by layer."""
    arguments = lambda b: (b["values"], b["age"], b["present"], False)  # noqa: E731
    params = jax.jit(lambda: model.init(jax.random.key(0), *arguments(batch)))()
    apply = jax.jit(lambda b: model.apply(params, *arguments(b)))
    return lambda b: np.asarray(apply(b))


def test_padding_does_not_count_and_distances_do(network):
    run = compiled(SMALL, network)
    before = run(network)
    padded = {**network, "values": network["values"].copy()}
    padded["values"][:, :2] = 99
    assert np.allclose(run(padded), before, atol=1e-6)
    later = {**network, "age": network["age"] + np.array([0, 0, 25, 15, 5, 0], np.int32)}
    assert not np.allclose(run(later), before, atol=1e-3)
    published = compiled(Published(width=8), network)
    assert np.allclose(published(later), published(network), atol=1e-6)  # no position reaches it


@pytest.mark.whole
def test_it_learns_what_needs_the_past_and_predicts_no_leak():
    """The flux is the mean feature of the window: the last observation alone explains little of it."""
    world = make_world(sites=4, years=(2018, 2019), step=10)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(world), 1))
    windows = irregular_windows(world, x)
    mean = (windows.values[..., 0] * windows.present).sum(1) / windows.present.sum(1)
    world = dataclasses.replace(world, gpp=5 + 4 * mean.astype(float), features={"x": x})
    fold = group_folds(world.group)[0]
    p = transformer(["x"], network=SMALL, steps=400)(world, fold)
    assert r2(moments(world.gpp[fold.test], p).sum(0)) > 0.5
    assert r2(moments(world.gpp[fold.test], ridge(["x"])(world, fold)).sum(0)) < 0.4
    other = dataclasses.replace(world, gpp=np.where(np.isin(np.arange(len(world)), fold.test), 0.0, world.gpp))
    short = transformer(["x"], network=SMALL, steps=5)
    assert np.array_equal(short(world, fold), short(other, fold))  # targets of the tested site were not looked at


@pytest.mark.whole
def test_both_variants_are_methods():
    world = make_world(sites=3, years=(2018,), step=30)
    methods = transformers_for(world, GppPlan(tested=["state"]))
    names = [m.name for m in methods]
    assert {"state, transformer", "weather + state, published"} <= set(names)
    assert [m.baseline for m in methods if m.name == "state, published"] == [False]
    rows = np.arange(len(world))
    fold = Fold(name="f", train=rows[world.site != "S0"], test=rows[world.site == "S0"])
    p = transformer(["state"], variant="published", network=Published(width=8), steps=2)(world, fold)
    assert p.shape == (len(fold.test),) and np.isfinite(p).all()
