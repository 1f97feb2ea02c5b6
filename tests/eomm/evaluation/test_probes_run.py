"""The command `eomm evaluate probes`, and when its verdict counts."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from eomm.cli import main
from eomm.data.grid import to_date
from eomm.embedding.run import embed
from eomm.evaluation import say
from eomm.evaluation.features_model import randomised
from eomm.evaluation.probes import words as probes_words
from eomm.evaluation.probes.plan import ProbePlan
from eomm.evaluation.probes.run import seen_by
from eomm.evaluation.probes.scored import Gap
from eomm.evaluation.probes.tables import Outcome
from eomm.evaluation.probes.words import COLUMNS, judge
from eomm.models.directory import save_model
from tests.eomm.evaluation.fields import GRID, field_map, write_labels
from tests.eomm.site import DAYS, SIZE, make_cube, make_model

DATE = str(to_date(DAYS[10]))
KINDS = np.array([0, 1200, 9120], np.uint16)  # none, and two classes


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    values = field_map()
    bright = (values == 1)[..., None] * 600
    change = {d: (1200 + bright + 10 * np.arange(10) + np.zeros((SIZE, SIZE, 1))).astype(np.int16) for d in DAYS}
    cube = make_cube(folder / "c.zarr", clouds=0.1, grid=GRID, s1=False, change=change, simulated=True)
    model = make_model()
    save_model(model, folder / "model")
    embed(model, cube, folder / "e.zarr", dtype="float32")
    write_labels(folder / "labels.tif", KINDS[values + 1], nodata=0)
    return folder


def run(site, *more, capsys, status=0):
    base = ["--cube", site / "c.zarr", "--labels", site / "labels.tif"]
    base += ["--seeds", "1", "--shares", "100", "--folds", "2"]
    assert main([str(a) for a in ("evaluate", "probes", *base, "--buffer-px", "2", *more)]) == status
    return capsys.readouterr()


@pytest.mark.whole
def test_the_command_scores_a_model_beside_its_baselines_and_peers(site, capsys):
    np.save(site / "peer.npy", np.repeat(field_map()[..., None] == 1, 3, axis=2).astype(np.float32))
    (site / "peer.json").write_text(json.dumps({"crs": GRID.crs, "transform": list(GRID.transform)}))
    files = ["--out", site / "r/p.json", "--figures", site / "r/fig", "--leaderboard", site / "r/p.csv"]
    names = ["--classes", "1200=maize", "9120=grass", "--dataset", "made"]
    more = ["--model", site / "model", "--embedding", site / "e.zarr", "--features", f"peer={site / 'peer.npy'}"]
    printed = run(site, *more, *names, *files, "--date", DATE, "--probe", "linear", "--json", capsys=capsys)
    result = json.loads(printed.out)
    assert result == json.loads((site / "r/p.json").read_text())
    assert result["kind"] == "probes" and result["simulated"] is True and result["classes"] == ["maize", "grass"]
    (command,) = result["commands"]
    assert command.startswith(f"eomm evaluate probes --cube {site}") and "--classes 1200=maize" in command
    methods = ["model", "random", "bands", "window", "pca_bands", "pca_window", "indices", "peer"]
    assert list(result["methods"]) == methods
    best = {s["method"]: s for s in result["scores"] if s["metric"] == "balanced_accuracy" and s["share"] == 1}
    assert best["bands"]["value"] == best["peer"]["value"] == 1 and best["model"]["length"] == 8
    assert "simulated data" in result["conclusions"][0] and "36 fields" in result["conclusions"][0]
    assert any("unknown" in line for line in result["conclusions"])
    assert [t["columns"][0] for t in result["tables"]] == ["features", "features"]
    assert all(len(r) == len(t["columns"]) for t in result["tables"] for r in t["rows"])
    for figure in result["figures"]:
        assert (site / "r" / figure["png"]).stat().st_size > 10_000 and figure["caption"]
    rows = list(csv.DictReader((site / "r/p.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(methods) * 4
    assert {r["partition"] for r in rows} == {"1.00x_train"} and rows[0]["simulated"] == "True"
    again = run(site, *files, "--only", "bands", capsys=capsys, status=2)
    assert "already exists" in again.err


def test_modes_and_words_without_a_model(site, capsys):
    modes = ["--mode", "season", "--mode", "series"]
    text = run(site, *modes, "--only", "bands", "indices", "--probe", "linear", capsys=capsys).out
    assert text.startswith("SIMULATED. Probes, labels")
    assert "bands 1.00 (1.00 to 1.00)" in text and "the median of each" in text and "of all dates" in text
    assert "It is" not in text  # nothing was trained, so there is no verdict


@pytest.mark.parametrize(
    "more, message",
    [
        (["--only", "nothing"], "there are bands"),
        (["--labels", "x.tif"], "expected a file for each cube"),
        (["--classes", "5"], "has no label 5"),
        (["--shares", "few"], "expected per cent"),
        (["--features", "bands=zarr:x"], "is taken"),
        (["--date", "2018-01-01"], "no usable acquisition"),
    ],
)
def test_what_cannot_be_asked_is_named(site, capsys, more, message):
    assert message in run(site, *more, capsys=capsys, status=2).err


def test_an_embedding_of_another_model_is_refused(site, capsys):
    other = save_model(randomised(make_model(), 3), site / "other")
    more = ["--model", other, "--embedding", site / "e.zarr", "--only", "model"]
    assert "name the model that made it" in run(site, *more, capsys=capsys, status=2).err


def gap(against, interval, share=1.0):
    where = {"mode": "date", "probe": "linear", "share": share, "metric": "balanced_accuracy", "method": "model"}
    value = None if interval is None else sum(interval) / 2
    return Gap(**where, against=against, value=value, interval=interval)


@pytest.mark.parametrize(
    "random, pca, counts",
    [
        ((0.1, 0.3), (0.01, 0.2), True),
        ((0.1, 0.3), (-0.01, 0.2), False),
        ((-0.3, -0.1), (0.01, 0.2), False),
        (None, (0.01, 0.2), None),
    ],
)
def test_a_score_counts_only_when_random_and_pca_are_beaten(random, pca, counts):
    gaps = [gap("random", random), gap("pca_window", pca), gap("bands", (-0.2, 0.1))]
    outcome = Outcome([], gaps, {}, {}, {}, ("a", "b"), {})
    (verdict,) = judge(outcome, ProbePlan())
    assert verdict.holds is counts and list(verdict.differences) == ["the random encoder", "PCA of the raw window"]
    text = say.verdict(verdict)
    assert ("beats the random encoder, +0.20" in text) == (random == (0.1, 0.3)) and "score of model counts" in text
    (verdict,) = judge(Outcome([], gaps[:1], {}, {}, {}, ("a", "b"), {}), ProbePlan())
    assert verdict.holds is None and "not run: PCA of the raw window" in verdict.because


def test_records_say_what_pre_training_saw(site, monkeypatch):
    manifest = {"split": {"sites": {"train": ["a"], "test": ["b"]}}}

    sites = [SimpleNamespace(cube=SimpleNamespace(site=name)) for name in ("a", "b")]
    monkeypatch.setattr("eomm.evaluation.probes.run.open_records", lambda path: SimpleNamespace(manifest=manifest))
    assert seen_by(site, sites) == {"a": True, "b": False}
    assert seen_by(None, sites[:1]) == {"a": None}
    assert "has not seen b" in probes_words.seen_words({"a": True, "b": False})


def test_few_labels_are_compared_too():
    """Where an embedding is worst is said, not only where all labels are used."""
    score = SimpleNamespace(share=1.0)
    found = {"main": "model", "classes": ["a", "b"], "scores": [SimpleNamespace(share=0.01), score]}
    found["differences"] = [gap("bands", (-0.2, -0.1), share=0.01), gap("bands", (-0.1, 0.1))]
    all_labels, few = probes_words._beside(found, "date")
    assert "all labels: model cannot be told apart from raw bands" in all_labels
    assert "1% of the labels: model loses to raw bands, -0.15 (-0.20 to -0.10)" in few
    assert len(probes_words._beside(found | {"scores": [score]}, "date")) == 1


def test_an_embedding_without_its_model_is_scored_and_not_judged(site, capsys):
    printed = run(site, "--embedding", site / "e.zarr", "--only", "model", "bands", "--json", capsys=capsys)
    result = json.loads(printed.out)
    assert list(result["methods"]) == ["model", "bands"] and "8 numbers" in result["methods"]["model"]
    assert result["verdicts"][0]["holds"] is None and "the random encoder" in result["verdicts"][0]["because"][0]
    two = ["--embedding", site / "e.zarr", "--embedding", site / "e.zarr"]
    assert "2 embeddings for 1 cubes" in run(site, *two, capsys=capsys, status=2).err


def test_numbers_of_a_raster_have_no_fields_to_hold_out(site, tmp_path, capsys):
    slope = np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.float32) + 1
    write_labels(tmp_path / "slope.tif", slope)
    words = ["evaluate", "probes", "--cube", site / "c.zarr", "--labels", tmp_path / "slope.tif", "--regression"]
    words += ["--seeds", 1, "--shares", 100, "--folds", 2, "--buffer-px", 0, "--probe", "linear", "--only", "bands"]
    assert main([str(w) for w in words]) == 2
    assert "make no fields: hold out blocks" in capsys.readouterr().err
    assert main([str(w) for w in (*words, "--groups", "blocks", "--block-px", 6)]) == 0
