import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.cli import main
from eomm.errors import UsageError
from eomm.training.accelerators import ACCELERATORS
from eomm.training.config import load_config
from eomm.training.cost import training_flops
from eomm.training.plan import (
    ASSUMED,
    PAPER,
    Machines,
    abstract_mesh,
    assumed_records,
    device_memory,
    format_plan,
    kept_bytes,
    plan_training,
)
from eomm.training.program import abstract_batch
from eomm.training.stages import build_stage
from eomm.training.step import make_step

SMALL = [f"{k}" for k in ("encoder.size=tiny", "decoder.width=16", "objective.queries=4")]


@pytest.fixture(scope="module")
def config():
    return load_config("experiments/s2.py", SMALL)


@pytest.fixture(scope="module")
def plan(config):
    return plan_training(config, Machines(devices=64, device="TPU v5p"), batch_per_device=16)


@pytest.mark.whole
def test_memory_is_within_a_quarter_of_what_xla_allocates(config):
    records = assumed_records(config)
    stage, batch = build_stage(config, records), abstract_batch(build_stage(config, records), records, 2)
    planned = device_memory(stage, config, records, abstract_mesh(config, 1))
    step, init = make_step(stage, config, batch)
    state, rng = jax.eval_shape(init, jax.random.key(0)), jax.random.key(1)
    found = jax.jit(step, donate_argnums=0).lower(state, rng, stage.frozen, batch).compile().memory_analysis()
    total = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes
    assert sum(planned.values()) == pytest.approx(total - found.alias_size_in_bytes, rel=0.25)


def test_what_is_kept_for_the_backward_pass_is_counted_before_fusion():
    def loss(params, frozen, x, rng):
        return jnp.sum(jnp.tanh(x @ params["a"])), {}

    stage = SimpleNamespace(loss=loss, frozen={})
    params = {"a": jax.ShapeDtypeStruct((7, 3), jnp.float32)}
    # x for the product's gradient, and the hyperbolic tangent's result
    kept = kept_bytes(stage, params, jax.ShapeDtypeStruct((5, 7), jnp.float32))
    assert 4 * (5 * 7 + 5 * 3) <= kept <= 4 * (5 * 7 + 2 * 5 * 3)


def test_the_arithmetic_of_a_plan(config, plan):
    device = next(a for a in ACCELERATORS if a.name == "TPU v5p")
    seconds, memory = plan["seconds"], plan["memory_per_device_bytes"]
    stage = build_stage(config, assumed_records(config))
    one = training_flops(stage, abstract_batch(stage, assumed_records(config), 1))
    assert plan["flops_per_step"] == pytest.approx(64 * 16 * one)
    assert seconds["products"] == pytest.approx(16 * one / (0.4 * device.peak))
    assert seconds["memory"] == pytest.approx(2 * memory["activations"] / device.bandwidth)
    size = plan["record_bytes"]
    assert size == 32 * 32 * 32 * (10 * 2 + 1) + 32 * (4 + 1 + 4 + 1 + 4)
    assert seconds["reading"] == pytest.approx(16 * size / 0.5e9)
    assert plan["bound_by"] == max(("products", "memory", "reading"), key=lambda k: seconds[k])
    assert seconds["step"] == pytest.approx(seconds[plan["bound_by"]] + seconds["gradients"])
    assert memory["optimiser"] == pytest.approx(2 * memory["parameters"], rel=0.01)
    assert memory["batches"] == 2 * 16 * size
    paper, larger = plan["data_sets"]
    assert paper["records"] == 500 * 5**2 * 3 == PAPER.records(ASSUMED["s2"])  # starts 0 16 32 48 58; 0 16 28
    assert larger["records"] == 1000 * paper["records"] and paper["bytes"] == paper["records"] * size
    assert paper["steps"] == -(-paper["records"] * 20 // 1024)
    assert paper["hours"] == pytest.approx(paper["records"] * 20 / 1024 * seconds["step"] / 3600)


def test_fsdp_splits_the_state_and_costs_a_whole_copy_while_it_computes(config, plan):
    split = load_config("experiments/s2.py", [*SMALL, "mesh.data=1", "mesh.fsdp=-1", "data.batch_size=256"])
    mesh = abstract_mesh(split, 16)
    assert dict(mesh.shape) == {"data": 1, "fsdp": 16}
    before = plan["memory_per_device_bytes"]
    after = device_memory(build_stage(split, assumed_records(split)), split, assumed_records(split), mesh)
    assert before["parameters"] / 16 <= after["parameters"] < before["parameters"] / 8  # some do not divide
    assert after["gathered_parameters"] == before["parameters"] and after["activations"] == before["activations"]


def test_rematerialisation_and_pieces_keep_less(config, plan):
    def kept(rows, **changes):
        changed = load_config("experiments/s2.py", [*SMALL, *(f"{k}={v}" for k, v in changes.items())])
        stage = build_stage(changed, assumed_records(changed))
        params = jax.eval_shape(stage.init, jax.random.key(0))
        return kept_bytes(stage, params, abstract_batch(stage, assumed_records(changed), rows))

    whole = plan["memory_per_device_bytes"]["activations"]
    assert kept(16, remat=True) < 0.8 * whole and kept(4) == pytest.approx(whole / 4, rel=0.05)
    config = load_config("experiments/s2.py", [*SMALL, "accumulate=4", "data.batch_size=16"])
    stage = build_stage(config, assumed_records(config))
    pieces = device_memory(stage, config, assumed_records(config), abstract_mesh(config, 1))
    assert pieces["activations"] == kept(4) and pieces["batches"] == plan["memory_per_device_bytes"]["batches"]


def test_what_does_not_fit_is_said(config, plan):
    assert plan["fits"] and "DOES NOT FIT" not in format_plan(plan)
    assert "DOES NOT FIT" in format_plan({**plan, "fits": False})
    for wrong, words in (
        ({"device": "TPU v9"}, "known are TPU v4"),
        ({"devices": 0}, "1 or more"),
        ({"utilisation": 40}, "above 0 to 1"),
        ({"devices": 64, "batch_per_device": None}, "batch_size 2 cannot be divided among 64"),
    ):
        with pytest.raises(UsageError, match=words):
            batch = wrong.pop("batch_per_device", 1)
            plan_training(config, Machines(**({"devices": 4, "device": "H100"} | wrong)), batch_per_device=batch)
    with pytest.raises(UsageError, match="nothing is assumed of records of weather"):
        plan_training(load_config("experiments/weather.py"), Machines(devices=1, device="H100"))


def test_the_command_prints_text_or_json(capsys):
    words = ["plan", "train", "--config", "experiments/s2.py", "--device", "H100-PCIe", "--batch-per-device", "4"]
    assert main([*words, *(f"--config.{s}" for s in SMALL), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"] == "1 x H100 PCIe" and np.isfinite(found["seconds"]["step"])
    text = format_plan(found)
    assert "memory per device" in text and "a thousand times larger" in text
    assert main([*words, "--batches", "4"]) == 2
    assert "unknown arguments: --batches 4" in capsys.readouterr().err


def test_the_given_configuration_stays_as_it_is(config, plan):
    assert config.data.batch_size == 2 and plan["batch_size"] == 1024
