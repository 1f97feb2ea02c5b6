"""The shipped recipe (mixture, state beside the encoder, cuts, labels, start from a model) and band dropout, at scale.

As a module it is one process of such a training, or with `pmap` the check on eight devices; pytest starts it so.
"""

import argparse
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.environment import with_devices

ROOT = Path(__file__).resolve().parents[3]
MODULE = "tests.eomm.training.test_recipe_at_scale"
TIMES = 8  # acquisitions of a record


def recipe(kind, **changes):
    """The configuration of `base`, small; or of an encoder that may lose bands."""
    from eomm.data.modality import SENTINEL2
    from eomm.training.noise import assumed_noise
    from experiments import base

    config = base.get_config()
    config.update_from_flattened_dict(
        {
            "steps": 6,
            "save_every": 2,
            "log_every": 1,
            "calibrate_records": 0,
            "data.batch_size": 8,
            "data.threads": 1,
            "optimiser.warmup_steps": 1,
            "decoder.width": 16,
            "objective.targets": 3,
            "objective.queries": 3,
            "objective.labels": 0.5,
            "encoder.inner.size": "tiny",
            "encoder.inner.frames": (3, 3),
        }
    )
    if kind == "bands":
        config.encoder = {**config.encoder.inner.to_dict(), "start": 0, "dim": 16, "band_flags": True}
        config.decoder.leading, config.objective.hidden_bands = 0, 0.5
    else:
        config.encoder = assumed_noise(config.encoder.to_dict(), SENTINEL2)
    config.update_from_flattened_dict(changes)
    return config


def make_sets(folder):
    """Records of parcels, some with a crop, and of pixels without."""
    from data_prep.records.points import PointOptions, build_point_records
    from tests.eomm.data.test_points import make_series

    rng, crops = np.random.default_rng(1), ("maize", "rice", "")
    parcels = [make_series(rng, i, dates=12, split="train", label=crops[i % 3]) for i in range(18)]
    pixels = [make_series(rng, i, dates=12, split="train") for i in range(9)]
    options = PointOptions(accept=["band_order"], min_dates=1, acquisitions=TIMES)
    return [build_point_records(folder / n, s, options) for n, s in (("parcels", parcels), ("pixels", pixels))]


def start_model(kind, sets, path):
    """A model whose parameters trainings start from; its noise becomes theirs."""
    from eomm.models.directory import save_model
    from eomm.training.experiment import build_stages
    from eomm.training.sets import open_mixture
    from tests.parameters import drawn

    config = recipe(kind, **{"data.records": ",".join(map(str, sets))})
    stage = build_stages(config, open_mixture(config))[0]
    return save_model(stage.model(drawn(jax.eval_shape(stage.init, jax.random.key(0)), 1)), path)


def start(*arguments, devices=1):
    command = [sys.executable, "-m", MODULE, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=with_devices(devices), **pipes)


def finish(*processes):
    try:
        return [(p.communicate(timeout=400)[1], p.returncode) for p in processes]
    finally:
        for p in processes:
            p.kill()


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["state", "bands"])
def test_the_recipe_is_the_same_on_eight_devices_two_hosts_and_killed_and_resumed(kind, tmp_path):
    from eomm.models.directory import load_model

    sets = make_sets(tmp_path)
    given = (kind, ",".join(map(str, sets)), start_model(kind, sets, tmp_path / "start"))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    hosts = [("--host", f"{i}/2@localhost:{port}") for i in range(2)]
    runs = {
        "one": finish(start(*given, tmp_path / "one")),
        "eight": finish(start(*given, tmp_path / "eight", devices=8)),
        "two": finish(*(start(*given, tmp_path / "two", *h) for h in hosts)),
        "killed": finish(start(*given, tmp_path / "killed", "--die", 5)),
    }
    assert [code for _, code in runs.pop("killed")] == [-signal.SIGKILL]
    runs["killed"] = finish(start(*given, tmp_path / "killed"))
    assert {name: [code for _, code in found] for name, found in runs.items()} == {
        "one": [0], "eight": [0], "two": [0, 0], "killed": [0]
    }, runs  # fmt: skip
    assert "resuming at step" in runs["killed"][0][0]
    wanted = load_model(tmp_path / "one" / "model")
    assert wanted.info["init"]["hash"] == load_model(tmp_path / "start").hash
    for name, exact in {"eight": False, "two": False, "killed": True}.items():
        found = load_model(tmp_path / name / "model")
        assert not exact or found.hash == wanted.hash
        same = np.testing.assert_array_equal if exact else lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
        jax.tree.map(same, found.params, wanted.params)
    moved = [
        np.abs(a - b).max()
        for a, b in zip(
            jax.tree.leaves(wanted.params), jax.tree.leaves(load_model(tmp_path / "start").params), strict=True
        )
    ]
    assert np.median(moved) > 1e-3  # all of it was trained


@pytest.mark.whole
def test_a_state_beside_an_encoder_is_the_same_by_pmap(tmp_path):
    ((error, code),) = finish(start("pmap", "", tmp_path, tmp_path, devices=8))
    assert code == 0, error


def pmap_equality():
    """Where nothing is drawn: every acquisition is a target, is hidden, and is what is decoded."""
    from benchmarks.pmap import cut, make_pmap_step
    from eomm.training.mesh import batch_sharding, make_mesh, replicated, state_sharding, to_global
    from eomm.training.stages import build_stage
    from eomm.training.step import make_step
    from tests.eomm.helpers import random_batch
    from tests.eomm.training.test_stages import records

    assert jax.device_count() == 8
    quiet = {"targets": TIMES, "queries": 1, "hidden": 1.0, "hidden_neighbours": 0.0, "hidden_others": (0.0, 0.0)}
    quiet |= {"target_weight": 1.0, "cuts": 0.0, "labels": 0.0}
    config = recipe("state", **{f"objective.{k}": v for k, v in quiet.items()})
    batch = random_batch(np.random.default_rng(0), batch=8, size=1, times={"s2": TIMES})
    stage, key = build_stage(config, records(batch)), jax.random.key(1)
    step, init = make_step(stage, config, batch)
    mesh = make_mesh({"data": 8})
    place, whole = state_sharding(jax.eval_shape(init, key), mesh), replicated(mesh)
    spread = to_global(batch, batch_sharding(mesh), 8)
    state, report = jax.jit(step, out_shardings=(place, whole))(jax.device_put(init(key), place), key, {}, spread)
    pmapped, start_all = make_pmap_step(stage, config, batch)
    other, told = pmapped(start_all(key), key, {}, cut(batch))

    def same(a, b):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b)[0], atol=1e-5, rtol=1e-5)

    jax.tree.map(same, (state["params"], report["last"]), (other["params"], told["last"]))


def main():
    """One process: train what the first argument names, or check pmap."""
    parser = argparse.ArgumentParser()
    for name in ("kind", "records", "init", "workdir"):
        parser.add_argument(name)
    parser.add_argument("--host")
    parser.add_argument("--die", type=int)
    a = parser.parse_args()
    if a.kind == "pmap":
        pmap_equality()
        return
    from eomm.training.experiment import run_experiment
    from eomm.training.hosts import join
    from tests.eomm.tiny import die_at_batch

    if a.host:
        which, coordinator = a.host.split("@")
        join(coordinator, int(which.split("/")[1]), int(which.split("/")[0]))
    if a.die:
        die_at_batch(a.die, signal.SIGKILL)
    run_experiment(recipe(a.kind, **{"data.records": a.records, "init": a.init}), Path(a.workdir))


if __name__ == "__main__":
    main()
