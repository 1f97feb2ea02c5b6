import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.embedding.run import embed, open_embedding
from eomm.errors import DataError, UsageError
from eomm.export.portable import embed_block
from eomm.models.directory import Model, build_parts, load_model, save_model
from eomm.models.interface import no_hidden, window_mask
from eomm.models.state import Fading, build_encoder, state_of
from tests.eomm.site import make_cube

INNER = {"size": "tiny", "dim": 4, "frames": (3, 3), "dilations": (7,)}
FADING = Fading(tau_days=30.0, likeness=36.0, side_days=15.0)
jitted = jax.jit(partial(state_of, fading=FADING))
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def constants(bands=10, noise=0.01, seed=0):
    """A whitening like those measured: rows of a rotation over the noise."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(bands, bands)))[0]
    return {"mean": [0.12] * bands, "whiten": (turn / noise).tolist(), "scale": [9.0, 6.0]}


def make_model(**options):
    parts = {"encoder": {"code": "eomm.models.state", **constants(), **options}, "decoder": {"width": 8}}
    encoder, decoder = build_parts(SENTINEL2, **parts)
    params = {"encoder": encoder.init(jax.random.key(0)), "decoder": decoder.init(jax.random.key(1))}
    networks = {"encoders": {"s2": encoder}, "decoders": {"s2": decoder}, "fusion": None}
    return Model(**networks, params={"s2": params}, parts={"s2": parts}, info={"steps": 0})


@pytest.fixture(scope="module")
def model():
    return make_model(inner=INNER, dim=34)


def random_window(rng, *, n=200, t=12, like=True):
    """Whitened series [n, t, 1, 5, 1] round a level of each, validity, days, targets, hidden."""
    y = rng.normal(0, 9, (n, 1, 1, 5, 1)) + rng.normal(0, 1, (n, t, 1, 5, 1)) * (1 if like else 9)
    valid, hidden = rng.random((n, t, 1, 1)) < 0.7, rng.random((n, 1, t)) < 0.3
    day = np.sort(rng.integers(17000, 17200, (n, t)), axis=1).astype(np.int32)
    return y.astype(np.float32), valid, day, rng.integers(0, t, (n, 1)).astype(np.int32), hidden


def plain_form(y, seen, day, at):
    """State, past, future, support of one series [t, c], as they are defined."""
    if not seen.any():
        return (np.zeros(y.shape[1]),) * 3 + (0.0,)
    y, apart = y.astype(np.float64), (day - day[at]).astype(float)
    like = ((y - y[at]) ** 2).sum(-1) / 36 if seen[at] else 0
    w = np.exp(-np.abs(apart) / 30 - like) * seen
    w /= w.sum()
    sides = []
    for side in (seen & (apart < 0), seen & (apart > 0)):
        u = np.exp(-np.abs(apart) / 15) * side
        sides.append(u @ y / u.sum() - w @ y if side.any() else np.zeros(y.shape[1]))
    return (w @ y, *sides, 1 / (w**2).sum())


@pytest.mark.parametrize("like", [True, False])
def test_the_state_is_what_it_is_defined_as_in_every_case(like):
    y, valid, day, targets, hidden = random_window(np.random.default_rng(0), like=like)
    valid[0], hidden[1] = False, True
    window = window_mask(targets, jnp.asarray(hidden), (4, 4))
    out = jitted(y, valid, day, targets, window)
    kinds = set()
    for i in range(len(y)):
        seen, at = valid[i, :, 0, 0] & np.asarray(window[i, 0]), targets[i, 0]
        kinds.add((bool(seen.any()), bool(hidden[i, 0, at]), bool(valid[i, at, 0, 0])))
        for found, want in zip(out, plain_form(y[i, :, 0, :, 0], seen, day[i], at), strict=True):
            np.testing.assert_allclose(np.ravel(found[i, 0]), np.ravel(want), **TOLERANCE)
    assert len(kinds) > 4


def test_a_window_years_away_still_has_a_state():
    y = jnp.arange(3.0)[None, :, None, None, None] + jnp.ones((1, 3, 1, 2, 1))
    day, valid = jnp.array([[0, 5000, 5001]], jnp.int32), jnp.array([True, False, False])[None, :, None, None]
    window = window_mask(jnp.array([[2]]), no_hidden(jnp.array([[2]]), 3), (2, 0))
    out = jitted(y, valid, day, jnp.array([[2]]), window)
    np.testing.assert_allclose(out.state[0, 0, 0, :, 0], 1.0)
    assert out.support.item() == 1 and not out.past.any() and not out.future.any()


def test_what_is_not_seen_may_hold_anything():
    y, valid, day, targets, hidden = random_window(np.random.default_rng(1))
    window = window_mask(targets, jnp.asarray(hidden), (4, 4))
    seen = valid & np.moveaxis(np.asarray(window), 1, 2)[..., None]
    other = np.where(seen[..., None, :], y, 1e6)
    for a, b in zip(*(jitted(v, valid, day, targets, window) for v in (y, other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_outlier_at_the_target_passes_and_rests_on_itself():
    y = np.zeros((1, 9, 1, 10, 1), np.float32)
    y[0, 4] = 50
    day, targets = np.arange(9, dtype=np.int32)[None] * 5, np.array([[4]])
    window = window_mask(targets, no_hidden(targets, 9), (4, 4))
    out = jitted(y, np.ones((1, 9, 1, 1), bool), day, targets, window)
    assert out.support.item() == pytest.approx(1) and out.state.min() == pytest.approx(50)


def by_hand(model, cube, position, row, col):
    """A pixel-date from its own window."""
    encoder, group = model.encoders["s2"], cube["s2"]
    (before, after), halo = encoder.frames, encoder.halo
    usable = np.flatnonzero(group.usable)
    first = max(0, position - before)
    chosen = usable[first : position + after + 1]
    values, valid = group.read(chosen, slice(row - halo, row + halo + 1), slice(col - halo, col + halo + 1))
    inside = valid[None, :, halo : halo + 1, halo : halo + 1]
    meta = {k: v[None, chosen] for k, v in group.meta().items()}
    params, target = model.params["s2"]["encoder"], np.array([[position - first]], np.int32)
    return call(encoder, params, values[None], valid[None], inside, group.day[None, chosen], meta, target)[0, 0, 0, 0]


@partial(jax.jit, static_argnums=0)
def call(encoder, params, values, valid, inside, day, meta, targets):
    return encoder.embed(params, encoder.features(params, values, valid, meta), inside, day, targets)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    rng = np.random.default_rng(3)
    noisy = {17600 + 8 * i: (1500 + rng.normal(0, 150, (24, 24, 10))).astype(np.int16) for i in range(20)}
    return make_cube(tmp_path_factory.mktemp("state") / "c.zarr", clouds=0.4, change=noisy, s1=False)


def test_a_window_cut_by_hand_gives_the_dense_embedding_and_the_portable_one(model, cube, tmp_path):
    path = embed(model, cube, tmp_path / "e.zarr", dtype="float32", clear_only=False)
    stored = open_embedding(path, masked=False).load()
    for position, row, col in ((0, 3, 20), (7, 12, 11), (8, 0, 0), (19, 23, 5)):
        vector = stored["embedding"].values[position, row, col]
        np.testing.assert_allclose(vector, by_hand(model, cube, position, row, col), atol=1e-5)
    halo, group = model.encoders["s2"].halo, cube["s2"]
    values, valid = group.read(np.arange(20), slice(4 - halo, 9 + halo), slice(2 - halo, 7 + halo))
    inputs = {"s2": {"values": values, "valid": valid, "day": group.day, **group.meta()}}
    found = embed_block(model, jax.tree.map(jnp.asarray, inputs), jnp.array([2, 9], jnp.int32))["embedding"]
    np.testing.assert_allclose(found, stored["embedding"].values[[2, 9], 4:9, 2:7], atol=1e-5)


def batch_of(cube, encoder, count=12):
    values, valid = cube["s2"].read(np.arange(count), slice(0, 16), slice(0, 16))
    meta = {k: v[None, :count] for k, v in cube["s2"].meta().items()}
    halo = encoder.halo
    return (
        values[None],
        valid[None],
        valid[None, :, halo : 16 - halo, halo : 16 - halo],
        cube["s2"].day[None, :count],
        meta,
    )


def test_only_the_inner_encoder_has_gradients(model, cube):
    encoder, targets = model.encoders["s2"], jnp.array([[3, 8]], jnp.int32)
    values, valid, inside, day, meta = batch_of(cube, encoder)

    def loss(params):
        features = encoder.features(params, values, valid, meta)
        return jnp.sum(encoder.embed(params, features, inside, day, targets) ** 2)

    params = model.params["s2"]["encoder"]
    gradients = jax.jit(jax.grad(loss))(params)
    assert jax.tree.structure(gradients) == jax.tree.structure(encoder.inner.init(jax.random.key(0)))
    assert all(np.abs(g).max() > 0 for p, g in jax.tree_util.tree_leaves_with_path(gradients) if "null" not in str(p))
    closed = dataclasses.replace(encoder, inner=None)
    assert jax.tree.leaves(closed.init(jax.random.key(0))) == []


def test_a_past_only_encoder_never_reads_the_future(cube):
    encoder = build_encoder(SENTINEL2, {**constants(), "inner": {**INNER, "frames": (3, 0)}})
    params, targets = encoder.init(jax.random.key(0)), jnp.array([[5]], jnp.int32)
    values, valid, inside, day, meta = batch_of(cube, encoder)

    def vector(values, valid, inside):
        return call(encoder, params, values, valid, inside, day, meta, targets)

    later = np.arange(12) > 5
    changed = np.where(later[None, :, None, None, None], values + 777, values).astype(np.int16)
    flipped = [np.where(later[None, :, None, None], ~mask, mask) for mask in (valid, inside)]
    a = vector(values, valid, inside)
    np.testing.assert_array_equal(a, vector(changed, *flipped))
    assert not a[..., 20:30].any() and a[..., 10:20].any()
    before = np.where(~later[None, :, None, None, None], values + 777, values).astype(np.int16)
    assert np.abs(a - vector(before, valid, inside)).max() > 1e-3


def test_radar_is_averaged_within_the_orbit_of_the_target():
    encoder = build_encoder(SENTINEL1, {**constants(2, noise=1.0), "mean": [-12.0, -18.0], "same_orbit": True})
    rng = np.random.default_rng(0)
    values, valid = rng.integers(-2000, -900, (1, 10, 1, 1, 2)).astype(np.int16), np.ones((1, 10, 1, 1), bool)
    orbit, day = np.resize([7, 9], (1, 10)), np.arange(10, dtype=np.int32)[None] * 6
    meta = {"orbit": orbit, "direction": np.zeros((1, 10)), "incidence": np.zeros((1, 10))}

    def vector(values):
        return call(encoder, {}, values, valid, valid, day, meta, jnp.array([[4]]))

    other = np.where((orbit == 9)[..., None, None, None], values + 500, values).astype(np.int16)
    np.testing.assert_array_equal(vector(values), vector(other))
    assert encoder.dim == 6 and encoder.prefixes == (2, 6)


def test_places_and_lengths_of_the_blocks(model):
    encoder = model.encoders["s2"]
    assert encoder.dim == 34 and encoder.prefixes == (10, 30, 34) and encoder.halo == 7 and encoder.frames == (3, 3)
    assert encoder.macs() == encoder.inner.macs() + 100 + 7 * 42
    hash(encoder)
    with pytest.raises(UsageError, match="dim is 64, so 34 numbers are learned; inner has 4"):
        build_encoder(SENTINEL2, {**constants(), "inner": INNER, "dim": 64})
    with pytest.raises(UsageError, match="mean and whiten are missing"):
        build_encoder(SENTINEL2, {"inner": INNER})
    with pytest.raises(UsageError, match=r"expected \[10\] and \[components, 10\]"):
        build_encoder(SENTINEL2, constants(2))
    with pytest.raises(UsageError, match="unknown"):
        build_encoder(SENTINEL2, {**constants(), "outer": 1})


@pytest.mark.parametrize("inner", [None, INNER])
def test_a_model_with_a_state_survives_the_disk(inner, tmp_path):
    model = make_model(inner=inner) if inner else make_model(frames=(3, 3))
    back = load_model(save_model(model, tmp_path / "m"))
    assert back.hash == model.hash and back.encoders == model.encoders and back.version == 2
    jax.tree.map(np.testing.assert_array_equal, back.params, model.params)


def test_the_hash_covers_what_changes_stored_vectors(model, tmp_path):
    def with_info(**calibration):
        return dataclasses.replace(model, info={"steps": 9, "calibration": calibration})

    scaled = with_info(scale=[0.1] * 34, count=3)
    hashes = {m.hash for m in (model, scaled, with_info(scale=[0.2] * 34), with_info(scale=[0.1] * 34, error={"a": 1}))}
    assert len(hashes) == 4 and scaled.hash == with_info(scale=[0.1] * 34, count=4).hash
    wider = {**model.parts["s2"]["encoder"], "scale": [9.0, 7.0]}
    parts = {"s2": {**model.parts["s2"], "encoder": wider}}
    assert dataclasses.replace(model, parts=parts).hash != model.hash
    first = dataclasses.replace(scaled, version=1)
    back = load_model(save_model(first, tmp_path / "m"))
    assert back.version == 1 and back.hash == first.hash == dataclasses.replace(model, version=1).hash
    head = json.loads((tmp_path / "m/model.json").read_text())
    (tmp_path / "m/model.json").write_text(json.dumps({**head, "version": 3}))
    with pytest.raises(DataError, match="version 3; expected a model of a version up to 2"):
        load_model(tmp_path / "m")


def test_code_inside_the_state_is_used_only_when_named(model, tmp_path):
    part = model.parts["s2"]
    encoder = {**part["encoder"], "inner": {**part["encoder"]["inner"], "code": "os"}}
    path = save_model(dataclasses.replace(model, parts={"s2": {**part, "encoder": encoder}}), tmp_path / "m")
    with pytest.raises(UsageError, match=r"inside the state.*--code os"):
        load_model(path)
