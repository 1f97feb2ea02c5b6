"""Parity of the published model with its fixture: the authors' classes, run with random weights."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError
from eomm.models.published import build_decoder, build_encoder, build_fusion, fill
from eomm.models.published.loss import MIXTURES, centre_weights, published_loss
from eomm.models.published.release import import_params

MODALITIES = {"s1": SENTINEL1, "s2": SENTINEL2}
WAYS = {"time_attention": "time", "batch_attention": "batch", "alone": "batch"}


@pytest.fixture(scope="module")
def fixture(shared):
    return shared / "fixtures" / "published_model"


@pytest.fixture(scope="module")
def arrays(fixture):
    with np.load(fixture / "arrays.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def params(fixture):
    return import_params(load_file(fixture / "weights.safetensors"), "the fixture")


def channel_last(x):
    return np.moveaxis(x, 2, -1)


def days_of(gaps):
    return np.concatenate([np.zeros((len(gaps), 1)), np.cumsum(gaps, axis=1)], axis=1).astype(np.int32)


@functools.lru_cache
def parts(name, over="time"):
    encoder = build_encoder(MODALITIES[name], {"attention_over": over})
    decoder = build_decoder(MODALITIES[name], encoder.dim, {})
    return encoder, decoder, jax.jit(encoder.encode_dates), jax.jit(encoder.encode_series), jax.jit(decoder.reconstruct)


@pytest.fixture(scope="module")
def vectors(arrays, params):
    def of(name):
        x = channel_last(arrays[f"x_{name}"])
        found = parts(name)[2](params[name]["encoder"], x.reshape(-1, *x.shape[2:]))
        return np.asarray(found).reshape(4, 11, 256)

    return {name: of(name) for name in MODALITIES}


def embed(way, name, vectors, arrays, params):
    encode = parts(name, WAYS[way])[3]
    days = days_of(arrays[f"gaps_{name}"])
    each = [slice(i, i + 1) for i in range(4)] if way == "alone" else [slice(None)]
    return np.concatenate([encode(params[name]["encoder"], vectors[name][i], days[i]) for i in each])


@pytest.mark.parametrize("name", MODALITIES)
def test_published_features(name, vectors, arrays):
    np.testing.assert_allclose(vectors[name], arrays[f"frame_features_{name}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_published_embeddings_and_reconstructions(way, vectors, arrays, params):
    z = {name: embed(way, name, vectors, arrays, params) for name in MODALITIES}
    for name in MODALITIES:
        np.testing.assert_allclose(z[name], arrays[f"z_{name}_{way}"], rtol=0, atol=1e-5)
    fusion = build_fusion({n: v.shape[-1] for n, v in z.items()}, {})
    offset = {"s2": jnp.zeros(4), "s1": -arrays["pair_delta_days"][:, 0].astype(np.float32)}  # before or after: equal
    fused = fusion.fuse(params["fusion"], z, {n: jnp.ones(4, bool) for n in z}, offset)
    np.testing.assert_allclose(fused, arrays[f"z_fused_{way}"], rtol=0, atol=1e-5)
    projected = fusion.project(params["fusion"], fused)
    for name in MODALITIES:
        y = parts(name)[4](params[name], projected[name], days_of(arrays[f"gaps_{name}"]))
        np.testing.assert_allclose(y, channel_last(arrays[f"y_{name}_{way}"]), rtol=0, atol=1e-4)


def test_published_ways_to_attend_differ(vectors, arrays, params):
    ways = [embed(way, "s2", vectors, arrays, params) for way in WAYS]
    assert min(np.abs(a - b).max() for a, b in zip(ways, ways[1:] + ways[:1], strict=True)) > 1e-2


@pytest.mark.parametrize("stage", MIXTURES)
@pytest.mark.parametrize("name", MODALITIES)
def test_published_losses(stage, name, fixture, arrays):
    terms = json.loads((fixture / "losses.json").read_text())[f"{name}_{stage.replace('fuse', 'fusion')}"]
    x, y, mask = (channel_last(arrays[k.format(name)]) for k in ("x_{}", "y_{}_time_attention", "mask_{}"))
    total, found = published_loss(MIXTURES[stage][name], y, x, mask[..., 0])
    np.testing.assert_allclose(total, terms["total"], rtol=1e-5)
    for ours, theirs in {"mae": "mae", "sam": "sam", "ssim": "ssim_loss", "centre_mae": "centre_mae"}.items():
        np.testing.assert_allclose(found.get(ours, 0), terms[theirs], rtol=1e-5, err_msg=ours)


def test_published_parameter_counts(params):
    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    assert {n: count(p) for n, p in params.items()} == {"s1": 3_712_061, "s2": 3_726_109, "fusion": 314_079}
    assert count(params) == 7_752_249


@pytest.mark.parametrize(("boost", "share"), [(1, 74.5), (1.5, 81.4), (1.75, 83.6)])
def test_published_weight_of_the_centre(boost, share):
    weight = centre_weights(boost)
    assert 100 * boost / weight.sum() == pytest.approx(share, abs=0.05)


@pytest.mark.whole
def test_published_dropout_needs_a_key_and_differs_by_key(params, arrays):
    encoder = parts("s1")[0]
    x, days = jnp.asarray(channel_last(arrays["x_s1"])[0, :2]), days_of(arrays["gaps_s1"])[:1]

    @jax.jit
    def run(key):
        vectors = encoder.encode_dates(params["s1"]["encoder"], x, rng=key)
        z = encoder.encode_series(params["s1"]["encoder"], jnp.resize(vectors, (1, 11, 256)), days, rng=key)
        return vectors, z

    first, other, again = (run(jax.random.key(seed)) for seed in (0, 1, 0))
    for a, b, c in zip(first, other, again, strict=True):
        assert np.isfinite(a).all() and np.abs(a - b).max() > 1e-3
        np.testing.assert_array_equal(a, c)


def test_published_fill_is_the_window_mean_per_band():
    x = np.random.default_rng(0).random((2, 11, 15, 15, 3), np.float32)
    valid = np.random.default_rng(1).random((2, 11, 15, 15)) < 0.7
    valid[1] = False
    filled = np.asarray(fill(jnp.asarray(x), jnp.asarray(valid)))
    np.testing.assert_array_equal(filled[0][valid[0]], x[0][valid[0]])
    np.testing.assert_allclose(filled[0][~valid[0]], np.tile(x[0][valid[0]].mean(0), ((~valid[0]).sum(), 1)), rtol=1e-5)
    assert (filled[1] == 0).all()


def test_published_input_is_clipped_and_scaled():
    s1, s2 = (parts(n)[0] for n in MODALITIES)
    np.testing.assert_allclose(
        s2.scale(np.array([[-500, 0, 2500, 10000, 12000] * 2], np.int16))[0, :5], [0, 0, 0.25, 1, 1], atol=1e-6
    )
    np.testing.assert_allclose(
        s1.scale(np.array([[-4000, -3000], [-1250, 500], [900, 0]], np.int16)),
        [[0, 0], [0.5, 1], [1, 30 / 35]],
        atol=1e-6,
    )


def test_published_options_are_checked():
    with pytest.raises(UsageError, match="attention_over is 'space'"):
        build_encoder(SENTINEL2, {"attention_over": "space"})
    with pytest.raises(UsageError, match="width"):
        build_encoder(SENTINEL2, {"width": 3})
    with pytest.raises(UsageError, match="it is of s1 and s2"):
        build_fusion({"s2": 9}, {})
    with pytest.raises(UsageError, match="0 to 350"):
        build_fusion({"s1": 2, "s2": 9}, {"max_offset_days": 400})
    with pytest.raises(UsageError, match="tokens is the only one"):
        build_decoder(SENTINEL2, 9, {"width": 3})
