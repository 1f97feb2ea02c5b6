"""`eomm evaluate gpp` from files to the page's JSON: extraction, joining, refusals, figures."""

import json

import numpy as np
import pandas as pd
import pytest
import rasterio

from eomm.cli import main
from eomm.data.grid import Grid
from eomm.embedding.store import open_embedding
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.features import Features
from eomm.evaluation.gpp.features import Inputs, average, sites_table, weights
from eomm.evaluation.gpp.flux_files import read_flux
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.run import run
from eomm.evaluation.result_file import write_result
from eomm.models.directory import save_model
from tests.eomm.gpp_world import make_world
from tests.eomm.site import DAYS, make_cube, make_model

GRID = Grid(crs="EPSG:32631", transform=(10, 0, 500000, 0, -10, 5600000), height=24, width=24)
TOWER = Tower(site="A", x=500125, y=5599875, crs="EPSG:32631", kind="GRA")


def test_weights_of_a_pixel_a_window_and_a_footprint(tmp_path):
    rows, cols, weight = weights(GRID, TOWER, "pixel")
    assert (rows, cols) == (slice(12, 13), slice(12, 13)) and weight.shape == (1, 1)
    rows, cols, weight = weights(GRID, TOWER, "window:5")
    assert (rows, cols) == (slice(10, 15), slice(10, 15)) and (weight == 1).all()
    edge = Tower(site="A", x=500005, y=5599995, crs="EPSG:32631")
    assert weights(GRID, edge, "window:5")[:2] == (slice(0, 3), slice(0, 3))
    rows, cols, weight = weights(GRID, TOWER, "footprint:30")
    assert weight.shape == (24, 24) and np.allclose(weight, weight.T)
    along = weight[12, 12:] * np.maximum(np.arange(12) * 10, 5) * 2 * np.pi  # all directions together
    assert np.argmax(along) == 3  # the peak lies 30 m away
    for wrong in ("window:4", "window", "footprint:0", "circle:3"):
        with pytest.raises(UsageError, match=f"--extract {wrong}"):
            weights(GRID, TOWER, wrong)
    path = tmp_path / "w.tif"
    profile = {"driver": "GTiff", "height": 24, "width": 24, "count": 1, "dtype": "float32", "crs": GRID.crs}
    for transform, error in ((GRID.transform, None), ((10, 0, 500005, 0, -10, 5600000), "another grid")):
        with rasterio.open(path, "w", **profile, transform=rasterio.Affine(*transform)) as file:
            file.write(np.ones((1, 24, 24), np.float32))
        if error:
            with pytest.raises(ContractError, match=error):
                weights(GRID, TOWER, str(path))
        else:
            assert weights(GRID, TOWER, str(path))[2].sum() == 576


def test_a_towers_pixel_is_found_from_any_crs_and_none_without_a_position():
    lat, lon = TOWER.degrees
    assert Tower(site="A", x=lon, y=lat).pixel(GRID) == TOWER.pixel(GRID) == (12, 12)
    lost = Tower(site="A", x=500125, y=5599875, crs="LOCAL")
    assert np.isnan(lost.degrees).all()
    with pytest.raises(DataError, match="lies outside the grid"):
        lost.pixel(GRID)
    with pytest.raises(DataError, match="latitude and longitude exchanged"):
        Tower(site="A", x=lat, y=lon).pixel(GRID)


def test_averages_skip_clouds_and_join_passes_of_a_day():
    values = np.arange(4 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 1)
    valid = np.ones((4, 3, 3), bool)
    valid[1] = False
    valid[2, 0] = False
    values[2, 0] = 1e6  # must not count
    found = average(Features(values, valid, np.array([10, 11, 12, 12], np.int32)), np.ones((3, 3)))
    assert found.day.tolist() == [10, 12]
    assert found.f0.tolist() == pytest.approx([4.0, (np.mean(range(21, 27)) + np.mean(range(27, 36))) / 2])


