"""Fluxes of the simulator, whose truth is known: drought skill is there, and absent in the null world."""

from datetime import date

import numpy as np
import pytest

from data_prep.cubes.build import Source, build_cube
from data_prep.simulate import Revisit, SiteOptions, flux, simulate_site
from data_prep.simulate.parameters import Streams
from data_prep.simulate.weather import day_number
from data_prep.simulate.world import make_world
from eomm.embedding.run import embed
from eomm.evaluation.gpp.features import Inputs, sites_table
from eomm.evaluation.gpp.flux_files import read_flux
from eomm.evaluation.gpp.flux_sites import read_towers
from eomm.evaluation.gpp.models import Method, ridge
from eomm.evaluation.gpp.plan import Final, GppPlan
from eomm.evaluation.gpp.rows import Table, join
from eomm.evaluation.gpp.run import run
from eomm.evaluation.gpp.tables import evaluate_gpp
from tests.eomm.site import make_model

DROUGHT = 2020
SITES = 7


def tower(number, *, stress):
    """Fluxes of one site without its scenes: every fifth day, with what the best of sensors could know."""
    streams = Streams(seed=number, site=f"T{number}")
    how = {"held_out": False, "drought_year": DROUGHT, "stress": stress}
    world = make_world(streams, size_px=24, years=range(2017, 2021), **how)
    weather, states = world.weather, world.states
    carbon = flux.simulate_carbon(world, stress=stress)
    days = slice(day_number(date(2018, 1, 1)) - int(weather.day[0]), weather.day.size)
    shares, _ = flux.footprint(world, days)
    measured, truth = flux.tower_series(world, carbon, shares=shares, days=days)
    light = (truth.FAPAR_TRUE * measured.SW_IN_F).to_numpy()
    dry = np.clip(0.25 - (states.root_moisture[days] * shares).sum(1), 0, None)
    rows = np.flatnonzero(
        (measured.GPP_NT_VUT_REF > -9999) & (measured.NEE_VUT_REF_QC >= 0.7) & (np.arange(len(light)) % 5 == 0)
    )
    columns = {
        "light": light[:, None],
        "light and soil": np.stack([light, light * dry], axis=1),
        "oracle": truth.GPP_TRUE.to_numpy()[:, None],
    }
    site_name = np.full(len(rows), f"T{number}")
    return Table(
        site=site_name, day=weather.day[days][rows].astype(np.int32), gpp=measured.GPP_NT_VUT_REF.to_numpy()[rows],
        kind=site_name, group=site_name, features={n: x[rows] for n, x in columns.items()}, simulated=True,
    )  # fmt: skip


def evaluate(*, stress):
    table = join([tower(i, stress=stress) for i in range(SITES)])
    names = ("light and soil", "light", "oracle")
    methods = [Method(name=n, features=[n], model=ridge([n]), baseline=True) for n in names]
    result, _ = evaluate_gpp(table, methods, GppPlan(main="light and soil", final=Final(years=[DROUGHT])))
    return result


@pytest.fixture(scope="module")
def world():
    return evaluate(stress=True)


@pytest.fixture(scope="module")
def null():
    return evaluate(stress=False)


def test_the_true_flux_explains_what_the_tower_measures(world):
    for part in (world, world["final"]["unseen years"]):
        found = part["methods"]["oracle"]["all"]
        assert found["r2"].value > 0.9 and abs(found["bias"].value) < 0.5  # the rest is the tower's error
        assert all(m["all"]["rmse"].value >= found["rmse"].value for m in part["methods"].values())


def test_knowing_the_soil_helps_in_a_drought(world):
    found = world["final"]["unseen years"]["difference"]["light"]["anomaly rmse"]
    assert found.resolved and found.value < -0.5


def test_without_stress_there_is_no_drought_skill(null):
    for part in (null, null["final"]["unseen years"]):
        found = part["difference"]["light"]["anomaly rmse"]
        assert found.interval[0] <= 0 <= found.interval[1]
        assert part["methods"]["oracle"]["all"]["r2"].value > 0.9  # there is something to explain


@pytest.mark.whole
def test_from_scenes_to_fluxes(tmp_path):
    """Files of the simulator as they are: units told beside the fluxes, site.json, cubes, an embedding by footprint."""
    span = {"start": date(2020, 3, 1), "end": date(2020, 9, 30), "revisit": Revisit(s2_days=10, s1_days=12)}
    model = make_model(("s2",))
    for i, site in enumerate(("E1", "E2")):
        scenes = simulate_site(tmp_path / "scenes" / site, SiteOptions(site=site, seed=i, size_px=24, **span))
        cube = tmp_path / f"{site}.zarr"
        build_cube(cube, site=site, sources=[Source(path=scenes / "s2", mapping="simulated_s2")])
        embed(model, cube, tmp_path / "random" / f"{site}.zarr", dtype="float32")
    fluxes = [read_flux(p) for p in sorted((tmp_path / "scenes").glob("*/flux/*_FULLSET_DD_*.csv"))]
    towers = read_towers(sorted((tmp_path / "scenes").glob("*/site.json")))
    inputs = Inputs(
        embeddings={"random": str(tmp_path / "random" / "{site}.zarr")},
        cube=str(tmp_path / "{site}.zarr"),
        extra={"oracle": (str(tmp_path / "scenes" / "{site}" / "truth" / "flux_truth.csv"), ["GPP_TRUE"])},
        extract="footprint:60",
    )
    table = sites_table(fluxes, towers, inputs)
    assert table.simulated and set(table.site) == {"E1", "E2"} and table.scored.sum() >= 8
    assert table.features["random"].shape[1] == 8 and table.kind[0]
    result, _ = run(table, GppPlan(tested=["random"], checks=["oracle"], models=["ridge"]))
    assert "oracle, ridge" not in result["baselines"] and "weather + oracle, ridge" not in result["methods"]
    assert result.conclusions[0].startswith("SIMULATED") and result["groups"] == 2
    scores = {n: m["all"]["r2"].value for n, m in result["methods"].items()}
    assert scores["oracle, ridge"] > 0.9 and scores["oracle, ridge"] > scores["random, ridge"]
