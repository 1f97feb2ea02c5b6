"""The objective with everything on, on eight simulated devices; as a module it checks, and pytest starts it so."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.environment import with_devices

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.whole
def test_every_term_of_the_objective_is_the_same_on_a_mesh_and_on_one_device():
    command = [sys.executable, "-W", "error", "-m", "tests.eomm.training.test_hiding_mesh"]
    done = subprocess.run(command, cwd=ROOT, env=with_devices(8), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same"]


def equality():
    from eomm.training.mesh import batch_sharding, make_mesh, to_global
    from eomm.training.stages import build_stage
    from tests.eomm.helpers import random_batch
    from tests.eomm.training.test_hiding import NEW
    from tests.eomm.training.test_stages import pretrain_config, records, start

    assert jax.device_count() == 8
    batch = random_batch(np.random.default_rng(0), batch=8, size=16, times={"s2": 6})
    more = {"hidden_bands": 0.5, "agreement": 0.3, "decorrelation": 1.0, "hidings": 1}
    config = pretrain_config("s2", **{**NEW, **more})
    config.encoder.band_flags = True
    stage = build_stage(config, records(batch))
    params = start(stage)
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    alone = jax.device_get(step(params, {"progress": 0.5}, batch, jax.random.key(1)))
    spread = to_global(batch, batch_sharding(make_mesh({"data": 8})), 8)
    found = jax.device_get(step(params, {"progress": 0.5}, spread, jax.random.key(1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=2e-5), found, alone)
    print("same")


if __name__ == "__main__":
    equality()