def write_towers(folder, sites=("A", "B", "C"), simulated=True):
    """Cubes of tests' sites with a flux that follows their reflectance, and where the towers stand."""
    lines = ["site,lat,lon,igbp"]
    for k, site in enumerate(sites):
        tower = Tower(site=site, x=500125, y=5599875 + 50000 * k, crs="EPSG:32631")
        lat, lon = tower.degrees
        lines.append(f"{site},{lat},{lon},GRA")
        transform = (10, 0, 500000, 0, -10, 5600000 + 50000 * k)
        grid = Grid(crs="EPSG:32631", transform=transform, height=24, width=24)
        make_cube(folder / f"{site}.zarr", site=site, simulated=simulated, s1=False, grid=grid, seed=k)
        days = np.arange(DAYS[0] - 5, DAYS[-1] + 5)
        stamp = pd.to_datetime(days, unit="D").strftime("%Y%m%d")
        gpp = 3 + np.sin(days / 20) + 0.3 * k
        flux = pd.DataFrame(
            {"TIMESTAMP": stamp, "TA_F": 10 + np.cos(days / 9), "NEE_VUT_REF_QC": 0.9, "GPP_NT_VUT_REF": gpp}
        )
        flux.loc[flux.index % 9 == 0, "NEE_VUT_REF_QC"] = 0.3
        (folder / "flux").mkdir(exist_ok=True)
        end = "SIM" if simulated else "1-4"
        flux.to_csv(folder / "flux" / f"FLX_{site}_FLUXNET2015_FULLSET_DD_2018-2018_{end}.csv", index=False)
    (folder / "sites.csv").write_text("\n".join(lines))
    return folder


