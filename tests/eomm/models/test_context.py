"""The equalities of the context encoder: what reaches an embedding and what cannot."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError
from eomm.models.context import SIZES, Turned, build_encoder, rotate
from eomm.models.interface import crop, window_mask
from tests.eomm.helpers import random_group
from tests.parameters import parameters

META = ("orbit", "direction", "incidence")


@pytest.fixture(scope="module", params=["s2", "s1"])
def setup(request):
    modality = {"s2": SENTINEL2, "s1": SENTINEL1}[request.param]
    encoder = build_encoder(modality, {"size": "tiny", "frames": (3, 3), "use_orbit": request.param == "s1"})
    params = parameters(encoder)
    # zeros at initialisation would hide mistakes
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda x: x + 0.05 * rng.standard_normal(x.shape, np.float32), params)
    return encoder, params, random_group(np.random.default_rng(0), modality, time=12, size=20)


def run(encoder, params, group, targets, hidden=None):
    return compiled(encoder, params, group, tuple(targets), hidden)


@functools.partial(jax.jit, static_argnums=(0, 3))  # one compilation instead of one per operation
def compiled(encoder, params, group, targets, hidden):
    features = encoder.features(params, group["values"], group["valid"], {k: group[k] for k in META})
    inside = crop(jnp.asarray(group["valid"]), encoder.halo)
    targets = jnp.broadcast_to(jnp.asarray(targets, jnp.int32), (group["day"].shape[0], len(targets)))
    return encoder.embed(params, features, inside, jnp.asarray(group["day"]), targets, hidden)


def take(group, time=slice(None), y=slice(None), x=slice(None)):
    cut = {k: v[:, time] for k, v in group.items()}
    return cut | {"values": cut["values"][:, :, y, x], "valid": cut["valid"][:, :, y, x]}


def test_a_window_cut_out_by_hand_gives_the_same_embedding(setup):
    encoder, params, group = setup
    whole = run(encoder, params, group, range(12))
    for t, y, x in [(0, 0, 0), (5, 2, 4), (6, 5, 5), (11, 3, 1)]:
        window = take(group, slice(max(t - 3, 0), t + 4), slice(y, y + 15), slice(x, x + 15))
        alone = run(encoder, params, window, [min(t, 3)])
        np.testing.assert_allclose(alone[0, 0, 0, 0], whole[0, t, y, x], atol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(setup):
    encoder, params, group = setup
    other = random_group(np.random.default_rng(9), encoder.modality, time=12, size=20)
    both = {k: np.concatenate([group[k], other[k]]) for k in group}
    swapped = {k: np.concatenate([group[k], other[k][:, ::-1]]) for k in group}
    np.testing.assert_array_equal(run(encoder, params, both, [4, 6])[0], run(encoder, params, swapped, [4, 6])[0])
    np.testing.assert_allclose(run(encoder, params, both, [4, 6])[0], run(encoder, params, group, [4, 6])[0], atol=1e-5)


def test_the_gradient_is_zero_outside_the_window_and_not_inside(setup):
    encoder, params, group = setup
    group = group | {"valid": np.ones_like(group["valid"])}
    target, y, x = 6, 2, 3

    def f(values):
        return run(encoder, params, group | {"values": values}, [target])[0, 0, y, x].sum()

    g = np.abs(np.asarray(jax.grad(f)(jnp.asarray(group["values"], jnp.float32)))[0]).sum(-1)
    inside = np.zeros_like(g, bool)
    inside[target - 3 : target + 4, y : y + 15, x : x + 15] = True
    assert (g[~inside] == 0).all()
    assert (g[inside] > 0).mean() > 0.9  # the whole 15 x 15 of all seven acquisitions is used


def test_translation_by_a_pixel_and_by_an_acquisition_moves_nothing_else(setup):
    encoder, params, group = setup
    whole = run(encoder, params, group, [5, 6])
    shifted = run(encoder, params, take(group, slice(1, 12), slice(1, 20), slice(1, 20)), [4, 5])
    np.testing.assert_allclose(shifted, whole[:, :, 1:, 1:], atol=1e-5)
    later = run(encoder, params, group | {"day": group["day"] + 5 * 365}, [5, 6])
    np.testing.assert_allclose(later, whole, atol=1e-4)  # only differences between days enter


def test_hidden_acquisitions_cannot_leak(setup):
    encoder, params, group = setup
    hidden = np.zeros((1, 1, 12), bool)
    hidden[0, 0, [5, 6, 7]] = True
    before = run(encoder, params, group, [6], jnp.asarray(hidden))
    changed = {k: v.copy() for k, v in group.items()}
    changed["values"][:, 5:8] = 777
    changed["valid"][:, 5:8] ^= 1
    np.testing.assert_array_equal(run(encoder, params, changed, [6], jnp.asarray(hidden)), before)
    assert np.abs(run(encoder, params, changed, [6]) - run(encoder, params, group, [6])).max() > 1e-3


def test_hiding_an_acquisition_is_the_same_as_its_not_being_usable(setup):
    encoder, params, group = setup
    hidden = np.zeros((1, 1, 12), bool)
    hidden[0, 0, [4, 8]] = True
    kept = [i for i in range(12) if i not in (4, 8)]
    dropped = {k: v[:, kept] for k, v in group.items()}
    np.testing.assert_allclose(
        run(encoder, params, group, [6], jnp.asarray(hidden)), run(encoder, params, dropped, [5]), atol=1e-5
    )


def test_invalid_values_are_never_read(setup):
    encoder, params, group = setup
    garbage = group | {"values": np.where(group["valid"][..., None] == 0, 32000, group["values"]).astype(np.int16)}
    np.testing.assert_array_equal(run(encoder, params, garbage, [3]), run(encoder, params, group, [3]))


@pytest.mark.parametrize("case", ["no valid value", "one acquisition", "years apart"])
def test_odd_windows_give_finite_embeddings(setup, case):
    encoder, params, group = setup
    if case == "no valid value":
        group = group | {"valid": np.zeros_like(group["valid"])}
    elif case == "one acquisition":
        group = take(group, slice(0, 1))
    else:
        group = group | {"day": group["day"] + (np.arange(12, dtype=np.int32) * 1000)[None]}
    assert np.isfinite(run(encoder, params, group, [0])).all()


def test_the_window_holds_so_many_visible_acquisitions_on_each_side():
    hidden = np.zeros((1, 2, 9), bool)
    hidden[0, 0, [3, 4]] = True
    mask = window_mask(jnp.array([[4, 0]]), jnp.asarray(hidden), (2, 1))
    assert np.flatnonzero(mask[0, 0]).tolist() == [1, 2, 5]
    assert np.flatnonzero(mask[0, 1]).tolist() == [0, 1]


def test_past_only_sees_nothing_later():
    encoder = build_encoder(SENTINEL2, {"size": "tiny", "frames": (4, 0)})
    params = parameters(encoder)
    group = random_group(np.random.default_rng(0), SENTINEL2, time=8, size=15)
    changed = {k: v.copy() for k, v in group.items()}
    changed["values"][:, 6:] //= 2
    np.testing.assert_array_equal(run(encoder, params, group, [5]), run(encoder, params, changed, [5]))


@pytest.mark.parametrize("size", SIZES)
def test_multiply_adds_follow_the_parameters(size):
    """Every weight matrix is used once per pixel-date; attention itself adds 4 x keys x width."""
    encoder = build_encoder(SENTINEL2, {"size": size})
    params = jax.eval_shape(encoder.init, jax.random.key(0))
    leaves = {jax.tree_util.keystr(p, simple=True): x for p, x in jax.tree_util.tree_flatten_with_path(params)[0]}
    weights = sum(
        np.prod(x.shape) for p, x in leaves.items() if p.endswith("kernel") or ("depthwise_" in p and x.ndim == 3)
    )
    assert encoder.macs() == weights + 4 * 17 * encoder.width


def test_multiply_adds_are_what_xla_counts():
    """XLA counts two operations each, and besides norms, softmax, rotations and the borders: 13 % in all."""
    encoder, time, size = build_encoder(SENTINEL2, {}), 17, 64

    def run_all(params, values, valid, meta, day, targets):
        features = encoder.features(params, values, valid, meta)
        return encoder.embed(params, features, crop(valid, encoder.halo), day, targets)

    spec, side = jax.ShapeDtypeStruct, size + 2 * encoder.halo
    meta = {name: spec((1, time), jnp.float32) for name in META}
    inputs = spec((1, time, side, side, 10), jnp.int16), spec((1, time, side, side), jnp.bool_)
    params = jax.eval_shape(encoder.init, jax.random.key(0))
    days = spec((1, time), jnp.int32)
    cost = jax.jit(run_all).lower(params, *inputs, meta, days, days).compile().cost_analysis()
    assert 1 < cost["flops"] / 2 / (time * size * size * encoder.macs()) < 1.2


def test_bfloat16_stays_near_float32_and_keeps_its_parameters():
    group = random_group(np.random.default_rng(0), SENTINEL2, time=8, size=15)
    single = build_encoder(SENTINEL2, {"size": "tiny"})
    half = build_encoder(SENTINEL2, {"size": "tiny", "dtype": "bfloat16"})
    assert {x.dtype for x in jax.tree.leaves(half.init(jax.random.key(0)))} == {jnp.dtype("float32")}
    params = parameters(half)
    a, b = run(single, params, group, [4]), run(half, params, group, [4])
    assert b.dtype == jnp.float32 and np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_unknown_options_are_refused():
    with pytest.raises(UsageError, match="'widht'"):
        build_encoder(SENTINEL2, {"widht": 64})
    with pytest.raises(UsageError, match="size 'huge'"):
        build_encoder(SENTINEL2, {"size": "huge"})


def test_a_query_starts_from_a_vector_and_bands_are_mixed_where_asked():
    group = random_group(np.random.default_rng(0), SENTINEL2, time=5, size=1, valid=1.0)
    mix = np.eye(11)
    mix[:10, :10] = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]
    mix = mix[:10]
    encoder = build_encoder(SENTINEL2, {"size": "tiny", "dilations": (), "start": 3, "mix": mix.tolist()})
    params = parameters(encoder)
    assert params["time"]["start"]["kernel"].shape == (3, 16)
    meta = {k: group[k] for k in META}
    targets = np.array([[2, 3]], np.int32)
    features = encoder.features(params, group["values"], group["valid"], meta)
    vectors = [
        encoder.embed(params, features, group["valid"], group["day"], targets, start=jnp.full((1, 2, 1, 1, 3), x))
        for x in (0.0, 1.0)
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    # A rotation of the bands before the first layer is undone by one after it.
    plain = build_encoder(SENTINEL2, {"size": "tiny", "dilations": (), "start": 3})
    kernel = params["frame"]["bands"]["kernel"]
    turned = {
        **params["frame"],
        "bands": {**params["frame"]["bands"], "kernel": jnp.concatenate([mix[:, :10].T @ kernel[:10], kernel[10:]])},
    }
    same = plain.features({**params, "frame": turned}, group["values"], group["valid"], meta)
    np.testing.assert_allclose(same["token"], features["token"], atol=1e-5)


def test_a_mix_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="mix has rows of another length"):
        build_encoder(SENTINEL2, {"mix": [[1.0, 2.0]]})
    with pytest.raises(UsageError, match="mix takes all bands"):
        build_encoder(SENTINEL2, {"mix": np.eye(11)[:10].tolist(), "band_flags": True})


@pytest.mark.parametrize("side", [4, 8])  # of fewer and of more pixels than weights have rows
@pytest.mark.parametrize("back", [False, True])
def test_turned_layers_rotate_pixels(back, side):
    """Whichever is rotated, weights or pixels, and whether what a layer gives or, backwards, what it is given."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 3, side, 5, 32), np.float32))
    day = jnp.asarray(rng.integers(17_000, 20_000, (2, 3)), jnp.int32)
    kernel, bias = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in ((32, 32), (32,)))
    layer = Turned(width=32, heads=2, dtype="float32", back=back)
    found = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x, day)

    def turn(pixels, days):
        heads = pixels.reshape(*pixels.shape[:2], -1, 2, 16)
        return rotate(heads, days[:, :, None, None]).reshape(pixels.shape)

    expected = turn(x, -day) @ kernel + bias if back else turn(x @ kernel + bias, day)
    assert np.abs(np.asarray(expected - (x @ kernel + bias))).max() > 1
    np.testing.assert_allclose(found, expected, atol=3e-5)
