"""Encoders of different halos are fused: each is cropped to its own, and all meet at the same pixels."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from data_prep.records.build import build_patches
from data_prep.records.split import SplitConfig
from eomm.data.records import open_records
from eomm.embedding.calibrate import calibrate
from eomm.errors import UsageError
from eomm.models.directory import save_model
from eomm.models.interface import crop
from eomm.models.reading import same_pixels
from eomm.training.stages import build_stage
from tests import zoo
from tests.eomm import site
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import fuse_config, records, start

HALOS = {"s2": 7, "s1": 3}


def model():
    return site.make_model(("s2", "s1"), fused=True, of={"s1": {"dilations": (3,)}})


def test_modalities_meet_at_the_same_pixels():
    picture = np.arange(19 * 19).reshape(1, 1, 19, 19)
    batch = {n: {"values": picture[..., None], "valid": picture, "day": np.zeros((1, 1))} for n in HALOS}
    found = same_pixels(batch, HALOS, "crop")
    inner = {n: np.asarray(crop(found[n]["values"], h)) for n, h in HALOS.items()}
    assert inner["s2"].shape == (1, 1, 5, 5, 1)
    np.testing.assert_array_equal(inner["s1"], inner["s2"])
    np.testing.assert_array_equal(crop(found["s1"]["valid"], 3), crop(found["s2"]["valid"], 7))
    assert found["s2"] is batch["s2"] and same_pixels(batch, HALOS, "lone") is batch


def two_models(tmp_path):
    whole, paths = model(), []
    for name in HALOS:
        own = {"encoders": {name: whole.encoders[name]}, "decoders": {name: whole.decoders[name]}}
        own |= {"params": {name: whole.params[name]}, "parts": {name: whole.parts[name]}, "fusion": None}
        paths.append(str(save_model(dataclasses.replace(whole, **own), tmp_path / name)))
    return paths


def test_a_fusion_of_encoders_with_different_halos_is_a_stage(tmp_path):
    batch = random_batch(np.random.default_rng(0))
    config = fuse_config(two_models(tmp_path))
    config.objective.s1.reach_px = 3
    stage = build_stage(config, records(batch))
    loss, metrics = jax.eval_shape(stage.loss, start(stage), stage.frozen, batch, jax.random.key(0))
    assert loss.shape == () and {"s2_loss", "s1_loss"} <= set(metrics)
    config.objective.s1.reach_px = 7  # beyond what its margin can give: said before anything is trained
    with pytest.raises(UsageError, match=r"--config.objective.NAME.reach_px=3"):
        build_stage(config, records(batch))


def test_crops_of_records_without_surroundings_would_not_meet(tmp_path):
    batch = random_batch(np.random.default_rng(0))
    config = fuse_config(two_models(tmp_path))
    config.objective.s1.reach_px = 3
    config.objective.s2.crop_px = config.objective.s1.crop_px = 17
    lone = SimpleNamespace(**vars(records(batch)) | {"manifest": records(batch).manifest | {"reading": "lone"}})
    with pytest.raises(UsageError, match=r"7 px \(s2\), 3 px \(s1\).*set it to 0"):
        build_stage(config, lone)


@pytest.mark.whole
def test_such_a_model_is_calibrated(tmp_path):
    split = SplitConfig(sites={"train": ["site one"]})
    options = {"crop_px": 18, "acquisitions": 12, "stride_px": 3, "stride_acquisitions": 4}
    path = build_patches(tmp_path / "r", cubes=[zoo.cube().path], split=split, **options)
    found = calibrate(model(), open_records(path), count=3)
    assert len(found.info["calibration"]["scale"]) == 8
