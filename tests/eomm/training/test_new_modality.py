"""A modality that eomm does not know, from its files to an embedding; its encoder lives in a module of the user's."""

import dataclasses
import sys
from itertools import combinations

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from eomm.cli import main
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.run import embed, open_embedding
from eomm.errors import ContractError, UsageError
from eomm.evaluation.hidden.reconstruction import evaluate
from eomm.models.directory import load_model, save_model
from eomm.training.stages import build_stage
from tests.data_prep.tiny_scenes import START, write_netcdf, write_s2
from tests.eomm.helpers import random_batch, random_group
from tests.eomm.training.test_stages import gradients, pretrain_config, records, start

MAPPING = """
reader = "netcdf"
files = "soil*.nc"
time = "timestamp"
gsd_m = 9000
[modality]
name = "soil"
unit = "m3 m-3"
level = "daily"
calibration = "none"
centre = 0.3
spread = 0.1
bands = [
    { name = "upper", gsd_m = 9000, scale = 1e-4, valid_min = 0, valid_max = 1 },
    { name = "lower", gsd_m = 9000, scale = 1e-4, valid_min = 0, valid_max = 1 },
]
"""

# Neither Linen nor a part of eomm: parameters are two matrices and a rate, the embedding a decaying mean of the past.
ENCODER = """
from dataclasses import dataclass
import jax
import jax.numpy as jnp
from eomm.models.interface import no_hidden, window_mask

@dataclass(frozen=True)
class Memory:
    modality: object
    dim: int
    frames: tuple = (20, 0)
    halo: int = 0

    def init(self, rng):
        a, b = jax.random.split(rng)
        first = jax.random.normal(a, (len(self.modality.bands), self.dim))
        return {"in": first, "out": jax.random.normal(b, (self.dim, self.dim)), "rate": jnp.zeros(())}

    def features(self, params, values, valid, meta):
        scale, offset = self.modality.model_scale()
        x = jnp.tanh((values * scale + offset) @ params["in"]) * valid[..., None]
        return {"pixels": x, "site": x.mean((2, 3))}  # [b, t, y, x, k] and [b, t, k]

    def embed(self, params, features, valid, day, targets, hidden=None):
        hidden = no_hidden(targets, day.shape[1]) if hidden is None else hidden
        age = jnp.abs(day[:, None] - jnp.take_along_axis(day, targets, axis=1)[..., None])
        weight = window_mask(targets, hidden, self.frames) * jnp.exp(-age * jax.nn.softplus(params["rate"]) / 10)
        weight = weight[..., None, None] * valid[:, None]
        total = jnp.einsum("bntyx,btyxk->bnyxk", weight, features["pixels"] + features["site"][:, :, None, None])
        return total / (weight.sum(2)[..., None] + 1e-3) @ params["out"]

def build_encoder(modality, options):
    return Memory(modality, **options)
"""

CONFIG = """
from experiments import common

def get_config():
    config = common.pretrain("soil")
    config.encoder = {"code": "soil_encoder", "dim": 6}
    config.decoder.width = 8
    config.objective.update(targets=4, queries=2, gap_days=(1, 5), reach_px=0, edges=0.0, sam=0.0, prefixes=())
    return config
"""

QUICK = ["steps=2", "data.batch_size=1", "optimiser.warmup_steps=1"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The user's folder: Sentinel-2 scenes, soil moisture, a mapping, an encoder and a configuration; then records."""
    path = tmp_path_factory.mktemp("world")
    days = np.datetime64(START, "D") + np.arange(-30, 40)
    for k in range(6):
        write_s2(path / "s2" / "s2", START + np.timedelta64(5 * k, "D").item(), seed=100 * k)
    rng = np.random.default_rng(0)
    soil = np.clip(0.3 + 0.02 * rng.standard_normal((2, len(days), 1, 1)).cumsum(1), 0.05, 0.9)
    write_netcdf(path / "soil.nc", variables={"upper": (soil[0], {}), "lower": (soil[1], {})}, times=days, gsd=9000)
    for name, text in (("soil.toml", MAPPING), ("soil_encoder.py", ENCODER), ("soil_config.py", CONFIG)):
        (path / name).write_text(text)
    run(
        f"prepare cube --site here --source simulated_s2={path}/s2 --source {path}/soil.toml={path} --out {path}/c.zarr"
    )
    small = "--crop-px 8 --stride-px 16 --acquisitions 6"
    run(f"prepare records {path}/c.zarr {small} --window soil=20,0 --out {path}/records")
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))


@pytest.fixture(scope="module")
def old(world):
    """What the user had before: a Sentinel-2 model."""
    config = pretrain_config("s2", reach_px=1)
    config.encoder.dilations = (1,)  # compiles faster
    stage = build_stage(config, open_records(world / "records"))
    return save_model(stage.model(start(stage)), world / "old")


@pytest.fixture(scope="module")
def fused(world, old):
    """The new encoder alone, then the head alone."""
    run(f"train --config {world}/soil_config.py --workdir {world}/soil --config.data.records={world}/records", QUICK)
    head = [
        "fusion.dim=8",
        "fusion.width=16",
        "fusion.heads=2",
        "fusion.layers=1",
        f"encoders={old},{world}/soil/model",
    ]
    command = f"train --config experiments/fusion.py --workdir {world}/fusion --config.data.records={world}/records"
    small = [
        "objective.s2.targets=3",
        "objective.s2.queries=2",
        "objective.s2.reach_px=1",
        "objective.s2.prefixes=4,8",
        "code=soil_encoder",
    ]
    run(command, QUICK + head + small)
    return world / "fusion" / "model"


