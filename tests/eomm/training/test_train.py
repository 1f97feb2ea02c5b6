import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from eomm.errors import DataError, EommError, UsageError
from eomm.training.checkpoint import Checkpoints
from eomm.training.judge import Best, make_validation
from eomm.training.loop import train
from eomm.training.mesh import make_mesh
from eomm.training.optimiser import Plateau
from eomm.training.rundir import git_revision
from eomm.training.sets import mixture_of
from tests.environment import with_devices
from tests.eomm.tiny import PLATEAU, make_config, make_records, make_stage

ROOT = Path(__file__).resolve().parents[3]
RATES = re.compile("per_second|seconds|peak_memory")


def start_tiny(*arguments, devices=1):
    """tiny.py in a process of its own, with simulated devices."""
    command = [sys.executable, "-m", "tests.eomm.tiny", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=with_devices(devices), **pipes)


def run_tiny(*arguments, devices=1):
    """As start_tiny, to its end."""
    with start_tiny(*arguments, devices=devices) as process:
        out, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not RATES.search(k)} for line in lines]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def run(workdir, records, *, validation="validation", stage=None, profile=None, **changes):
    """Train in this process; the parameters."""
    config = make_config(**changes)
    given = {"config": config, "records": records, "workdir": workdir, "validation": validation, "profile": profile}
    return train(stage or make_stage(), **given).params


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("train") / "records")


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    """An uninterrupted run of 50 steps: (parameters, workdir)."""
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir, records), workdir


def test_training_learns_and_its_directory_explains_itself(whole, records):
    params, workdir = whole
    assert set(params["layer"]) == {"kernel", "bias"} and isinstance(params["layer"]["bias"], np.ndarray)
    entries = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [e for e in entries if "loss" in e]
    assert [e["step"] for e in logged] == [*range(4, 51, 4), 50]
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
    assert {"gradient_norm", "parameter_norm", "update_norm", "learning_rate", "skipped_steps"} <= set(logged[0])
    assert {"targets", "seconds_waited_for_data", "peak_memory_gb", "teraflops_per_second"} <= set(logged[0])
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
    assert_same(run(workdir, records, validation=None), params)
    assert "complete" in capsys.readouterr().err
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.whole
def test_killed_and_resumed_equals_uninterrupted(whole, records, tmp_path, capsys):
    killed = run_tiny(records.path, tmp_path, "--die", 33, "SIGKILL")  # between two saves and two log entries
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 999, "loss": 0.0}\n{"step": 9')  # beyond the checkpoint, and half a line
    half = tmp_path / "checkpoints" / "40.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)  # what a save that was killed leaves
    params = run(tmp_path, records)
    assert re.search("resuming at step (20|30)", capsys.readouterr().err)
    assert_same(params, whole[0])
    # The killed process did not validate; what it logged is the same.
    logged, expected = metrics(tmp_path), metrics(whole[1])
    assert [e for e in logged if "loss" in e] == [e for e in expected if "loss" in e]
    assert [e for e in logged if e["step"] >= 40] == [e for e in expected if e["step"] >= 40]
    assert not half.exists()


@pytest.mark.whole
def test_killed_at_any_moment_also_within_a_save_it_resumes_exactly(whole, records, tmp_path):
    rng, checkpoints, within = np.random.default_rng(11), tmp_path / "checkpoints", 0
    reached = lambda: max((int(p.name) for p in checkpoints.glob("*[0-9]")), default=0)  # noqa: E731
    for attempt in range(3):
        with start_tiny(records.path, tmp_path, "--set", "save_every=1") as process:
            until = reached() + int(rng.integers(3, 10))
            while process.poll() is None and reached() < until:
                time.sleep(0.005)
            if attempt == 2:
                time.sleep(float(rng.uniform(0, 0.3)))
            while process.poll() is None and attempt < 2 and not list(checkpoints.glob("*-tmp*")):
                pass  # until a save is under way
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        within += bool(list(checkpoints.glob("*-tmp*")))
    assert within  # at least one save was cut
    assert 9 <= reached() < 50
    assert_same(run(tmp_path, records), whole[0])
    assert [e for e in metrics(tmp_path) if "loss" in e] == [e for e in metrics(whole[1]) if "loss" in e]


@pytest.mark.whole
def test_a_plateau_lowers_the_rate_and_resumes_exactly(records, tmp_path, capsys):
    whole = run(tmp_path / "whole", records, **PLATEAU)
    rate = {e["step"]: e["learning_rate"] for e in metrics(tmp_path / "whole") if "loss" in e}
    assert [rate[step] for step in (12, 20, 24, 32, 44, 50)] == pytest.approx(
        [0.05, 0.05, 0.025, 0.0125, 0.00625, 0.00625]
    )
    killed = run_tiny(records.path, tmp_path / "killed", "--die", 25, "SIGKILL", "--plateau")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same(run(tmp_path / "killed", records, **PLATEAU), whole)
    assert re.search("resuming at step (10|20)", capsys.readouterr().err)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")

    with pytest.raises(UsageError, match="validate_every: it has 10, asked for 9"):
        run(tmp_path / "whole", records, **PLATEAU | {"validate_every": 9})
    unknown = PLATEAU | {"optimiser.plateau": PLATEAU["optimiser.plateau"] | {"metric": "mae"}}
    with pytest.raises(UsageError, match=r"plateau\.metric is 'mae'; validation gives loss, squared_error, targets"):
        run(tmp_path / "unknown", records, **unknown)


@pytest.mark.whole
def test_a_run_ends_early_and_with_its_best_parameters_also_when_killed(records, tmp_path, capsys):
    # The rate rises until the loss does.
    rising = {"optimiser.learning_rate": 1.0, "optimiser.schedule": "constant", "optimiser.warmup_steps": 30}
    options = rising | {"validate_every": 4, "save_every": 3, "best": {"metric": "loss", "patience": 3}}
    whole = run(tmp_path / "whole", records, **options)
    logged = metrics(tmp_path / "whole")
    validated = {e["step"]: e["validation/loss"] for e in logged if "validation/loss" in e}
    best = min(validated, key=validated.get)
    assert 0 < best < max(validated) == best + 12 < 50  # patience: three validations of every fourth step
    said = capsys.readouterr().err
    assert f"ended at step {best + 12}" in said and f"those of step {best}, where loss was" in said
    assert (tmp_path / "whole" / "checkpoints" / str(best)).exists()

    config, mesh = make_config(**options), make_mesh({"data": 1}, jax.devices()[:1])
    validate = make_validation([make_stage()], config, mixture_of(config, records), "validation", mesh)
    rng = jax.random.split(jax.random.key(config.seed), 3)[2]
    assert validate(whole, make_stage().frozen, rng)["loss"] == pytest.approx(validated[best], rel=1e-6)

    choice = ("--validation", "validation", "--set", *(f"{k}={v!r}" for k, v in options.items()))
    killed = run_tiny(records.path, tmp_path / "killed", "--die", best + 9, "SIGKILL", *choice)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same(run(tmp_path / "killed", records, **options), whole)
    assert metrics(tmp_path / "killed") == logged
    capsys.readouterr()
    assert_same(run(tmp_path / "whole", records, **options), whole)
    assert f"complete ({best + 12} steps)" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"best\.patience: it has 3, asked for 4"):
        run(tmp_path / "whole", records, **options | {"best": {"metric": "loss", "patience": 4}})


