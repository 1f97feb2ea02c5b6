"""Decoding only what is hidden, bands that are lost, and that what was before is what it was."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL2
from eomm.errors import UsageError
from eomm.models.context import ContextEncoder, build_encoder
from eomm.models.decoder import build_decoder
from eomm.models.interface import MISSING_BAND, learned_part, prefixes_of
from eomm.training import stages
from eomm.training.cuts import simulate_cuts
from eomm.training.hiding import draw_hidden_queries, hide_bands, hide_others
from eomm.training.objective import PATTERNS, Objective, draw_targets, hide
from eomm.training.stages import build_stage, make_objective
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import pretrain_config, records

NEW = {"only_hidden": True, "hidden_others": (0.15, 0.6), "patterns": PATTERNS, "hidings": 2, "near_days": 12.0}
BATCH = random_batch(np.random.default_rng(0))
KEY = jax.random.key(2)


def gradients(stage, batch=BATCH, key=KEY, **frozen):
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    return step(stage.init(jax.random.key(0)), frozen, batch, key)


def norm(tree):
    return float(np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(tree))))


def hidden_of(seed, objective, data, repeats=1):
    return hidden_by(jax.random.key(seed), objective, data, repeats)


@partial(jax.jit, static_argnums=(1, 3))  # operation by operation each would be compiled alone
def hidden_by(key, objective, data, repeats):
    first, second, third = jax.random.split(key, 3)
    targets = jnp.repeat(draw_targets(first, data["valid"], 6), repeats, axis=1)
    gap = hide(second, data["day"], targets, objective)
    return targets, gap, hide_others(third, data["day"], targets, gap, objective)


@pytest.mark.parametrize(
    ("name", "loss", "visible", "gradient"),
    # commit 467ab03, jax 0.10.2, CPU
    [("s2", 1.1777531, 6.847020, 4.9092940), ("s1", 39.500645, 251.94952, 68.707195)],
)
def test_what_an_older_configuration_says_gives_the_numbers_it_gave(name, loss, visible, gradient):
    config = pretrain_config(name)
    config.encoder.dilations = (1, 2, 4)
    (found, metrics), grads = gradients(build_stage(config, records(BATCH)))
    assert float(found) == pytest.approx(loss, rel=2e-6)
    assert float(metrics["visible_mae"][0]) == pytest.approx(visible, rel=2e-6)
    assert norm(grads) == pytest.approx(gradient, rel=2e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_others_are_hidden_beside_the_gap_and_the_target_by_the_gap_alone(pattern):
    data = BATCH["s2"]
    o = Objective(hidden_others=(0.3, 0.6), patterns=(pattern,))
    shares = []
    for seed in range(30):
        targets, gap, hidden = (np.asarray(x) for x in hidden_of(seed, o, data))
        assert (hidden | gap == hidden).all()
        own = np.take_along_axis(hidden ^ gap, targets[..., None], -1)
        assert not own.any()
        shares.append((hidden & ~gap).sum(-1) / np.maximum((~gap).sum(-1) - 1, 1))
        if pattern == "side":
            after = np.arange(10) > targets[..., None]
            assert ((hidden | ~after).all(-1) | (hidden | after | (np.arange(10) == targets[..., None])).all(-1)).all()
    assert 0.15 < np.mean(shares) < 0.7
    _, gap, hidden = hidden_of(0, Objective(), data)
    np.testing.assert_array_equal(hidden, gap)  # (0, 0): nothing more


def test_only_what_is_hidden_is_asked_for_and_near_dates_more():
    data = {k: jnp.asarray(v) for k, v in BATCH["s2"].items()}
    data |= {k: data[k].at[:, 8:].set(0) for k in ("present", "valid")}
    o = Objective(**NEW, queries=64, reach_days=20)
    draw = jax.jit(draw_hidden_queries, static_argnums=4)
    days = []
    for seed in range(20):
        targets, _, hidden = hidden_of(seed, o, data, repeats=2)
        index, queries, exists = draw(jax.random.key(seed), data, targets, hidden, o)
        apart = np.asarray(queries["days"])
        may = np.take_along_axis(np.asarray(hidden & data["present"].astype(bool)[:, None]), np.asarray(index), -1)
        exists = np.asarray(exists)
        assert (may & (np.abs(apart) <= 20))[exists].all()
        np.testing.assert_array_equal(index[..., 0], targets)
        np.testing.assert_array_equal(
            exists[..., 0], np.take_along_axis(np.asarray(hidden), targets[..., None], -1)[..., 0]
        )
        assert not np.asarray(queries["dy"])[..., 0].any()
        days += [np.abs(apart[..., 1:][exists[..., 1:]])]
        none = ~(np.asarray(hidden & data["present"].astype(bool)[:, None])).any(-1)
        assert not exists[none].any()
    days = np.concatenate(days)
    assert (days < 10).mean() > 1.5 * (days >= 10).mean()


def test_nothing_visible_is_ever_decoded(monkeypatch):
    """Values tell their acquisition, and the encoder which acquisitions it saw: where they meet nothing weighs."""
    batch = {n: {k: np.array(v) for k, v in g.items()} for n, g in BATCH.items()}
    time = batch["s2"]["day"].shape[1]
    batch["s2"]["values"][:] = np.arange(time, dtype=np.int16)[:, None, None, None] + 1
    stage = build_stage(pretrain_config("s2", **NEW, targets=4, queries=12, borrowed_clouds=0.0), records(batch))
    seen, scored, met = [], [], 0
    embed = ContextEncoder.embed

    def spying(self, params, features, valid, day, targets, hidden=None):
        seen.append(hidden)
        return embed(self, params, features, valid, day, targets, hidden)

    score = stages.score
    monkeypatch.setattr(ContextEncoder, "embed", spying)
    monkeypatch.setattr(stages, "score", lambda *a: (scored.append(a), score(*a))[1])
    params = stage.init(jax.random.key(0))

    @jax.jit
    def spied(batch, key):
        stage.loss(params, {}, batch, key)
        return seen[0], scored[0][3].values, scored[0][3].weight

    for seed in range(3):
        hidden, values, weight = (np.asarray(x) for x in spied(batch, jax.random.key(seed)))
        which = values[..., 0, 0, 0].astype(int) - 1  # [b, n, j]
        counts = weight.max((-1, -2)) > 0
        assert np.take_along_axis(hidden, np.maximum(which, 0), -1)[counts].all()
        met += counts.sum()
    assert met > 50


@pytest.mark.whole
def test_the_new_objective_trains_everything_and_counts_no_visible_target():
    more = {"hidden_bands": 0.5, "agreement": 0.3, "decorrelation": 1.0, "cuts": 0.2, "cut_share": 0.5}
    config = pretrain_config("s2", **NEW, **more)
    config.encoder.band_flags = True
    config.decoder.geometry = True
    config.decoder.nearest = True
    config.decoder.leading = 3
    stage = build_stage(config, records(BATCH))
    assert stage.scheduled
    cut = jax.jit(lambda key: simulate_cuts(jax.random.fold_in(key, 11), BATCH["s2"], SENTINEL2, 0.5))
    one = lambda c: c.made.sum() == 1 and c.seen[:, 7:-7, 7:-7].any()  # noqa: E731  the other sample is decoded
    key = next(k for k in map(jax.random.key, range(200)) if one(cut(k)))
    (loss, metrics), grads = gradients(stage, key=key)
    assert np.isfinite(loss) and metrics["visible_mae"][1] == 0 and metrics["hidden_mae"][1] > 0
    assert {"disagreement", "correlation"} <= set(metrics)
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)
    first, second = metrics["disagreement"], metrics["correlation"]
    assert metrics["cuts"][1] > 0
    rest = loss - 0.3 * first[0] / first[1] - second[0]  # with the cuts
    early = jax.jit(stage.loss)(stage.init(jax.random.key(0)), {"progress": 0.1}, BATCH, key)[0]
    np.testing.assert_allclose(early, rest + second[0], rtol=1e-5)  # nothing of the first yet, all of the other


def test_an_encoder_with_flags_is_blind_to_what_a_lost_band_holds_and_others_are_refused():
    values = np.asarray(BATCH["s2"]["values"])
    lost = np.asarray(hide_bands(jax.random.key(0), jnp.asarray(np.repeat(values, 100, 0)), 0.5)) == MISSING_BAND
    assert (lost == lost[:, :1, :1, :1]).all()  # at all dates and pixels
    bands = lost[:, 0, 0, 0]
    assert 0.3 < bands.any(1).mean() < 0.7 and not bands.all(1).any() and bands.any(0).all()

    encoder = build_encoder(SENTINEL2, {"size": "tiny", "band_flags": True})
    data = BATCH["s2"]
    params = encoder.init(jax.random.key(0))
    meta = {k: data[k] for k in ("orbit", "direction", "incidence")}
    run = jax.jit(lambda v: encoder.features(params, v, data["valid"], meta)["token"])
    without = np.where(np.arange(10) % 2 == 0, values, MISSING_BAND).astype(np.int16)
    zero = np.where(np.arange(10) % 2 == 0, values, 2000).astype(np.int16)  # 0 after scaling, but given
    assert np.isfinite(run(without)).all() and np.abs(run(without) - run(zero)).max() > 1e-3
    with pytest.raises(UsageError, match="band_flags to true"):
        build_stage(pretrain_config("s2", hidden_bands=0.3), records(BATCH))


def test_the_decoder_knows_view_and_sun_where_they_are_given():
    decoder = build_decoder(SENTINEL2, 8, {"width": 16, "geometry": True})
    params = decoder.init(jax.random.key(0))
    shape = (1, 1, 2)
    plain = {k: jnp.zeros(shape) for k in ("days", "day", "dy", "dx", "same_orbit", "direction", "incidence")}
    z = jnp.ones((1, 1, 1, 1, 8))
    base = decoder.decode(params, z, plain)
    angles = {"sun_zenith": 40.0, "sun_azimuth": 160.0, "view_azimuth": 100.0}
    given = {k: jnp.full(shape, v) for k, v in angles.items()}
    unknown = {k: jnp.full(shape, jnp.nan) for k in angles}
    np.testing.assert_array_equal(base, decoder.decode(params, z, plain | unknown))
    assert np.abs(decoder.decode(params, z, plain | given) - base).max() > 1e-4
    with pytest.raises(UsageError, match="leading is 9"):
        build_decoder(SENTINEL2, 8, {"leading": 9})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patterns": ("scattered", "wave")}, "wave.*known are scattered, run"),
        ({"hidden_others": (0.5, 0.2)}, "rising shares"),
        ({"hidings": 0}, "hidings is 0"),
        ({"only_hidden": True, "next_same_orbit": True}, "set one of them to false"),
        ({"only_hidden": True, "hidden": 0.0}, "hide nothing"),
        ({"agreement": 0.1, "agreement_guard": 0.0}, "agreement_guard is 0"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        make_objective(options)


def test_an_encoders_own_prefixes_stand_in_for_the_configurations():
    blocks = SimpleNamespace(prefixes=(10, 30, 64), closed=30, dim=64)
    assert prefixes_of(blocks) == (10, 30, 64) and learned_part(blocks) == slice(30, 64)
    assert prefixes_of(SimpleNamespace(dim=64)) == () and learned_part(SimpleNamespace(dim=64)) == slice(0, 64)
