"""Run as a module with 8 simulated devices, this file checks the equalities; pytest starts it that way."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from eomm.errors import UsageError
from eomm.mesh import RULES, batch_sharding, check_batch_size, make_mesh, replicated, state_sharding, to_global
from tests.eomm.tiny import SHAPES, make_patch, make_stage

ROOT = Path(__file__).resolve().parents[2]


def specs(tree, rules, **sizes):
    mesh = AbstractMesh((sizes.get("data", 1), sizes.get("fsdp", 1)), ("data", "fsdp"), (AxisType.Auto,) * 2)
    return jax.tree.map(lambda s: s.spec, state_sharding(tree, mesh, rules))


def test_the_largest_divisible_axis_is_split_and_the_first_rule_that_matches_decides():
    tree = {
        "enc": {"kernel": jnp.zeros((12, 64)), "square": jnp.zeros((8, 8)), "bias": jnp.zeros(6), "step": jnp.zeros(())}
    }
    assert specs(tree, RULES, fsdp=4)["enc"] == {
        "kernel": P(None, "fsdp"),
        "square": P(None, "fsdp"),
        "bias": P(),
        "step": P(),
    }
    assert specs(tree, RULES, data=4)["enc"]["kernel"] == P()
    rules = (("enc/k", ("fsdp", None)), ("enc/square$", "replicate"), ("enc/(k|s)", "fsdp"))
    found = specs(tree, rules, fsdp=4)["enc"]
    assert (found["kernel"], found["square"], found["bias"]) == (P("fsdp", None), P(), P())
    with pytest.raises(UsageError, match="does not fit 'enc/bias'"):
        specs(tree, (("bias", ("fsdp", "data")),), fsdp=2)


def test_a_mesh_uses_every_device_or_is_refused():
    devices = jax.devices()[:1]
    assert make_mesh({"data": -1}, devices).shape == {"data": 1, "fsdp": 1}
    for sizes in ({"data": 2}, {"data": -1, "fsdp": -1}, {"model": 1}, {"data": 0}, {"data": -2}):
        with pytest.raises(UsageError, match="mesh"):
            make_mesh(sizes, devices)
    with pytest.raises(UsageError, match="batch_size 0"):
        check_batch_size(0, make_mesh({"data": 1}, devices))


def test_jit_on_a_mesh_equals_pmap_and_one_device():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-m", "tests.eomm.test_mesh"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8x1", "4x2", "1x8", "pmap"]


def equalities():
    assert jax.device_count() == 8
    rng, stage = np.random.default_rng(0), make_stage()
    patches = [make_patch(rng, i)["s2"] for i in range(16)]
    batch = {"s2": {f: np.stack([p[f] for p in patches]) for f in SHAPES["s2"].fields()}}
    batch["s2"]["valid"][:] = 1  # pmap's mean of means is the mean only where every device counts the same
    params, key = stage.init(jax.random.key(0)), jax.random.key(1)

    def loss(params, frozen, batch):
        return stage.loss(params, frozen, batch, key)[0]

    def same(found):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), b, atol=1e-5, rtol=0), found, expected)

    expected = jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss))(params, stage.frozen, batch))
    for sizes in ({"data": 8}, {"data": 4, "fsdp": 2}, {"data": 1, "fsdp": -1}):
        mesh = make_mesh(sizes)
        check_batch_size(16, mesh)
        with pytest.raises(UsageError, match="divided among 8 devices"):
            check_batch_size(12, mesh)
        place = state_sharding(params, mesh)
        spread = to_global(batch, batch_sharding(mesh), 16)
        assert spread["s2"]["values"].addressable_shards[0].data.shape[0] == 2
        step = jax.jit(jax.value_and_grad(loss), out_shardings=(replicated(mesh), place))
        assert place["layer"]["kernel"].spec == (P(None, "fsdp") if mesh.shape["fsdp"] == 2 else P())  # 10 x 10
        same(step(jax.device_put(params, place), jax.device_put(stage.frozen, replicated(mesh)), spread))
        print("x".join(map(str, mesh.devices.shape)))

    # Noise is drawn per row of a batch: each device must draw its own rows of the same draw, as jit does by itself.
    rows = jax.random.uniform(key, (16, 1, 1, 1, 1)).reshape(8, 2, 1, 1, 1, 1)

    def local(params, batch, noise):
        x = batch["s2"]["values"].astype(jnp.float32) / 1000
        layer = params["layer"]
        predicted = (x + 0.01 * noise) @ layer["kernel"] + layer["bias"]
        return jnp.mean((predicted - stage.frozen["scale"] * x[..., ::-1]) ** 2)

    def step(params, batch, noise):
        return jax.lax.pmean(jax.value_and_grad(local)(params, batch, noise), "devices")

    split = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), batch)
    found = jax.pmap(step, axis_name="devices", in_axes=(None, 0, 0))(params, split, rows)
    same(jax.tree.map(lambda x: x[0], found))
    print("pmap")


if __name__ == "__main__":
    equalities()
