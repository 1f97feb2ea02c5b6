"""Training on mixtures: killed and resumed, on two hosts and eight devices, a run is what it is on one."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from data_prep.records.points import PointOptions, build_point_records
from eomm.data.modality import SENTINEL2
from eomm.data.records import PatchShape
from eomm.errors import UsageError
from eomm.models.directory import load_model
from eomm.training.experiment import run_experiment
from eomm.training.loop import train
from eomm.training.sets import group_weights, mixture_of, record_paths
from experiments import common
from tests.eomm.data.test_points import make_series
from tests.eomm.tiny import make_config, make_records, make_stage
from tests.eomm.training.test_hosts import run_hosts
from tests.eomm.training.test_train import assert_same, metrics, run_tiny

SMALL = {"s2": PatchShape(modality=SENTINEL2, acquisitions=5, height=1, width=1)}
MIXED = {"data.weights": (2.0, 1.0), "data.batch_sizes": (8, 16), "steps": 30, "save_every": 10}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    series = {"shapes": SMALL, "manifest": {"shuffle": "permutation", "reading": "lone"}, "seed": 1}
    return make_records(folder / "crops"), make_records(folder / "series", train=20, validation=4, **series)


def run(workdir, sets, **changes):
    config = make_config(**MIXED | changes)
    given = {"config": config, "records": mixture_of(config, sets), "workdir": workdir}
    return train(make_stage(), validation="validation", **given).params


def arguments(sets):
    both = ",".join(str(s.path) for s in sets)
    return (both, "--validation", "validation", "--set", *(f"{k}={v!r}" for k, v in MIXED.items()))


@pytest.fixture(scope="module")
def whole(sets, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir, sets), workdir


def test_a_mixture_trains_and_its_directory_says_of_what(whole, sets):
    entries = metrics(whole[1])
    losses = [e["loss"] for e in entries if "loss" in e]
    assert losses[-1] < 0.5 * losses[0]
    last = entries[-1]
    own = [last[f"validation/{s.path.name}/loss"] for s in sets]
    assert last["validation/loss"] == pytest.approx((2 * own[0] + own[1]) / 3, rel=1e-5)
    (start,) = json.loads((whole[1] / "environment.json").read_text())
    assert [(r["hash"], r["weight"]) for r in start["records"]] == [(sets[0].data_hash, 2.0), (sets[1].data_hash, 1.0)]


@pytest.mark.whole
def test_killed_and_resumed_a_mixture_equals_uninterrupted(whole, sets, tmp_path):
    both, *rest = arguments(sets)
    killed = run_tiny(both, tmp_path, "--die", 23, "SIGKILL", *rest)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same(run(tmp_path, sets), whole[0])
    assert [e for e in metrics(tmp_path) if "loss" in e] == [e for e in metrics(whole[1]) if "loss" in e]


@pytest.mark.whole
def test_eight_devices_and_two_hosts_train_the_same_mixture(whole, sets, tmp_path):
    both, *rest = arguments(sets)
    for name, devices in {"eight": 8, "two": 1}.items():
        params = tmp_path / f"{name}.npz"
        given = (both, tmp_path / name, "--params", params, *rest)
        if name == "eight":
            done = run_tiny(*given, devices=devices)
            assert done.returncode == 0, done.stderr
        else:
            found = run_hosts(*given, devices=devices)
            assert [code for _, code in found] == [0, 0], found
        saved = np.load(params)
        layer = {k: saved[k] for k in ("kernel", "bias")}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), layer, whole[0]["layer"])
        for entry, wanted in zip(metrics(tmp_path / name), metrics(whole[1]), strict=True):
            assert entry == pytest.approx(wanted, abs=1e-5, rel=1e-5)


def test_another_mixture_is_another_run(whole, sets):
    with pytest.raises(UsageError, match=r"data\.weights: it has \[2\.0, 1\.0\], asked for \[1\.0, 1\.0\]"):
        run(whole[1], sets, **{"data.weights": (1.0, 1.0)})


def test_what_a_configuration_says_of_record_sets(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert record_paths(str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    assert record_paths("x, y") == ["x", "y"] == record_paths(("x", "y")) and record_paths("") == []
    assert group_weights(("korea nh=2", "b=0.5")) == {"korea nh": 2.0, "b": 0.5}
    with pytest.raises(UsageError, match="'nh'; expected GROUP=WEIGHT"):
        group_weights(("nh",))


@pytest.mark.whole
def test_an_encoder_of_single_pixels_learns_from_series_and_crops_together(tmp_path):
    rng = np.random.default_rng(0)
    points = [make_series(rng, i, dates=12, split="validation" if i % 5 == 0 else "train") for i in range(20)]
    given = {"accept": ["band_order"], "min_dates": 1}
    series = build_point_records(tmp_path / "series", points, PointOptions(**given))
    squares = [make_series(rng, i, dates=14, square=(4, 4)) for i in range(6)]
    fields = build_point_records(tmp_path / "fields", squares, PointOptions(reading="homogeneous", **given))
    config = common.pretrain("s2")
    config.update_from_flattened_dict(
        {
            "steps": 4,
            "optimiser.warmup_steps": 0,
            "validate_every": 4,
            "log_every": 2,
            "calibrate_records": 4,
            "data.records": f"{series},{fields}",
            "data.batch_size": 8,
            "data.batch_sizes": (8, 2),
            "data.balance": "site,",
            "data.group_weights": ("farm 1=2",),
            "data.validation": "validation",
            "objective.targets": 2,
            "objective.queries": 3,
            "objective.reach_px": 0,
            "encoder.size": "tiny",
            "mesh.data": 1,
        }
    )
    config.encoder.dilations = ()
    model = load_model(run_experiment(config, tmp_path / "run"))
    assert model.encoders["s2"].halo == 0
    assert [s["name"] for s in model.info["sets"]] == ["series", "fields"]
    assert model.info["calibration"]["count"] == 4
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(last["validation/series/loss"]) and "validation/fields/loss" not in last
    config.steps = 1
    config.encoder.dilations = (1,)  # sees neighbours: each set is read as it says
    assert load_model(run_experiment(config, tmp_path / "wide")).encoders["s2"].halo == 1


@pytest.mark.whole
def test_labels_of_some_sets_are_learned_and_a_run_resumes(tmp_path):
    rng = np.random.default_rng(1)
    crops = ("maize", "rice", "")
    labelled = [make_series(rng, i, dates=12, split="train", label=crops[i % 3]) for i in range(12)]
    plain = [make_series(rng, i, dates=12, split="train") for i in range(6)]
    given = {"accept": ["band_order"], "min_dates": 1}
    sets = [
        build_point_records(tmp_path / n, s, PointOptions(**given)) for n, s in (("korea", labelled), ("swiss", plain))
    ]
    config = common.pretrain("s2")
    config.update_from_flattened_dict(
        {
            "steps": 6,
            "save_every": 3,
            "optimiser.warmup_steps": 0,
            "log_every": 1,
            "calibrate_records": 0,
            "data.records": ",".join(str(s) for s in sets),
            "data.batch_size": 6,
            "objective.targets": 2,
            "objective.queries": 2,
            "objective.reach_px": 0,
            "objective.labels": 0.5,
            "objective.series": 6,
            "encoder.size": "tiny",
            "mesh.data": 1,
        }
    )
    config.encoder.dilations = ()
    whole = load_model(run_experiment(config, tmp_path / "whole"))
    told = ["labels" in e for e in metrics(tmp_path / "whole") if "loss" in e]
    assert any(told) and not all(told)  # batches of the set without labels weigh nothing
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "model")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "6")
    resumed = load_model(run_experiment(config, tmp_path / "killed"))
    assert_same(resumed.params, whole.params)
    config.objective.labels = 0.0
    assert load_model(run_experiment(config, tmp_path / "without")).hash != whole.hash