def test_what_is_the_best_so_far():
    best, seen = Best(metric="mae", patience=2), []
    for step, value in enumerate((float("nan"), 3.0, 3.0, 2.0, float("nan"), 2.5), start=1):
        best = best.after(step, {"mae": value})
        seen.append((best.value, best.step, best.stale, best.ends))
    assert seen == [
        (None, None, 1, False),
        (3.0, 2, 0, False),
        (3.0, 2, 1, False),
        (2.0, 4, 0, False),
        (2.0, 4, 1, False),
        (2.0, 4, 2, True),
    ]
    with pytest.raises(UsageError, match=r"best\.metric is 'mae'; validation gives loss"):
        best.after(7, {"loss": 1.0})


def test_a_plateau_waits_for_its_patience_and_forgets_it_with_a_new_best():
    plateau = Plateau(metric="mae", factor=0.5, patience=1)
    state, seen = plateau.start(), []
    for value in (3.0, 4.0, 2.0, 2.0, 1.99999, float("nan"), 5.0):
        state = plateau.after(state, value)
        seen.append((float(state["best"]), int(state["stale"]), float(state["scale"])))
    assert seen == [
        (3.0, 0, 1.0),
        (3.0, 1, 1.0),
        (2.0, 0, 1.0),
        (2.0, 1, 1.0),
        (2.0, 2, 0.5),
        (2.0, 3, 0.5),
        (2.0, 4, 0.25),
    ]


@pytest.mark.whole
def test_sigterm_saves_and_exits(whole, records, tmp_path):
    stopped = run_tiny(records.path, tmp_path, "--die", 17, "SIGTERM")
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "stopped by signal 15 at step 18, which is saved" in stopped.stderr and "Traceback" not in stopped.stderr
    assert_same(run(tmp_path, records, validation=None), whole[0])
    assert [s["step"] for s in json.loads((tmp_path / "environment.json").read_text())] == [0, 18]


@pytest.mark.whole
def test_another_number_of_devices_restores_the_same_state_and_follows_it(whole, records, tmp_path):
    sizes = ("--set", "mesh.data=2", "mesh.fsdp=4")
    stopped = run_tiny(records.path, tmp_path, "--die", 25, "SIGTERM", *sizes, devices=8)
    assert "at step 26" in stopped.stderr, stopped.stderr
    params = run(tmp_path, records, validation=None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, whole[0])
    expected = [e for e in metrics(whole[1]) if "loss" in e]
    np.testing.assert_allclose([e["loss"] for e in metrics(tmp_path)], [e["loss"] for e in expected], atol=1e-5)


