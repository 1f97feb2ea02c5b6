"""Simulated cuts and the head that tells them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError
from eomm.models.decoder import build_decoder
from eomm.models.interface import FAR_DAYS, nearest_seen
from eomm.training.cuts import SPANS, Cuts, check_cuts, init_head, simulate_cuts, tell_cuts, vegetation_index

TIME = 12
GREEN = np.array([300, 600, 300, 900, 2500, 3200, 3500, 3600, 1800, 900], np.int16)
BARE = np.array([900, 1200, 1600, 1900, 2100, 2200, 2300, 2400, 3000, 2600], np.int16)


def meadow(batch=200):
    values = np.tile(GREEN, (batch, TIME, 2, 2, 1))
    values[0] = BARE
    day = np.arange(TIME, dtype=np.int32)[None] * 6 + 17000
    valid = np.random.default_rng(0).random((batch, TIME, 2, 2)) < 0.9
    present = np.ones((batch, TIME), np.uint8)
    return {"values": jnp.asarray(values), "valid": valid, "day": np.repeat(day, batch, 0), "present": present}


def test_a_share_of_series_loses_green_on_a_day_and_recovers_and_the_rest_is_as_it_was():
    data = meadow()
    cuts = jax.jit(simulate_cuts, static_argnums=(2, 3))(jax.random.key(0), data, SENTINEL2, 0.5)
    made, before = np.asarray(cuts.made), data["day"] < np.asarray(cuts.day)[:, None]
    assert 0.35 < made.mean() < 0.65
    values = np.asarray(cuts.values)
    assert values.dtype == np.int16
    np.testing.assert_array_equal(values[~made], np.asarray(data["values"])[~made])
    np.testing.assert_array_equal(values[before], np.asarray(data["values"])[before])
    np.testing.assert_array_equal(values[~data["valid"]], np.asarray(data["values"])[~data["valid"]])
    drop = np.asarray(vegetation_index(data["values"].astype(jnp.float32), SENTINEL2)) - np.asarray(
        vegetation_index(jnp.asarray(values, jnp.float32), SENTINEL2)
    )
    first = before.sum(1)  # the first date after
    for b in np.flatnonzero(made)[:40]:
        ok = data["valid"][b]
        series = drop[b, :, 0, 0][ok[:, 0, 0] & ~before[b]]
        assert (np.diff(series) <= 1e-3).all()  # it only recovers
        at, seen = first[b], np.asarray(cuts.seen)[b]
        assert not seen[~ok[at]].any() and not seen[~ok[at - 1]].any()
        np.testing.assert_array_equal(seen & ok[at] & ok[at - 1], (drop[b, at] > 0.1) & ok[at] & ok[at - 1])
    assert not np.asarray(cuts.seen)[~made].any() and np.asarray(cuts.seen).any()


def test_the_head_is_asked_only_where_a_cut_shows_and_learns_what_it_is_asked():
    dim, days = 4, np.array([[5, 20, -3, 60]], np.int32)
    truth = np.array([[low <= d <= high for low, high in SPANS] for d in days[0]], np.float32)
    embedding = jnp.asarray(np.concatenate([truth, np.zeros((4, 1))], 1))[None, :, None, None]
    cuts = Cuts(
        values=jnp.zeros(()), day=jnp.zeros(1, jnp.int32), made=jnp.ones(1, bool), seen=jnp.ones((1, 1, 1), bool)
    )
    head = init_head(jax.random.key(0), dim)
    right = {"kernel": 20 * jnp.eye(dim, 3), "bias": jnp.full(3, -10.0)}
    (error, weight), (least, _) = (tell_cuts(h, embedding, days, cuts) for h in (head, right))
    assert weight == 4 and least < 0.01 < error
    unseen = Cuts(values=cuts.values, day=cuts.day, made=cuts.made, seen=jnp.zeros((1, 1, 1), bool))
    assert tell_cuts(head, embedding, days, unseen) == (0, 0)


def test_what_has_no_green_is_refused():
    check_cuts(SENTINEL2)
    with pytest.raises(UsageError, match="has bands VV VH; simulated cuts need B04 and B08"):
        check_cuts(SENTINEL1)


def test_the_decoder_may_know_how_far_the_nearest_seen_dates_are():
    day, targets = jnp.array([[0, 10, 30, 200]]), jnp.array([[1, 3, 0]])
    hidden = jnp.zeros((1, 3, 4), bool).at[0, 0, 0].set(True)
    found = nearest_seen(day, targets, hidden)
    assert found["seen_before"][0, :, 0].tolist() == [FAR_DAYS, FAR_DAYS, FAR_DAYS]
    assert found["seen_after"][0, :, 0].tolist() == [20, FAR_DAYS, 10]
    decoder = build_decoder(SENTINEL2, 8, {"width": 16, "nearest": True})
    params = {"decoder": decoder.init(jax.random.key(0))}
    meta = {"day": day} | {k: jnp.zeros((1, 4)) for k in ("orbit", "direction", "incidence")}
    z = jnp.ones((1, 3, 1, 1, 8))
    a, b = (decoder.decode_targets(params, z, meta, targets, h, (8, 8)) for h in (hidden, hidden.at[0, 0, 2].set(True)))
    assert np.abs(a - b)[0, 0].max() > 0 and (a == b)[0, 1:].all()
