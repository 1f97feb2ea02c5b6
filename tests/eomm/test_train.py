import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from eomm.errors import EommError, UsageError
from eomm.optimiser import Plateau
from eomm.rundir import git_revision
from eomm.train import train
from tests.eomm.tiny import PLATEAU, make_config, make_records, make_stage

ROOT = Path(__file__).resolve().parents[2]
RATES = re.compile("per_second|seconds")


def run_tiny(*arguments, devices=1):
    """tiny.py in a process of its own, with simulated devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "tests.eomm.tiny", *map(str, arguments)]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not RATES.search(k)} for line in lines]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("train") / "records")


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    """An uninterrupted run of 50 steps: (parameters, workdir)."""
    workdir = tmp_path_factory.mktemp("whole")
    stage = make_stage()
    return train(stage, config=make_config(), records=records, workdir=workdir, validation="validation"), workdir


def test_training_learns_and_its_directory_explains_itself(whole, records):
    params, workdir = whole
    assert set(params["layer"]) == {"kernel", "bias"} and isinstance(params["layer"]["bias"], np.ndarray)
    entries = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [e for e in entries if "loss" in e]
    assert [e["step"] for e in logged] == [*range(4, 51, 4), 50]
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
    assert {"gradient_norm", "learning_rate", "skipped_steps", "targets", "seconds_waited_for_data"} <= set(logged[0])
    assert logged[0]["records_per_second"] > 0 and logged[0]["targets_per_second"] > 0
    validated = [e for e in entries if "validation/loss" in e]
    assert [e["step"] for e in validated] == [20, 40, 50]
    assert validated[-1]["validation/loss"] < validated[0]["validation/loss"]
    environment = json.loads((workdir / "environment.json").read_text())
    assert environment[0]["packages"]["jax"] == jax.__version__
    assert environment[0]["records"]["hash"] == records.data_hash
    assert json.loads((workdir / "config.json").read_text())["optimiser.learning_rate"] == 0.05
    assert list((workdir / "tensorboard").iterdir())
    assert len(list((workdir / "checkpoints").iterdir())) == 2  # the latest two stay


def test_a_completed_run_says_so_and_returns_its_parameters(whole, records, capsys):
    params, workdir = whole
    before = (workdir / "metrics.jsonl").read_text()
    assert_same(train(make_stage(), config=make_config(), records=records, workdir=workdir), params)
    assert "complete" in capsys.readouterr().err
    assert (workdir / "metrics.jsonl").read_text() == before


def test_killed_and_resumed_equals_uninterrupted(whole, records, tmp_path, capsys):
    # Batch 30 is asked for while the save of step 30 is under way; 33 lies between two saves and two log entries.
    for batch in (30, 33):
        workdir = tmp_path / str(batch)
        killed = run_tiny(records.path, workdir, "--die", batch, "SIGKILL")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with (workdir / "metrics.jsonl").open("a") as f:
            f.write('{"step": 999, "loss": 0.0}\n{"step": 9')  # beyond the checkpoint, and half a line
        half = workdir / "checkpoints" / "40.orbax-checkpoint-tmp" / "state"
        half.mkdir(parents=True)  # what a save that was killed leaves
        params = train(make_stage(), config=make_config(), records=records, workdir=workdir, validation="validation")
        assert re.search("resuming at step (20|30)", capsys.readouterr().err)
        assert_same(params, whole[0])
        # The killed process did not validate; what it logged is the same.
        logged, expected = metrics(workdir), metrics(whole[1])
        assert [e for e in logged if "loss" in e] == [e for e in expected if "loss" in e]
        assert [e for e in logged if e["step"] >= 40] == [e for e in expected if e["step"] >= 40]
        assert not half.exists()


def test_a_plateau_lowers_the_rate_ends_the_run_and_resumes_exactly(records, tmp_path, capsys):
    def run(workdir, validate_every=10, **plateau):
        changes = {"optimiser.plateau": PLATEAU["optimiser.plateau"] | plateau, "validate_every": validate_every}
        config = make_config(**PLATEAU | changes)
        return train(make_stage(), config=config, records=records, workdir=workdir, validation="validation")

    whole = run(tmp_path / "whole")
    rate = {e["step"]: e["learning_rate"] for e in metrics(tmp_path / "whole") if "loss" in e}
    assert [rate[step] for step in (12, 20, 24, 32, 44, 50)] == pytest.approx(
        [0.05, 0.05, 0.025, 0.0125, 0.00625, 0.00625]
    )
    killed = run_tiny(records.path, tmp_path / "killed", "--die", 25, "SIGKILL", "--plateau")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same(run(tmp_path / "killed"), whole)
    assert re.search("resuming at step (10|20)", capsys.readouterr().err)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")

    ended = run(tmp_path / "ended", stop=2)
    assert "ended at step 30" in capsys.readouterr().err and metrics(tmp_path / "ended")[-1]["step"] == 30
    assert_same(run(tmp_path / "ended", stop=2), ended)
    assert "complete (30 steps)" in capsys.readouterr().err
    with pytest.raises(UsageError, match="validate_every: it has 10, asked for 9"):
        run(tmp_path / "ended", stop=2, validate_every=9)
    with pytest.raises(UsageError, match=r"plateau\.metric is 'mae'; validation gives loss, squared_error, targets"):
        run(tmp_path / "unknown", metric="mae")


def test_a_plateau_waits_for_its_patience_and_forgets_it_with_a_new_best():
    plateau = Plateau(metric="mae", factor=0.5, patience=1, stop=4)
    state, seen = plateau.start(), []
    for value in (3.0, 4.0, 2.0, 2.0, 1.99999, float("nan"), 5.0):
        state = plateau.after(state, value)
        seen.append((float(state["best"]), int(state["stale"]), float(state["scale"]), plateau.ends(state)))
    assert seen == [
        (3.0, 0, 1.0, False),
        (3.0, 1, 1.0, False),
        (2.0, 0, 1.0, False),
        (2.0, 1, 1.0, False),
        (2.0, 2, 0.5, False),
        (2.0, 3, 0.5, False),
        (2.0, 4, 0.25, True),
    ]


def test_sigterm_saves_and_exits(whole, records, tmp_path):
    stopped = run_tiny(records.path, tmp_path, "--die", 17, "SIGTERM")
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "stopped by signal 15 at step 18, which is saved" in stopped.stderr and "Traceback" not in stopped.stderr
    assert_same(train(make_stage(), config=make_config(), records=records, workdir=tmp_path), whole[0])
    assert [s["step"] for s in json.loads((tmp_path / "environment.json").read_text())] == [0, 18]


def test_another_number_of_devices_restores_the_same_state_and_follows_it(whole, records, tmp_path):
    sizes = ("--set", "mesh.data=2", "mesh.fsdp=4")
    stopped = run_tiny(records.path, tmp_path, "--die", 25, "SIGTERM", *sizes, devices=8)
    assert "at step 26" in stopped.stderr, stopped.stderr
    params = train(make_stage(), config=make_config(), records=records, workdir=tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, whole[0])
    expected = [e for e in metrics(whole[1]) if "loss" in e]
    np.testing.assert_allclose([e["loss"] for e in metrics(tmp_path)], [e["loss"] for e in expected], atol=1e-5)


def test_another_run_in_the_same_directory_is_refused(whole, records, tmp_path):
    params, workdir = whole

    def again(stage=None, records=records, **changes):
        return train(stage or make_stage(), config=make_config(**changes), records=records, workdir=workdir)

    with pytest.raises(UsageError, match=r"data\.batch_size: it has 8, asked for 4.*--workdir"):
        again(**{"data.batch_size": 4})
    with pytest.raises(UsageError, match=r"seed: it has 3, asked for 4; steps: it has 50, asked for 60"):
        again(seed=4, steps=60)
    with pytest.raises(UsageError, match="hash of the record set"):
        again(records=make_records(tmp_path / "other", seed=1))
    with pytest.raises(UsageError, match="hash of the frozen parameters"):
        again(stage=make_stage(target_scale=0.6))
    assert_same(again(log_every=7, **{"data.threads": 2}), params)  # what does not touch the numbers may change


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path):
    records = make_records(tmp_path / "records", poisoned=(5,))  # one batch of three in every epoch
    config = make_config(steps=3, log_every=1, save_every=1, **{"optimiser.warmup_steps": 1})
    params = train(make_stage(), config=config, records=records, workdir=tmp_path / "run")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    logged = metrics(tmp_path / "run")
    skipped = [e["skipped_steps"] for e in logged]
    assert skipped[-1] == 1 and logged[skipped.index(1)].keys().isdisjoint({"loss", "gradient_norm"})

    config = make_config(max_bad_steps=3)
    bad = make_records(tmp_path / "bad", poisoned=range(24))
    with pytest.raises(EommError, match=r"not finite 3 times in a row up to step 3 \(batch 2\)"):
        train(make_stage(), config=config, records=bad, workdir=tmp_path / "stopped")


def test_what_does_not_fit_is_refused_early(records, tmp_path):
    cases = {
        "config.optimiser.warmup_steps is 5": {"steps": 5},
        "config.optimiser.schedule is 'step'": {"optimiser.schedule": "step"},
        "config.optimiser.plateau is {}": {"optimiser.schedule": "plateau"},
        "needs a validation split": PLATEAU,
        "batch_size 0 cannot be divided": {"data.batch_size": 0},
        "mesh .* does not fit": {"mesh.data": 3, "mesh.fsdp": 7},
    }
    for message, changes in cases.items():
        with pytest.raises(UsageError, match=message):
            train(make_stage(), config=make_config(**changes), records=records, workdir=tmp_path)
    config = make_config()
    config.optimiser.decay = "no_such_parameter"
    with pytest.raises(UsageError, match="matches no parameter; they are layer/bias, layer/kernel"):
        train(make_stage(), config=config, records=records, workdir=tmp_path)


def test_the_revision_is_that_of_eomm():
    revision = git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}\+?", revision)