def run(command, values=()):
    assert main(command.split() + [f"--config.{v}" for v in values]) == 0


@pytest.mark.whole
def test_only_the_head_is_trained_and_the_encoders_stay_to_the_bit(world, old, fused):
    new = load_file(fused / "params.safetensors")
    for model in (old, world / "soil" / "model"):
        for name, array in load_file(model / "params.safetensors").items():
            assert array.dtype == new[name].dtype and array.tobytes() == new[name].tobytes(), name
    assert {n.split("/")[0] for n in new} == {"s2", "soil", "fusion"}
    untrained = load_model(world / "soil" / "model", code=["soil_encoder"]).encoders["soil"].init(jax.random.key(0))
    assert set(untrained) == {n.split("/")[2] for n in new if n.startswith("soil/encoder")}


@pytest.mark.whole
def test_code_must_be_named_to_embed(world, fused, capsys):
    command = f"embed --model {fused} --cube {world}/c.zarr --out {world}/e.zarr"
    assert main(command.split()) == 2 and not (world / "e.zarr").exists()
    said = capsys.readouterr().err
    assert "its soil encoder is code in 'soil_encoder'; if you trust it, say --code soil_encoder" in said
    run(command + " --code soil_encoder")
    store = open_embedding(world / "e.zarr")
    valid = store.valid.values
    vectors = store.embedding.values
    assert valid.any() and np.isfinite(vectors[valid]).all() and (vectors[valid] != 0).any(-1).all()
    assert np.isnan(vectors[~valid]).all()
    assert (store.soil_offset_days.values[valid] == 0).all() and (store.observations_soil.values[valid] == 21).all()


@pytest.mark.whole
def test_any_subset_embeds_and_each_modality_tells(world, fused):
    model, cube = load_model(fused, code=["soil_encoder"]), open_cube(world / "c.zarr")
    found = {}
    for names in [c for n in (1, 2) for c in combinations(("s2", "soil"), n)]:
        out = embed(model, cube, world / ("-".join(names) + ".out"), modalities=names, dtype="float32")
        found[names] = open_embedding(out).load()
        valid = found[names].valid.values
        assert valid.any() and np.isfinite(found[names].embedding.values[valid]).all()
    both, s2, soil = (found[n].embedding.values for n in (("s2", "soil"), ("s2",), ("soil",)))
    assert np.nanmax(np.abs(both - s2)) > 1e-4 and np.nanmax(np.abs(both - soil)) > 1e-4
    # alone, the single pixel gives every pixel of a date the same, and dates differ
    spread = [np.nanmax(soil, axis=axes) - np.nanmin(soil, axis=axes) for axes in ((1, 2), 0)]
    assert spread[0].max() == 0 and spread[1].max() > 1e-5


@pytest.mark.whole
def test_hidden_targets_are_scored_with_a_modality_of_one_pixel(world, fused):
    model, cube = load_model(fused, code=["soil_encoder"]), open_cube(world / "c.zarr")
    day = int(cube["s2"].day[cube["s2"].usable][2])
    result = evaluate(model, cube, dates=[day], gaps=(0,), probes=False, fit_dates=3)
    scores = {m: s.value for m, s in result["hidden"]["all"]["0"].methods.items()}
    assert np.isfinite(list(scores.values())).all() and scores["fused"] != scores["fused_alone"]


@pytest.mark.whole
def test_a_batch_of_one_pixel_trains_every_parameter():
    rng = np.random.default_rng(3)
    batch = {"s2": random_group(rng, records(random_batch(rng)).shapes["s2"].modality, batch=1, time=12, size=1)}
    config = pretrain_config("s2", reach_px=0, targets=4)
    config.encoder.dilations = ()
    (loss, _), grads = gradients(build_stage(config, records(batch)), batch)
    assert np.isfinite(loss)
    for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]:
        assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.whole
def test_grids_that_do_not_meet_and_objectives_not_told_are_refused(world, old, fused):
    head = {"stage": "fuse", "reference": "s2", "encoders": (str(fused),), "code": ("soil_encoder",), "drop": 0.2}
    config = ConfigDict({**head, "fusion": {"dim": 8, "width": 16, "heads": 2}, "objective": {}})
    good = open_records(world / "records")
    assert build_stage(config, good).modalities == ("s2", "soil")
    coarse = dataclasses.replace(good.shapes["soil"], height=2, width=3)
    with pytest.raises(ContractError, match=r"soil has crops of 2 x 3 px, s2 of 8 x 8; expected the same"):
        build_stage(config, dataclasses.replace(good, shapes={**good.shapes, "soil": coarse}))
    model = load_model(fused, code=["soil_encoder"])
    silent = save_model(dataclasses.replace(model, info={}), world / "silent")
    config.encoders = (str(silent),)
    with pytest.raises(UsageError, match=r"config.objective lacks s2, soil, and the encoder does not tell its own"):
        build_stage(config, good)
