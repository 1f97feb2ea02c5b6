"""Every shipped configuration describes a stage that can take a step at its full size."""

import jax
import numpy as np
import pytest

from eomm.models.directory import save_model
from eomm.training.config import load_config
from eomm.training.stages import build_stage
from tests.eomm.helpers import MODALITIES, random_batch, random_group
from tests.eomm.training.test_stages import records

PUBLISHED = ("published_s2", "published_s1")


@pytest.mark.parametrize(
    ("name", "encoders"),
    [(n, ()) for n in ("s2", "s1", "weather", "static", "published_hidden", *PUBLISHED)]
    + [("fusion", ("s2", "s1", "weather", "static")), ("published_fusion", PUBLISHED)],
)
def test_a_shipped_configuration_traces_a_step(name, encoders, tmp_path):
    rng = np.random.default_rng(0)
    batch = random_batch(rng, batch=1, size=32, times={"s2": 32, "s1": 60})
    batch["weather"] = random_group(rng, MODALITIES["weather"], time=90, size=1)
    batch["elevation"] = random_group(rng, MODALITIES["elevation"], time=1, size=32)
    config = load_config(f"experiments/{name}.py")
    if encoders:
        models = []
        for one in encoders:
            stage = build_stage(load_config(f"experiments/{one}.py"), records(batch))
            shapes = jax.eval_shape(stage.init, jax.random.key(0))
            params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)  # initialising compiles for seconds
            models.append(str(save_model(stage.model(params), tmp_path / one)))
        config.encoders = tuple(models)
    stage = build_stage(config, records(batch))
    params = jax.eval_shape(stage.init, jax.random.key(0))
    step = jax.value_and_grad(stage.loss, has_aux=True)
    (loss, metrics), grads = jax.eval_shape(step, params, stage.frozen, batch, jax.random.key(1))
    assert loss.shape == () and {"loss", "targets"} <= set(metrics)
    assert jax.tree.map(lambda g: g.shape, grads) == jax.tree.map(lambda p: p.shape, params)
