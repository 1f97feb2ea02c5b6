"""The fusion head by itself; with encoders round it: tests/eomm/training/test_stages.py."""

import jax
import jax.numpy as jnp

from eomm.models.fusion import Fusion


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
