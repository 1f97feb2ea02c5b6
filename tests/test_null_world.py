"""In the simulator's world where radar knows nothing of the ground, a trained model must gain nothing from it."""

from datetime import date
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from data_prep.cubes.build import Source, build_cube
from data_prep.simulate import Revisit, SiteOptions, simulate_site
from eomm.data.cube import open_cube
from eomm.data.held_out import third_of_clear_days
from eomm.data.records import PatchShape
from eomm.evaluation.hidden.fusion import evaluate_fusion
from eomm.models.directory import save_model
from eomm.models.predict import read_batch
from eomm.training.stages import build_stage
from eomm.training.step import make_step
from tests.eomm.site import make_model
from tests.eomm.tiny import make_config
from tests.eomm.training.test_stages import fuse_config

STEPS = 60


def null_cube(folder):
    span = {"start": date(2020, 1, 1), "end": date(2021, 12, 31), "revisit": Revisit(s2_days=10, s1_days=12)}
    scenes = simulate_site(
        folder / "null", SiteOptions(site="N", seed=3, size_px=24, radar_sees_vegetation=False, **span)
    )
    sources = [Source(path=scenes / n, mapping=f"simulated_{n}") for n in ("s2", "s1")]
    return open_cube(build_cube(folder / "null.zarr", site="N", sources=sources))


def train(cube, without, folder):
    """Everything at once, on all acquisitions of the site but the days `without`."""
    batch = {n: read_batch(cube, n, row=7, col=7, size=10, halo=7) for n in ("s2", "s1")}
    keep = ~np.isin(batch["s2"]["day"][0], without)
    batch["s2"] = {k: v[:, keep] for k, v in batch["s2"].items()}
    shapes, statistics = {}, {}
    for name, g in batch.items():
        modality = cube[name].modality
        shapes[name] = PatchShape(modality=modality, acquisitions=g["day"].shape[1], height=24, width=24)
        statistics[name] = {"std": modality.decode(g["values"])[g["valid"].astype(bool)].std(0).tolist()}
    start = save_model(make_model(("s2", "s1")), folder / "start")
    records = SimpleNamespace(path="records", shapes=shapes, manifest={"statistics": statistics})
    stage = build_stage(fuse_config([str(start)], finetune=True), records)
    config = make_config(steps=STEPS, **{"optimiser.learning_rate": 5e-3})
    step, init = make_step(stage, config, batch)
    state, step = init(jax.random.key(0)), jax.jit(step)
    for _ in range(STEPS):
        state, _ = step(state, jax.random.key(1), stage.frozen, batch)
    return stage.model(state["params"])


@pytest.mark.whole
def test_radar_that_knows_nothing_brings_nothing(tmp_path):
    cube = null_cube(tmp_path)
    days = third_of_clear_days(cube["s2"])
    model = train(cube, days, tmp_path)
    result = evaluate_fusion({"m": model}, cube, dates=days, gap=30, shares=(0, 1), ages=(0,), gaps=(30,))
    assert result.simulated and len(days) >= 6
    found = result["curves"]["all"]["gap"][0]["models"]["m"]
    assert found["there"] == 1  # it was there to be used
    for readout in ("decoded", "probe"):
        error, gain = found[readout]["error"].value, found[readout]["gain"]
        assert error < 0.06  # something was learned: the first step errs by more
        assert gain.interval[0] <= 0 and abs(gain.value) < 0.1 * error