def test_another_run_in_the_same_directory_is_refused(whole, records, tmp_path):
    params, workdir = whole

    def again(stage=None, records=records, **changes):
        return run(workdir, records, validation=None, stage=stage, **changes)

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
    short = {"steps": 3, "log_every": 1, "save_every": 1, "optimiser.warmup_steps": 1}
    params = run(tmp_path / "run", records, validation=None, **short)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    logged = metrics(tmp_path / "run")
    skipped = [e["skipped_steps"] for e in logged]
    assert skipped[-1] == 1 and logged[skipped.index(1)].keys().isdisjoint({"loss", "gradient_norm"})


def test_a_run_that_gives_up_leaves_the_batch_its_records_and_its_terms(tmp_path):
    bad = make_records(tmp_path / "bad", poisoned=range(24))
    with pytest.raises(EommError, match=r"not finite 3 times in a row up to step 3 \(batch 2\).*bad_step_3 holds"):
        run(tmp_path / "run", bad, max_bad_steps=3)
    found = json.loads((tmp_path / "run" / "bad_step_3" / "bad_step.json").read_text())
    assert (found["step"], found["batch"]) == (3, 2)
    assert found["terms"]["squared_error"] == "nan" and found["terms"]["targets"] > 0
    arrays = np.load(tmp_path / "run" / "bad_step_3" / "batch-0.npz")
    assert arrays["s2/values"].shape == (8, 3, 4, 4, 10)
    # `row` numbers the records, and so do the days that they hold.
    assert [r["row"] for r in found["records"]] == arrays["s2/day"][:, 0].tolist()
    for entry in found["records"]:  # records alternate between two shards
        shard = int(entry["shard"].split("array_record-")[1][:5])
        assert (entry["site"], entry["row"]) == ("a", entry["record"] + 12 * shard)


@pytest.mark.parametrize("damage", ["record", "shard"])
def test_records_that_cannot_be_read_are_fatal_or_empty_and_counted(records, tmp_path, capsys, damage):
    damaged = make_records(tmp_path / "records")
    shard = damaged.files("train")[1]
    if damage == "record":
        content = bytearray(shard.read_bytes())
        content[1000:1010] = bytes(10)
        shard.write_bytes(content)
    else:
        shard.unlink()
    short = {"steps": 6, "log_every": 2}  # two epochs
    with pytest.raises(DataError, match=shard.name):
        run(tmp_path / "run", damaged, validation=None, **short)
    run(tmp_path / "run", damaged, validation=None, **short, **{"data.on_bad_record": "skip"})
    said = capsys.readouterr().err
    assert re.search(rf"skipped: .*{shard.name}: record \d+ cannot be read", said)
    counted = metrics(tmp_path / "run")[-1]["skipped_records"]
    assert counted >= 1 if damage == "record" else counted >= 24
    with pytest.raises(UsageError, match="on_bad_record is 'ignore'"):
        run(tmp_path / "run", damaged, **{"data.on_bad_record": "ignore"})


@pytest.mark.whole
def test_a_full_disk_stops_the_run_and_the_rest_of_it_follows(whole, records, tmp_path, monkeypatch):
    save = Checkpoints.save

    def fails_at_30(self, step, state, **given):
        if step == 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, step, state, **given)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", fails_at_30)
        with pytest.raises(UsageError, match="the disk is full"):
            run(tmp_path, records)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]
    assert_same(run(tmp_path, records), whole[0])
    assert metrics(tmp_path) == metrics(whole[1])


def test_a_profile_of_some_steps_is_written(records, tmp_path):
    run(tmp_path, records, validation=None, steps=6, profile="2:3")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    for wrong in ("3", "3:2", "0:2", "a:b"):
        with pytest.raises(UsageError, match="--profile"):
            run(tmp_path, records, profile=wrong)


def test_what_does_not_fit_is_refused_early(records, tmp_path):
    cases = {
        "config.optimiser.warmup_steps is 5": {"steps": 5},
        "config.optimiser.schedule is 'step'": {"optimiser.schedule": "step"},
        "config.optimiser.plateau is {}": {"optimiser.schedule": "plateau"},
        "schedule 'plateau' needs a validation split": PLATEAU,
        "best.metric 'loss' needs a validation split": {"best": {"metric": "loss"}},
        "expected a metric of validation": {"best": {"patience": 2}},
        "in each of 3 pieces": {"accumulate": 3},
        "batch_size 0 cannot be divided": {"data.batch_size": 0},
        "mesh .* does not fit": {"mesh.data": 3, "mesh.fsdp": 7},
    }
    for message, changes in cases.items():
        with pytest.raises(UsageError, match=message):
            run(tmp_path, records, validation=None, **changes)
    for bucket in ("gs://bucket/run", Path("s3://bucket/run")):
        with pytest.raises(UsageError, match=r"bucket/run: is no path of a file system, and a run appends .*gcsfuse"):
            run(bucket, records)
    with pytest.raises(UsageError, match="matches no parameter; they are layer/bias, layer/kernel"):
        run(tmp_path, records, validation=None, **{"optimiser.decay": "no_such_parameter"})


def test_the_revision_is_that_of_eomm():
    revision = git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}\+?", revision)
