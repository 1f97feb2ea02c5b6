from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.modality import SENTINEL2
from eomm.models.context import ContextEncoder
from eomm.models.directory import save_model
from eomm.training.accelerators import ACCELERATORS, find_accelerator
from eomm.training.cost import count_flops, peak_flops, training_flops
from eomm.training.stages import build_stage
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import fuse_config, pretrain_config, records

X = jax.ShapeDtypeStruct((5, 7), jnp.float32)


def stage_of(loss, params, frozen=None):
    return SimpleNamespace(
        init=lambda rng: {k: jnp.zeros(s) for k, s in params.items()}, loss=loss, frozen=frozen or {}
    )


def counted(loss, params, frozen=None):
    """(forward, backward) in multiply-adds."""
    flops = count_flops(stage_of(loss, params, frozen), X)
    return flops.forward / 2, flops.backward / 2


def test_the_first_layer_needs_one_product_backward_and_later_ones_two():
    def loss(params, frozen, x, rng):
        return jnp.sum(jax.nn.relu(x @ params["a"]) @ params["b"]), {}

    assert counted(loss, {"a": (7, 3), "b": (3, 2)}) == (5 * 7 * 3 + 5 * 3 * 2, 5 * 7 * 3 + 2 * 5 * 3 * 2)


def test_frozen_layers_cost_nothing_backward_before_what_is_trained_and_once_behind():
    def loss(params, frozen, x, rng):
        return jnp.sum(x @ frozen["before"] @ params["a"] @ frozen["behind"]), {}

    frozen = {"before": np.zeros((7, 7)), "behind": np.zeros((3, 2))}
    before, own, behind = 5 * 7 * 7, 5 * 7 * 3, 5 * 3 * 2
    assert counted(loss, {"a": (7, 3)}, frozen) == (before + own + behind, own + behind)


def test_loops_count_every_pass_and_rematerialisation_counts_nothing_twice():
    def layer(x, w):
        return jnp.tanh(x @ w), None

    def loss(params, frozen, x, rng):
        return jnp.sum(jax.lax.scan(jax.checkpoint(layer), x, params["w"])[0]), {}

    each = 5 * 7 * 7
    # within one body the first pass is not told apart: its carry is taken as trained, which it is in all others
    assert counted(loss, {"w": (4, 7, 7)}) == (4 * each, 2 * 4 * each)


def test_a_convolution_counts_its_kernel_at_every_output():
    def loss(params, frozen, x, rng):
        image = jnp.broadcast_to(x[None, ..., None], (2, 5, 7, 6))
        axes = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(
            image, params["k"], (1, 1), "VALID", dimension_numbers=axes, feature_group_count=2
        )
        return jnp.sum(out), {}

    assert counted(loss, {"k": (3, 3, 3, 8)})[0] == 2 * 3 * 5 * 8 * 3 * 3 * 3


def test_the_count_is_the_encoders_own_multiply_adds():
    # Without convolutions there is no halo, and every acquisition is a target that attends to all: `macs` of each.
    encoder = ContextEncoder(modality=SENTINEL2, width=32, heads=2, dim=24, dilations=())
    batch = random_batch(np.random.default_rng(0), batch=2, size=3, times={"s2": 6})["s2"]

    def loss(params, frozen, data, rng):
        features = encoder.features(params, data["values"], data["valid"], data)
        every = jnp.broadcast_to(jnp.arange(6, dtype=jnp.int32), (2, 6))
        return jnp.sum(encoder.embed(params, features, data["valid"], data["day"], every)), {}

    stage = SimpleNamespace(init=encoder.init, loss=loss, frozen={})
    assert count_flops(stage, batch).forward == 2 * encoder.macs(keys=6) * (2 * 6 * 3 * 3)


@pytest.mark.parametrize("name", ["s2", "fuse"])
def test_xla_counts_the_same_but_for_elementwise_operations(name, tmp_path):
    """Width 64 on small crops. XLA counts before it optimises; what it counts more is elementwise: 5 to 10 %."""
    batch = random_batch(np.random.default_rng(0))
    configs = {n: pretrain_config(n) for n in ("s2", "s1")}
    for config in configs.values():
        config.encoder.size = "base"
        config.decoder.width = 128
    if name == "fuse":
        stages = {n: build_stage(c, records(batch)) for n, c in configs.items()}
        zeros = {n: jax.eval_shape(s.init, jax.random.key(0)) for n, s in stages.items()}
        models = {n: s.model(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), zeros[n])) for n, s in stages.items()}
        config = fuse_config([str(save_model(m, tmp_path / n)) for n, m in models.items()])
        config.fusion.update(width=64, heads=4, dim=64)
    stage = build_stage(config if name == "fuse" else configs[name], records(batch))
    params = jax.eval_shape(stage.init, jax.random.key(0))
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    xla = step.lower(params, stage.frozen, batch, jax.random.key(1)).cost_analysis()["flops"]
    assert 1.0 < xla / training_flops(stage, batch) < 1.15


def test_peaks_are_known_by_device_kind_and_none_is_guessed():
    kinds = ["TPU v4", "TPU v5 lite", "TPU v5", "TPU v6 lite", "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"]
    peaks = [peak_flops(SimpleNamespace(device_kind=kind)) for kind in kinds]
    assert peaks == [275e12, 197e12, 459e12, 918e12, 989e12, 756e12]
    assert peak_flops(jax.devices("cpu")[0]) is None
    assert peak_flops(SimpleNamespace(device_kind="NVIDIA GeForce RTX 3060")) is None
    assert [find_accelerator(a.name) for a in ACCELERATORS] == list(ACCELERATORS)
    assert find_accelerator("NVIDIA A100-SXM4-40GB").memory == 40e9
