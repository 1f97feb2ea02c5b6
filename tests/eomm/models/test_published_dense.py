"""The published encoder over a cube: what is reused changes nothing, and what the release leaves open is defined."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError
from eomm.models.interface import Encoder, crop, window_mask
from eomm.models.published import build_decoder, build_encoder, fill
from eomm.models.published.dense import window_places
from tests.parameters import parameters

TIME, HEIGHT, WIDTH = 9, 15, 16  # two pixels; windows of 11 reach past both ends
ENCODER = build_encoder(SENTINEL1, {})


@pytest.fixture(scope="module")
def params():
    return parameters(ENCODER)


@pytest.fixture(scope="module")
def group():
    """Complete, partly valid and empty patches."""
    rng = np.random.default_rng(0)
    valid = np.ones((1, TIME, HEIGHT, WIDTH), bool)
    valid[0, 2, :2] = False
    valid[0, 3] = False
    valid[0, 5, 4, 4] = False
    valid[0, 8, :, 15] = False
    values = rng.integers(-3200, 800, (1, TIME, HEIGHT, WIDTH, 2)).astype(np.int16)
    day = 17000 + np.cumsum(rng.integers(1, 12, (1, TIME)), axis=1).astype(np.int32)
    return {"values": values, "valid": valid, "day": day}


@functools.partial(jax.jit, static_argnums=4)
def compiled(params, group, targets, hidden, encoder):
    features = encoder.features(params, group["values"], group["valid"], {})
    inside = crop(group["valid"], encoder.halo)
    return encoder.embed(params, features, inside, group["day"], targets, hidden)


def dense(params, group, targets, hidden=None):
    targets = np.tile(np.array(targets, np.int32), (len(group["day"]), 1))
    if hidden is None:
        hidden = np.zeros((*targets.shape, group["day"].shape[1]), bool)
    return np.asarray(compiled(params, {k: jnp.asarray(v) for k, v in group.items()}, targets, hidden, ENCODER))


encode = jax.jit(ENCODER.encode)


def by_hand(params, group, target, y, x, hidden=()):
    """The window cut out and filled, place by place."""
    kept = [t for t in range(group["day"].shape[1]) if t not in hidden and t != target]
    before, after = [t for t in kept if t < target][-5:], [t for t in kept if t > target][:5]
    windows, valid = np.zeros((11, 15, 15, 2), np.float32), np.zeros((11, 15, 15), bool)
    day = group["day"][0].astype(int)
    known = [day[t] for t in (*before, target, *after)]
    days = np.array([min(known)] * 5 + [day[target]] + [max(known)] * 5)
    places = {5 - len(before) + i: t for i, t in enumerate(before)} | {6 + i: t for i, t in enumerate(after)}
    for place, t in (places | {5: target}).items():
        days[place] = day[t]
        if t not in hidden:
            windows[place] = ENCODER.scale(group["values"][0, t, y : y + 15, x : x + 15])
            valid[place] = group["valid"][0, t, y : y + 15, x : x + 15]
    filled = fill(jnp.asarray(windows), jnp.asarray(valid))
    return np.asarray(encode(params, filled[None], jnp.asarray(days - days.min(), jnp.int32)[None]))[0]


def test_it_is_an_encoder():
    assert isinstance(ENCODER, Encoder)
    assert (ENCODER.dim, ENCODER.frames, ENCODER.halo) == (2, (5, 5), 7)


@pytest.mark.whole
def test_a_window_cut_out_by_hand_gives_the_same_embedding(params, group):
    targets = [0, 4, 8]
    whole = dense(params, group, targets)
    assert whole.shape == (1, 3, 1, 2, 2) and np.isfinite(whole).all()
    for n, y, x in [(0, 0, 0), (1, 0, 1), (2, 0, 1)]:
        np.testing.assert_allclose(by_hand(params, group, targets[n], y, x), whole[0, n, y, x], rtol=0, atol=1e-5)


@pytest.mark.whole
def test_a_single_pixel_is_encoded_in_whole_windows_which_have_a_reverse_mode(params, group):
    hidden = np.zeros((1, 3, TIME), bool)
    hidden[0, :, [4, 6]] = True
    unseen = group | {"valid": group["valid"].copy()}
    unseen["valid"][:, :, 7, 7] = False
    for data in (group, unseen):
        one = {k: v[:, :, :, :15] if v.ndim > 2 else v for k, v in data.items()}
        whole, alone = dense(params, data, [3, 4, 8], hidden), dense(params, one, [3, 4, 8], hidden)
        np.testing.assert_allclose(alone[..., 0, :], whole[..., 0, :], rtol=0, atol=1e-5)
    targets = jnp.asarray([[3, 4, 8]])
    loss = lambda p: compiled(p, {k: jnp.asarray(v) for k, v in one.items()}, targets, hidden, ENCODER).sum()  # noqa: E731
    jax.eval_shape(jax.grad(loss), params)


def test_hidden_acquisitions_are_passed_over_and_a_hidden_target_keeps_its_place(params, group):
    hidden = np.zeros((1, 3, TIME), bool)
    hidden[0, :, [4, 6]] = True
    whole = dense(params, group, [3, 4, 8], hidden)
    for n, target in enumerate([3, 4, 8]):
        alone = by_hand(params, group, target, 0, 1, hidden=(4, 6))
        np.testing.assert_allclose(alone, whole[0, n, 0, 1], rtol=0, atol=1e-5)
    changed = {k: v.copy() for k, v in group.items()}
    changed["values"][:, [4, 6]] = -555
    changed["valid"][:, [4, 6]] ^= True
    np.testing.assert_array_equal(dense(params, changed, [3, 4, 8], hidden), whole)


def test_invalid_values_are_never_read(params, group):
    garbage = group | {"values": np.where(group["valid"][..., None], group["values"], 30000).astype(np.int16)}
    np.testing.assert_array_equal(dense(params, garbage, [0, 4, 8]), dense(params, group, [0, 4, 8]))


@pytest.mark.whole
def test_an_embedding_does_not_depend_on_its_batch(params, group):
    rng = np.random.default_rng(1)
    other = {k: v[:, ::-1] for k, v in group.items()} | {"day": group["day"] + 40}
    both, swapped = ({k: np.concatenate([group[k], o[k]]) for k in group} for o in (other, group))
    swapped["values"][1] = rng.integers(-2000, 0, swapped["values"][1].shape)
    embedding = dense(params, both, [0, 4, 8])[0]
    np.testing.assert_array_equal(dense(params, swapped, [0, 4, 8])[0], embedding)
    np.testing.assert_allclose(dense(params, group, [0, 4, 8])[0], embedding, rtol=0, atol=1e-5)


def test_what_the_release_leaves_open_is_finite(params, group):
    nothing = group | {"valid": np.zeros_like(group["valid"])}
    years = group | {"day": 17000 + 400 * np.arange(TIME, dtype=np.int32)[None]}
    once = group | {"valid": group["valid"].copy()}
    once["valid"][:, :, 7, 7] = False  # the left pixel itself is never seen, its surroundings are
    empty, long = dense(params, nothing, [0, 4, 8]), dense(params, years, [0, 4, 8])
    np.testing.assert_array_equal(dense(params, once, [0, 4, 8])[:, :, 0, 0], empty[:, :, 0, 0])
    assert np.isfinite(empty).all() and np.isfinite(long).all()
    beyond = group | {"day": np.where(np.arange(TIME) > 0, 17200 + np.arange(TIME), 17000)[None].astype(np.int32)}
    later = beyond | {"day": np.where(np.arange(TIME) > 0, 18000, 17000)[None].astype(np.int32)}
    np.testing.assert_array_equal(
        dense(params, beyond, [0, 4, 8])[:, 1], dense(params, later, [0, 4, 8])[:, 1]
    )  # all at day 200


def test_places_of_a_window():
    mask = np.zeros((1, 6), bool)
    mask[0, [0, 2, 3, 5]] = True
    day = jnp.asarray([3, 5, 9, 10, 12, 20], jnp.int32)
    index, exists, days = window_places(jnp.asarray(mask), jnp.asarray([3]), day)
    assert exists[0].tolist() == [False] * 3 + [True] * 4 + [False] * 4
    assert index[0, 3:7].tolist() == [0, 2, 3, 5]
    assert days[0].tolist() == [0, 0, 0, 0, 6, 7, 17, 17, 17, 17, 17]
    _, exists, days = window_places(jnp.asarray(mask), jnp.asarray([4]), day)  # the target itself is hidden
    assert exists[0].tolist() == [False] * 2 + [True] * 3 + [False] + [True] + [False] * 4
    assert days[0, 5] == 9


@pytest.mark.whole
def test_targets_are_decoded_as_the_centre_of_whole_windows(params, group):
    decoder = build_decoder(SENTINEL1, 2, {})
    both = {"encoder": params, "decoder": parameters(decoder)}
    hidden = np.zeros((1, 3, TIME), bool)
    hidden[0, 1, 3:6] = True
    targets, day = np.array([[0, 4, 8]], np.int32), jnp.asarray(group["day"])
    z = jnp.asarray(np.random.default_rng(2).random((1, 3, 1, 2, 2), np.float32))
    days = jax.vmap(window_places)(window_mask(targets, jnp.asarray(hidden), ENCODER.frames), targets, day)[2]
    assert days.shape == (1, 3, 11) and days[0, 1, 4] == group["day"][0, 2] - group["day"][0, 0]
    decode = jax.jit(decoder.decode_targets, static_argnums=5)
    found = decode(both, z, {"day": day}, targets, hidden, ENCODER.frames)
    whole = jax.jit(decoder.reconstruct)(both, z.reshape(6, 2), jnp.repeat(days[0], 2, axis=0))
    np.testing.assert_allclose(found.reshape(6, 2), whole[:, 5, 7, 7] * 35 - 30, rtol=0, atol=1e-4)


def test_attention_over_the_batch_is_refused(params, group):
    encoder = build_encoder(SENTINEL1, {"attention_over": "batch"})
    with pytest.raises(UsageError, match="depends on the other windows"):
        encoder.features(params, group["values"], group["valid"], {})
    with pytest.raises(UsageError, match="use attention_over=time"):
        encoder.embed(params, {}, group["valid"], group["day"], np.zeros((1, 1), np.int32))


def test_multiply_adds_are_the_published_ones():
    both = ENCODER.macs() + build_encoder(SENTINEL2, {}).macs()
    assert both == pytest.approx(6.9e9, rel=0.01)
    assert ENCODER.macs(1) == pytest.approx(ENCODER.macs() / 11, rel=0.05)
