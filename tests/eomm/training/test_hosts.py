"""Real processes on this machine, as hosts of one run."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.training.hosts import join, launched_together
from tests.environment import with_devices
from tests.eomm.tiny import make_records
from tests.eomm.training.test_train import ROOT, assert_same, metrics, run


def run_hosts(*arguments, count=2, devices=1, each=((), ())):
    """tiny.py as `count` processes with `devices` each; `each` adds arguments of one of them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.eomm.tiny", *map(str, arguments)]
    running = [
        subprocess.Popen(
            [*command, *map(str, each[i]), "--host", f"{i}/{count}@localhost:{port}"],
            cwd=ROOT, env=with_devices(devices), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(count)
    ]  # fmt: skip
    try:
        return [(p.communicate(timeout=400)[1], p.returncode) for p in running]
    finally:
        for p in running:
            p.kill()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("hosts") / "records")


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    """The run on one process and one device: (parameters, workdir)."""
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir, records), workdir


@pytest.mark.whole
def test_two_hosts_train_stop_together_and_resume_on_two_and_on_one(records, whole, tmp_path):
    share = ("--validation", "validation", "--set", "mesh.data=2", "mesh.fsdp=2")  # the state is spread over both
    workdir = tmp_path / "two"
    # SIGTERM reaches one host only, as in a pre-emption; both end after the same step, which is saved.
    stopped = run_hosts(records.path, workdir, *share, devices=2, each=((), ("--die", 11, "SIGTERM")))
    assert [code for _, code in stopped] == [128 + signal.SIGTERM] * 2, stopped
    assert "which is saved; run again to resume" in stopped[0][0] and "saved" not in stopped[1][0]
    assert "step/s" in stopped[0][0] and "step/s" not in stopped[1][0]  # the progress bar
    (start,) = json.loads((workdir / "environment.json").read_text())
    assert start["devices"] == {"kind": "cpu", "count": 4, "hosts": 2}
    step = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
    assert 12 <= step < 50
    shutil.copytree(workdir, tmp_path / "one")

    done = run_hosts(records.path, workdir, *share, "--params", tmp_path / "params.npz", devices=2)
    assert [code for _, code in done] == [0, 0], done
    assert f"resuming at step {step} of 50" in done[0][0]
    restored, followed = run(workdir, records), run(tmp_path / "one", records)  # on one process and one device
    saved = np.load(tmp_path / "params.npz")
    assert_same(restored, {"layer": {name: saved[name] for name in ("kernel", "bias")}})
    for found, params in ((workdir, restored), (tmp_path / "one", followed)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, whole[0])
        for entry, wanted in zip(metrics(found), metrics(whole[1]), strict=True):
            assert entry == pytest.approx(wanted, abs=1e-5, rel=1e-5)


@pytest.mark.whole
def test_hosts_that_do_not_run_the_same_are_refused(records, tmp_path):
    refused = run_hosts(records.path, tmp_path, each=((), ("--set", "seed=4")))
    for error, code in refused:
        assert code and "processes [1] run another configuration" in error


@pytest.mark.whole
def test_an_error_in_one_process_ends_all_of_them(records, tmp_path):
    began = time.monotonic()
    (_, first), (error, second) = run_hosts(records.path, tmp_path, each=((), ("--set", "data.on_bad_record='ignore'")))
    assert first != 0 and second == 2
    assert "eomm: process 1: UsageError: config.data.on_bad_record is 'ignore'" in error
    assert time.monotonic() - began < 250  # Python alone would wait for 300 s, and then for the other


def test_how_processes_find_each_other():
    for wrong in (("node:1", 2, None), ("node:1", 2, 2), ("node", 2, 1), (None, None, 0)):
        with pytest.raises(UsageError, match="--coordinator"):
            join(*wrong)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    assert launched_together(slurm | {"SLURM_STEP_NUM_TASKS": "2"})
    assert not launched_together(slurm | {"SLURM_NTASKS": "2"})  # a batch script, which starts nothing by itself
    assert not launched_together(slurm | {"SLURM_STEP_NUM_TASKS": "1"})
    join()  # one process: nothing happens
    assert not jax.distributed.is_initialized()
