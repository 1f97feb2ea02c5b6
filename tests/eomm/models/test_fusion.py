"""The fusion head by itself; with encoders round it: tests/eomm/training/test_stages.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.embedding.dense import fuse_dates
from eomm.models import forward
from eomm.models.fusion import Fusion
from tests.parameters import parameters


def test_multiply_adds_are_what_xla_counts():
    """XLA counts two operations each, and besides norms and softmax."""
    fusion, pixels = Fusion(inputs=(("s1", 64), ("s2", 64))), 256
    spec = jax.ShapeDtypeStruct
    embeddings = {name: spec((pixels, dim), jnp.float32) for name, dim in fusion.inputs}
    present = {name: spec((pixels,), jnp.bool_) for name in embeddings}
    days = {name: spec((pixels,), jnp.float32) for name in embeddings}
    params = jax.eval_shape(fusion.init, jax.random.key(0))
    cost = jax.jit(fusion.fuse).lower(params, embeddings, present, days).compile().cost_analysis()
    assert 1 < cost["flops"] / 2 / (pixels * fusion.macs()) < 1.2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_only_what_is_wanted_is_fused_and_as_it_is_fused_alone(share):
    fusion, rng = (
        Fusion.build({"s2": 8, "s1": 4}, {"dim": 8, "width": 16, "heads": 2, "layers": 1}),
        np.random.default_rng(0),
    )
    params, shape = parameters(fusion), (3, 16, 16)
    wanted = rng.random(shape) < share
    vectors = {n: rng.standard_normal((*shape, dim), np.float32) for n, dim in fusion.inputs}
    present = {n: rng.random(shape) < 0.8 for n in vectors}
    days = {n: rng.integers(-9, 9, 3).astype(np.float32) for n in vectors}
    parts = {n: (tuple(map(jnp.asarray, vectors[n])), present[n], days[n]) for n in vectors}
    found = fuse_dates(params, parts, wanted, fusion=fusion, length=6)
    every = {n: jnp.broadcast_to(days[n][:, None, None], shape) for n in vectors}
    whole = {n: forward.Part(jnp.asarray(vectors[n]), jnp.asarray(present[n]), every[n]) for n in vectors}
    expected = jax.jit(forward.fuse, static_argnums=0)(fusion, params, whole)[..., :6]
    np.testing.assert_allclose(found, np.where(wanted[..., None], expected, 0), atol=1e-5)
