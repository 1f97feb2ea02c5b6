import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eomm.errors import DataError, UsageError
from eomm.training.checkpoint import Checkpoints, abstract_like
from eomm.training.mesh import make_mesh, state_sharding

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def state():
    params = {"kernel": jax.random.normal(jax.random.key(0), (1000, 1000)), "count": jnp.int32(3)}
    return {"params": params, "opt_state": optax.adam(1e-3).init(params), "rng": jax.random.key(1)}


def abstract(state):
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    return abstract_like(state, state_sharding(state, mesh))


def assert_same(a, b):
    def same(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)

    jax.tree.map(same, a, b)


def test_a_state_comes_back_exactly_and_may_be_donated_while_it_is_saved(state, tmp_path):
    original = jax.tree.map(jnp.copy, state)
    metadata = {"run": {"config": {"rate": 1e-3, "sizes": [1, 2], "name": None}}, "data": {"next_index": 7}}
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 if x.dtype == jnp.float32 else x, s), donate_argnums=0)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(7, state, metadata=metadata)
        state = jax.block_until_ready(overwrite(state))  # the same memory, while the save goes on
        checkpoints.wait()
        assert checkpoints.latest() == (7, metadata)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest() == (7, metadata)
        assert_same(checkpoints.restore(7, abstract(original)), original)


def test_the_latest_stay_and_a_step_may_be_saved_again(state, tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(step, state, metadata={"data": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]


def test_what_an_interrupted_save_left_is_no_checkpoint(state, tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, state, metadata={"a": 1})
    (tmp_path / "2.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (tmp_path / "3").mkdir()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest() == (1, {"a": 1})
        assert not (tmp_path / "2.orbax-checkpoint-tmp").exists()
        checkpoints.save(3, state, metadata={"a": 3})
        checkpoints.wait()
        assert checkpoints.latest() == (3, {"a": 3})


@pytest.mark.whole
def test_a_damaged_checkpoint_is_named(tmp_path):
    # In a process of its own: a restore that fails leaves coroutines of Orbax's which complain in a later test.
    done = run_here("damage_a_checkpoint", tmp_path)
    assert done.returncode == 0, done.stderr


def damage_a_checkpoint(directory):
    state = {"kernel": jax.random.normal(jax.random.key(0), (1000, 1000))}
    with Checkpoints(directory, keep=2) as checkpoints:
        checkpoints.save(1, state, metadata={"a": 1})
    for file in directory.glob("1/state/**/d/*"):
        file.write_bytes(file.read_bytes()[:-5])
    with Checkpoints(directory, keep=2) as checkpoints, pytest.raises(DataError, match=r"/1: cannot be restored"):
        checkpoints.restore(1, abstract(state))


def run_here(function, directory, before=()):
    command = [*before, sys.executable, "-m", "tests.eomm.training.test_checkpoint", function, str(directory)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


SMALL_DISK = 'mount -t tmpfs -o size=3m tmpfs "$1" && shift && exec "$@"'  # gone with the process's namespace


def test_a_full_disk_is_named_and_the_last_good_checkpoint_stays(tmp_path):
    in_namespace = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, "true"], capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here (needs user namespaces)")
    done = run_here("fill_the_disk", tmp_path / "run", before=in_namespace)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "RESOURCE_EXHAUSTED" not in done.stderr  # Orbax has seven threads


def fill_the_disk(directory):
    small, large = ({"kernel": jax.random.normal(jax.random.key(0), (n,))} for n in (100, 2_000_000))
    with pytest.raises(UsageError, match="run: the disk is full"), Checkpoints(directory, keep=2) as checkpoints:
        checkpoints.save(1, small, metadata={"a": 1})
        checkpoints.save(2, large, metadata={"a": 2})
        checkpoints.wait()
    with Checkpoints(directory, keep=2) as checkpoints:
        assert checkpoints.latest() == (1, {"a": 1})
        assert_same(checkpoints.restore(1, abstract(small)), small)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
