"""What training and embedding compile is lowered for machines that are not here. It is not run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.embedding import dense
from eomm.models.context import build_encoder
from eomm.models.fusion import Fusion
from eomm.training.stages import build_stage
from eomm.training.step import make_step
from tests.eomm.helpers import random_batch
from tests.eomm.tiny import make_config
from tests.eomm.training.test_stages import pretrain_config, records

PLATFORMS = ("tpu", "cuda")


def lower(function, *arguments, **static):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    exported = jax.export.export(jax.jit(function, static_argnames=tuple(static)), platforms=PLATFORMS)
    found = exported(*shapes, **static)
    assert found.platforms == PLATFORMS and "stablehlo" in found.mlir_module()
    return found


@pytest.mark.parametrize(("dtype", "changes"), [("float32", {}), ("bfloat16", {"accumulate": 2, "remat": True})])
def test_the_training_step_is_lowered_for_accelerators(dtype, changes):
    batch = {"s2": random_batch(np.random.default_rng(0))["s2"]}
    config = pretrain_config("s2")
    config.unlock()
    config.remat, config.encoder.dtype = changes.get("remat", False), dtype
    stage = build_stage(config, records(batch))
    step, init = make_step(stage, make_config(**{k: v for k, v in changes.items() if k == "accumulate"}), batch)
    state = jax.eval_shape(init, jax.random.key(0))
    on_data = lambda state, key, frozen, batch: step(state, jax.random.wrap_key_data(key), frozen, batch)  # noqa: E731
    found = lower(on_data, state, jnp.zeros(2, jnp.uint32), stage.frozen, batch)
    assert len(found.out_avals) == len(
        jax.tree.leaves(jax.eval_shape(step, state, jax.random.key(0), stage.frozen, batch))
    )
    if dtype == "bfloat16":
        assert "bf16" in found.mlir_module()


@pytest.mark.parametrize(("modality", "use_orbit"), [(SENTINEL2, False), (SENTINEL1, True)])
def test_dense_embedding_is_lowered_for_accelerators(modality, use_orbit):
    encoder = build_encoder(modality, {"size": "tiny", "use_orbit": use_orbit})
    params = jax.eval_shape(encoder.init, jax.random.key(0))
    time, side, halo, bands = dense.CHUNK, 16, encoder.halo, len(modality.bands)
    wide = side + 2 * halo
    values, valid = np.zeros((time, wide, wide, bands), np.int16), np.zeros((time, wide, wide), bool)
    meta = {"orbit": np.zeros(time, np.int32), "direction": np.zeros(time, np.int8), "incidence": np.zeros(time, "f4")}
    found = lower(dense.features_of, params, values, valid, meta, encoder=encoder, one_by_one=False)
    compute = lambda *a: dense.features_of(*a, encoder=encoder, one_by_one=False)  # noqa: E731
    chunk = jax.eval_shape(compute, params, values, valid, meta)
    assert len(found.out_avals) == len(jax.tree.leaves(chunk))
    keys = 3 * dense.CHUNK
    arguments = ((chunk,) * 3, np.zeros((keys, side, side), bool), np.zeros(keys, np.int32), np.zeros(4, np.int32))
    found = lower(dense.embed_group, params, *arguments, encoder=encoder, rows=side)
    assert [a.shape for a in found.out_avals[:4]] == [(side, side, encoder.dim)] * 4


def test_fusing_dates_is_lowered_for_accelerators(monkeypatch):
    monkeypatch.setattr(dense, "on_cpu", lambda: False)  # as it is there
    fusion = Fusion.build({"s2": 16, "s1": 16}, {"dim": 8, "width": 16, "heads": 2, "layers": 1})
    params = jax.eval_shape(fusion.init, jax.random.key(0))
    shape, names = (4, 16, 16), ("s2", "s1")
    found = lower(
        dense.fuse_dates,
        params,
        {n: ((np.zeros((16, 16, 16), "f4"),) * 4, np.zeros(shape, bool), np.zeros(4, "f4")) for n in names},
        np.zeros(shape, bool),
        fusion=fusion,
        length=8,
    )
    assert found.out_avals[0].shape == (*shape, 8)
