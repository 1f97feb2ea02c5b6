"""A layer without dates, from a GeoTIFF to embeddings: every vector of every date knows it, and it knows no date."""

import json
import re
from datetime import timedelta

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from eomm.cli import main
from eomm.data.attributes import attributes_of
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.run import embed, open_embedding
from eomm.embedding.verify import verify_store
from eomm.errors import UsageError
from eomm.export.portable import export_model
from eomm.models.directory import load_model, save_model
from eomm.training.stages import build_stage
from tests.data_prep.cubes.test_static import write_dem
from tests.data_prep.tiny_scenes import START, write_s2
from tests.eomm.embedding.test_windows import by_hand
from tests.eomm.training.test_stages import pretrain_config, start

pytestmark = pytest.mark.whole
YEARS = 365 * 3
DAYS = (0, 5, 10, 15, YEARS, YEARS + 5)  # of the scenes, since START

CONFIG = """
from experiments import static

def get_config():
    config = static.get_config()
    config.encoder.update({"size": "tiny", "dilations": (1,)})
    config.decoder.width = 8
    config.objective.update(queries=3, reach_px=1, prefixes=())
    return config
"""
QUICK = ["steps=3", "data.batch_size=2", "optimiser.warmup_steps=1", "calibrate_records=0", "log_every=1"]
HEAD = {"dim": 8, "width": 16, "heads": 2, "layers": 1}


def run(command, values=()):
    assert main(command.split() + [f"--config.{v}" for v in values]) == 0


def build(path, name, *, days=DAYS, rise=0.0):
    """A cube of the site at some days, its ground lifted by some metres."""
    for day in days:
        write_s2(path / name / "s2", START + timedelta(days=day), seed=day)
    write_dem(path / f"{name}.tif", rise=rise)
    sources = f"--source simulated_s2={path}/{name}/s2 --source elevation={path}/{name}.tif"
    run(f"prepare cube --site here {sources} --out {path}/{name}.zarr")
    return open_cube(path / f"{name}.zarr")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The user's folder: a cube, its records, and the trained encoder of the layer."""
    path = tmp_path_factory.mktemp("world")
    build(path, "c")
    run(f"prepare records {path}/c.zarr --crop-px 10 --stride-px 10 --acquisitions 6 --out {path}/records")
    (path / "config.py").write_text(CONFIG)
    command = f"train --config {path}/config.py --workdir {path}/layer --config.data.records={path}/records"
    run(command, [*QUICK, "steps=30"])
    return path


@pytest.fixture(scope="module")
def model(world):
    """An untrained Sentinel-2 encoder and the layer's under a trained head."""
    config = pretrain_config("s2", reach_px=1)
    config.encoder.dilations = (1,)
    stage = build_stage(config, open_records(world / "records"))
    save_model(stage.model(start(stage)), world / "s2")
    head = [f"fusion.{k}={v}" for k, v in HEAD.items()] + [f"encoders={world}/s2,{world}/layer/model"]
    small = ["objective.s2.targets=3", "objective.s2.queries=2", "objective.s2.reach_px=1", "objective.s2.prefixes=4,8"]
    command = f"train --config experiments/fusion.py --workdir {world}/fusion --config.data.records={world}/records"
    run(command, QUICK + head + small)
    return load_model(world / "fusion" / "model")


@pytest.fixture(scope="module")
def vectors(world, model):
    return open_embedding(embed(model, world / "c.zarr", world / "e.zarr", dtype="float32")).load()


def test_its_encoder_learns_alone(world):
    found = [json.loads(line) for line in (world / "layer" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in found if "loss" in entry]
    assert len(losses) == 30 and np.isfinite(losses).all() and losses[-1] < losses[0]
    trained = load_model(world / "layer" / "model")
    assert trained.encoders["elevation"].frames == (0, 0) and trained.modalities["elevation"].static
    before = trained.encoders["elevation"].init(jax.random.key(0))
    assert jax.tree.structure(before) == jax.tree.structure(trained.params["elevation"]["encoder"])


def test_every_date_has_the_layers_vector_however_far_it_is(world, model, vectors):
    alone = embed(model, world / "c.zarr", world / "alone.zarr", modalities=["elevation"], dtype="float32")
    found = open_embedding(alone).load()["embedding"].values
    assert found.shape[0] == len(DAYS) and np.isfinite(found).all()
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-6)  # no date has a part in it
    assert np.ptp(found[0], axis=(0, 1)).max() > 1e-3  # but the ground has
    lifted = build(world, "lifted", rise=400.0)
    moved = open_embedding(embed(model, lifted, world / "moved.zarr", dtype="float32")).load()
    change = np.nanmax(np.abs(moved["embedding"].values - vectors["embedding"].values), axis=(1, 2, 3))
    assert (change > 1e-3).all(), "at dates years away as at the first"