def test_from_files_to_a_page(tmp_path, capsys):
    folder = write_towers(tmp_path, simulated=False)
    fluxes = sorted(map(str, (folder / "flux").glob("*.csv")))
    out = tmp_path / "out" / "gpp.json"
    arguments = ["evaluate", "gpp", "--flux", *fluxes, "--unit", "gC m-2 d-1", "--site-info", f"{folder}/sites.csv"]
    arguments += ["--cube", f"{folder}/{{site}}.zarr", "--model", "ridge", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(out.read_text())
    assert result["kind"] == "gpp" and result["simulated"] is False and result["groups"] == 3
    assert "No embedding is scored on real flux" in result["conclusions"][0]  # no embedding was given
    assert {"bands, ridge", "NIRv, ridge", "weather, ridge", "weather + bands, ridge"} <= set(result["methods"])
    assert result["commands"][0].startswith("eomm ")
    for table in result["tables"]:
        assert table["rows"] and all(len(r) == len(table["columns"]) for r in table["rows"])
    for figure in result["figures"]:
        assert (out.parent / figure["png"]).stat().st_size > 5000 and figure["caption"]
    assert main(arguments) == 2 and "already exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    text = capsys.readouterr().out
    assert "Scores: whole sites" in text and "3 independent groups are too few for intervals" in text


@pytest.mark.whole
def test_embeddings_of_an_untrained_model_are_a_baseline(tmp_path, capsys):
    folder = write_towers(tmp_path, sites=("A", "B"), simulated=False)
    save_model(make_model(), tmp_path / "model")
    embed = ["embed", "--model", f"{tmp_path}/model", "--dtype", "float32"]
    for site in ("A", "B"):
        cube = ["--cube", f"{folder}/{site}.zarr", "--out"]
        assert main([*embed, *cube, f"{tmp_path}/trained-{site}.zarr"]) == 0
        assert main([*embed, *cube, f"{tmp_path}/random-{site}.zarr", "--untrained", "3"]) == 0
    first, second = (open_embedding(tmp_path / f"{name}-A.zarr") for name in ("trained", "random"))
    assert first.attrs["eomm:model"] != second.attrs["eomm:model"]
    assert not np.allclose(first["embedding"].values, second["embedding"].values, equal_nan=True)
    assert main([*embed, *cube, f"{tmp_path}/x.zarr", "--untrained", "3", "--workers", "2"]) == 2
    arguments = ["evaluate", "gpp", "--flux", *sorted(map(str, (folder / "flux").glob("*.csv"))), "--model", "ridge"]
    arguments += ["--unit", "gC m-2 d-1", "--site-info", f"{folder}/sites.csv", "--tested", "ours"]
    arguments += ["--embedding", f"random={tmp_path}/random-{{site}}.zarr"]
    arguments += ["--embedding", f"ours={tmp_path}/trained-{{site}}.zarr"]
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["main"] == "ours, ridge" and "random, ridge" in result["baselines"]
    assert not {"ours, ridge", "weather + ours, ridge"} & set(result["baselines"])


def test_simulated_and_real_are_kept_apart(tmp_path):
    folder = write_towers(tmp_path, sites=("A",), simulated=True)
    (path,) = (folder / "flux").glob("*.csv")
    flux = read_flux(path, unit="gC m-2 d-1")
    inputs = Inputs(cube=str(folder / "{site}.zarr"))
    with pytest.raises(ContractError, match="never share a table"):
        sites_table([flux], {"A": Tower(site="A", x=0, y=0)}, inputs)
    real = path.with_name(path.name.replace("SIM", "1-4"))
    path.rename(real)
    flux = read_flux(real, unit="gC m-2 d-1")
    tower = Tower(site="A", x=500125, y=5599875, crs="EPSG:32631")
    with pytest.raises(ContractError, match="fluxes are real, features 'bands' simulated"):
        sites_table([flux], {"A": tower}, inputs)
    with pytest.raises(DataError, match="no position of tower A"):
        sites_table([flux], {}, inputs)


def test_days_of_poor_quality_are_not_scored(tmp_path):
    folder = write_towers(tmp_path, sites=("A",), simulated=False)
    (path,) = (folder / "flux").glob("*.csv")
    tower = {"A": Tower(site="A", x=500125, y=5599875, crs="EPSG:32631")}
    table = sites_table([read_flux(path, unit="gC m-2 d-1")], tower, Inputs(cube=str(folder / "{site}.zarr")))
    assert len(table) == len(DAYS) and 0 < (~table.scored).sum() < 6
    assert table.features["bands"].shape == (20, 10) and 0 < table.features["bands"].min() < 1  # reflectance


def test_conclusions_name_baselines_and_say_what_cannot_be_told(tmp_path):
    plan = GppPlan(tested=["state"], checks=["oracle"], models=["ridge"])
    result = write_result(run(make_world(simulated=True), plan)[0], tmp_path / "r.json")
    text = " ".join(result.conclusions)
    assert text.startswith("SIMULATED") and "state, ridge beats" in text and "nothing, ridge" in text
    assert "state, ridge loses to oracle, ridge +0.3" in text
    assert "SIMULATED" in result.tables[0].title and len(result.figures) == 3
    assert all((tmp_path / f.png).stat().st_size > 10_000 for f in result.figures)
    with pytest.raises(UsageError, match="model forest"):
        GppPlan(models=["forest"])
    with pytest.raises(UsageError, match="main method 'x'"):
        run(make_world(), GppPlan(models=["ridge"], main="x"))


def test_what_the_command_line_cannot_do_is_said(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("site,date,gpp,x\na,2020-01-01,1,2\nb,2020-01-01,1,2\n")
    base = ["evaluate", "gpp", "--table", str(table), "--site", "site", "--date", "date", "--target", "gpp"]
    for more, error in (
        (["--features", "x=x"], "--table needs --unit"),
        (["--features", "x", "--unit", "gC m-2 d-1"], "x: expected NAME=VALUE"),
        (["--features", "x=x", "--unit", "gC m-2 d-1", "--tested", "z"], "features z: there are none; there are x"),
        (["--flux", "f.csv"], "give either --table"),
        (["--features", "x=x", "--unit", "gC m-2 d-1", "--folds", "both"], "at least two years"),
    ):
        assert main([*base, *more]) == 2, error
        assert error in capsys.readouterr().err
