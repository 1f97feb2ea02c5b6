"""Run as a module with 8 simulated devices, this file checks the equalities; pytest starts it that way."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from benchmarks.pmap import cut, make_pmap_step
from eomm.errors import UsageError
from eomm.training.mesh import RULES, batch_sharding, check_batch_size, make_mesh, replicated, state_sharding, to_global
from eomm.training.step import accumulated, make_step
from tests.environment import with_devices
from tests.eomm.tiny import make_batch, make_config, make_stage

ROOT = Path(__file__).resolve().parents[3]


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
    command = [sys.executable, "-W", "error", "-m", "tests.eomm.training.test_mesh"]
    done = subprocess.run(command, cwd=ROOT, env=with_devices(8), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8x1", "4x2", "1x8", "pmap"]


def equalities():
    assert jax.device_count() == 8
    batch, key = make_batch(np.random.default_rng(0)), jax.random.key(1)
    config, quiet, drawing = make_config(), make_stage(noise=0.0), make_stage()

    def same(found, expected):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), b, atol=1e-5, rtol=1e-5), found, expected)

    def gradient_of(stage, config, params, frozen, batch):
        differentiate = accumulated(stage, config.get("accumulate", 1), 16)
        (loss, _), gradient = jax.jit(differentiate)(params, frozen, batch, jax.random.fold_in(key, 0))
        return loss, gradient

    def on_one_device(stage, config):
        step, init = make_step(stage, config, batch)
        first = gradient_of(stage, config, init(key)["params"], stage.frozen, batch)
        state, report = jax.jit(step)(init(key), key, stage.frozen, batch)
        return jax.tree.map(np.asarray, (*first, state["params"], report["last"]))

    def on_mesh(stage, config, mesh):
        whole = replicated(mesh)
        spread = to_global(batch, batch_sharding(mesh), 16)
        assert spread["s2"]["values"].addressable_shards[0].data.shape[0] == 2
        step, init = make_step(stage, config, batch)
        place = state_sharding(jax.eval_shape(init, key), mesh)
        kernel = place["params"]["layer"]["kernel"].spec  # 10 x 10
        assert kernel == (P(None, "fsdp") if mesh.shape["fsdp"] == 2 else P())
        state, frozen = jax.device_put(init(key), place), jax.device_put(stage.frozen, whole)
        first = gradient_of(stage, config, state["params"], frozen, spread)
        state, report = jax.jit(step, out_shardings=(place, whole))(state, key, frozen, spread)
        return *first, state["params"], report["last"]

    expected = on_one_device(drawing, config)
    for sizes in ({"data": 8}, {"data": 4, "fsdp": 2}, {"data": 1, "fsdp": -1}):
        mesh = make_mesh(sizes)
        check_batch_size(16, mesh, 2)
        for size, parts in ((12, 1), (8, 2)):
            with pytest.raises(UsageError, match="divided among 8 devices"):
                check_batch_size(size, mesh, parts)
        same(on_mesh(drawing, config, mesh), expected)
        if mesh.shape["fsdp"] == 2:
            in_pieces = make_config(accumulate=2)
            same(on_mesh(drawing, in_pieces, mesh), on_one_device(drawing, in_pieces))
        print("x".join(map(str, mesh.devices.shape)))

    # Each device of a pmap draws its own: the same only where nothing is drawn.
    step, init = make_pmap_step(quiet, config, batch)
    state, report = step(init(key), key, quiet.frozen, cut(batch))
    found = jax.tree.map(lambda x: x[0], (state["params"], report["last"]))
    same(found, on_one_device(quiet, config)[2:])
    print("pmap")


if __name__ == "__main__":
    equalities()
