"""What `evaluate gpp` and `evaluate probes` write of every row gives the scores that they report."""

import json

import numpy as np
import pandas as pd
import pytest

from eomm.cli import main
from eomm.data.tables import write_frame
from eomm.evaluation.gpp.plan import Final, GppPlan
from eomm.evaluation.gpp.run import run
from tests.eomm.evaluation.fields import GRID, field_map, write_labels
from tests.eomm.gpp_world import make_world
from tests.eomm.site import make_cube


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tower_days_with_what_every_method_said(tmp_path, ending):
    path, world = tmp_path / f"rows.{ending}", make_world(simulated=True)
    result, predictions = run(world, GppPlan(models=["ridge"], final=Final(sites=["S0"])))
    write_frame(predictions.frame(world), path)
    rows = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert len(rows) == len(world) and set(rows.tested[rows.site == "S0"]) == {"final"}
    folds = rows[rows.tested == "folds"]
    assert len(folds) == result["rows"] and set(result["methods"]) <= set(rows)
    error, score = folds["state, ridge"] - folds["measured"], result["methods"]["state, ridge"]["all"]["rmse"]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(score.value, rel=1e-4)


def test_a_single_tower_by_years_with_climatology_and_anomalies(tmp_path):
    world = make_world(sites=1, years=(2018, 2019, 2020), drought=2019, simulated=True)
    result, predictions = run(world, GppPlan(models=["ridge"], folds="year"))
    assert result["groups"] == 1 and "climatology of the site" in result["methods"]
    ours = result["methods"]["state, ridge"]["anomaly"]["r2"].value
    assert ours > 0.5 > result["methods"]["climatology of the site"]["anomaly"]["r2"].value
    assert len(predictions.frame(world)) == len(world)


def test_pixels_with_what_every_probe_said(tmp_path, capsys):
    make_cube(tmp_path / "c.zarr", grid=GRID, s1=False)
    write_labels(tmp_path / "labels.tif", np.array([0, 1, 2], np.uint16)[field_map() + 1], nodata=0)
    arguments = ["evaluate", "probes", "--cube", tmp_path / "c.zarr", "--labels", tmp_path / "labels.tif"]
    arguments += ["--seeds", 1, "--shares", 100, "--folds", 2, "--buffer-px", 2, "--probe", "linear", "--only", "bands"]
    arguments += ["--classes", "1=maize", "2=grass", "--predictions", tmp_path / "p.csv", "--json"]
    assert main([str(a) for a in arguments]) == 0
    result, rows = json.loads(capsys.readouterr().out), pd.read_csv(tmp_path / "p.csv")
    (score,) = [s for s in result["scores"] if s["metric"] == "accuracy"]
    assert np.mean(rows["bands"] == rows["label"]) == pytest.approx(score["value"], rel=1e-4)
    assert set(rows["label"]) == {"maize", "grass"} and rows.groupby("group")["fold"].nunique().max() == 1
    values = np.where(rows["label"] == "maize", 0, 1)
    np.testing.assert_array_equal(field_map()[rows["row"], rows["column"]], values)
