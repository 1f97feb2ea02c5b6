"""Training that starts from a model directory."""

import dataclasses

import jax
import numpy as np
import pytest

from eomm.data.modality import SENTINEL2
from eomm.errors import ContractError, UsageError
from eomm.models.directory import load_model, save_model
from eomm.training.stages import build_stage
from tests.eomm.helpers import random_batch
from tests.eomm.training.test_stages import pretrain_config, records

BATCH = random_batch(np.random.default_rng(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    stage = build_stage(pretrain_config("s2"), records(BATCH))
    model = stage.model(stage.init(jax.random.key(7)))
    return save_model(dataclasses.replace(model, info={"steps": 12}), tmp_path_factory.mktemp("init") / "m")


def started(path, **encoder):
    config = pretrain_config("s2")
    config.init = str(path)
    config.encoder.update(encoder)
    return config


def test_training_starts_from_the_models_parameters_and_says_so(saved):
    stage = build_stage(started(saved), records(BATCH))
    params = jax.jit(stage.init)(jax.random.key(0))
    model = load_model(saved)
    jax.tree.map(np.testing.assert_array_equal, params, model.params["s2"])
    info = stage.model(params).info["init"]
    assert info == {"hash": model.hash, "steps": 12, "records": None}
    assert "init" not in build_stage(pretrain_config("s2"), records(BATCH)).model(params).info


def test_another_network_or_contract_is_refused_with_words(saved):
    with pytest.raises(UsageError, match=r"other parameters than config\.encoder: .*it has \(11, 16\).*\(21, 16\)"):
        build_stage(started(saved, band_flags=True), records(BATCH))
    other = records(BATCH)
    changed = dataclasses.replace(SENTINEL2, calibration="top_of_atmosphere")
    other.shapes["s2"] = dataclasses.replace(other.shapes["s2"], modality=changed)
    with pytest.raises(ContractError, match="calibration"):
        build_stage(started(saved), other)
    config = pretrain_config("s1")
    config.init = str(saved)
    with pytest.raises(UsageError, match=r"holds s2; config\.init needs a model with 's1'"):
        build_stage(config, records(BATCH))
    config.stage = "fuse"
    with pytest.raises(UsageError, match="only stage pretrain starts from"):
        build_stage(config, records(BATCH))