def test_a_window_cut_out_by_hand_gives_the_dense_embedding(world, model, vectors):
    cube, fusion = open_cube(world / "c.zarr"), model.fusion
    for position, row, col in ((0, 0, 0), (3, 20, 39), (5, 39, 7)):
        parts = {}
        for name, at in (("s2", position), ("elevation", 0)):
            parts[name] = by_hand(model.encoders[name], model.params[name]["encoder"], cube[name], at, row, col)
        embeddings, here = ({n: p[i] for n, p in parts.items()} for i in (0, 1))
        assert all(here.values())
        present, days = ({n: jnp.asarray(v) for n in parts} for v in (True, 0.0))
        fused = fusion.fuse(model.params["fusion"], embeddings, present, days)
        at = vectors.isel(time=position, y=row, x=col)
        np.testing.assert_allclose(at["embedding"], fused, atol=1e-5)


def test_the_store_tells_that_it_was_used_and_no_days_to_it(vectors):
    assert (vectors["observations_elevation"].values == 1).all() and "elevation_offset_days" not in vectors
    contracts = attributes_of(vectors)["eomm:contracts"]
    assert contracts["elevation"]["static"] is True and "static" not in contracts["s2"]
    assert not (vectors["flags"].values & 4).any(), "the model has one sensor, so that none can be missing"
    assert str(vectors["time"].values[0])[:10] == "2019-04-01"


def test_the_portable_model_gives_the_same_whatever_day_it_is_told(world, model, vectors):
    export_model(model, world / "portable", sizes={"n": 2})
    loaded = jax.export.deserialize(bytearray((world / "portable" / "model.stablehlo").read_bytes()))
    cube, targets = open_cube(world / "c.zarr"), np.array([1, 5], np.int32)
    for day in (0, 20000):
        inputs = {}
        for name, encoder in model.encoders.items():
            halo, group = encoder.halo, cube[name]
            values, valid = group.read(None, slice(4 - halo, 9 + halo), slice(-halo, 6 + halo))
            days = group.day if name == "s2" else group.day + day
            inputs[name] = {"values": values, "valid": valid, "day": days, **group.meta()}
        out = loaded.call(inputs, targets)
        wanted = vectors["embedding"].values[targets, 4:9, :6]
        np.testing.assert_allclose(np.asarray(out["embedding"]), wanted, atol=1e-5)
    assert "static layers: whatever the day" in (world / "portable" / "README.md").read_text()


def test_dates_are_appended_and_a_changed_layer_changes_them_all(world, model):
    early = build(world, "early", days=DAYS[:4])
    out = embed(model, early, world / "grown.zarr", dtype="float32")
    embed(model, world / "c.zarr", out, dtype="float32", append=True)
    continued = attributes_of(open_embedding(out))["provenance"]["continued"]
    assert (continued["kept"], len(continued["changed"]), len(continued["new"])) == (1, 3, 2)  # 3 before, 3 after
    assert verify_store(world / "fusion" / "model", world / "c.zarr", out)["equal"]
    lifted = build(world, "raised", rise=50.0)
    embed(model, lifted, out, dtype="float32", append=True)
    continued = attributes_of(open_embedding(out))["provenance"]["continued"]
    assert (continued["kept"], len(continued["changed"])) == (0, 6)


def test_what_was_written_is_whole(world, model, vectors, capsys):
    main(f"prepare check {world}/c.zarr --out {world}/page.html".split())
    page = (world / "page.html").read_text()
    assert "1970" not in re.sub(r"base64,[^\"']*", "", page) and "1, 1 usable, static" in page
    for store in ("c.zarr", "records", "fusion/model", "e.zarr"):
        assert main(["verify", str(world / store)]) == 0, capsys.readouterr().out
        assert main(["info", str(world / store)]) == 0
        assert "1970-01" not in capsys.readouterr().out


def test_what_a_static_layer_cannot_be_is_refused_before_anything_is_trained(world, model):
    layer, records = world / "layer" / "model", open_records(world / "records")
    with pytest.raises(UsageError, match="elevation is static, and has no date to embed; fuse its encoder"):
        embed(layer, world / "c.zarr", world / "none.zarr")
    own = pretrain_config("elevation", targets=1, hidden=0.5, reach_px=1, sam=0.0)
    own.encoder.dilations = (1,)
    with pytest.raises(UsageError, match=r"objective: hidden is 0.5, but elevation is static: .*experiments/static.py"):
        build_stage(own, records)
    fuse = {"stage": "fuse", "reference": "elevation", "encoders": (str(world / "s2"), str(layer)), "drop": 0.2}
    config = ConfigDict({**fuse, "fusion": HEAD, "objective": {}})
    with pytest.raises(UsageError, match=r"config.reference is 'elevation', which is static .*; name one of s2"):
        build_stage(config, records)
    command = f"train --config {world}/config.py --workdir {world}/state --config.data.records={world}/records"
    words = [*command.split(), *(f"--config.{v}" for v in [*QUICK, "encoder.code=eomm.models.state"])]
    assert main(words) == 2 and not (world / "state" / "checkpoints").exists()
