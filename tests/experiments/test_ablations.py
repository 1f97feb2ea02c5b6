"""Variants of the recipe differ in what they name alone; the metric of crops keeps what tells crops apart."""

from pathlib import Path

import numpy as np
import pytest
from eomm.experiments.shipped import ablations, discriminant

from eomm.data.modality import SENTINEL2
from eomm.models.directory import build_parts
from eomm.training.config import flatten
from eomm.training.noise import assumed_noise
from eomm.training.stages import make_objective


def settings(name):
    return ablations.settings(name, {"swiss": 1.0}, Path("work"), 3, 10)


@pytest.mark.parametrize("name", ablations.VARIANTS)
def test_a_variant_is_the_recipe_but_for_what_it_names(name):
    config, recipe = settings(name), dict(flatten(settings(ablations.RECIPE)))
    make_objective(config.objective)
    build_parts(SENTINEL2, assumed_noise(config.encoder.to_dict(), SENTINEL2), config.decoder.to_dict())
    if name != ablations.BEFORE:
        assert {k: v for k, v in dict(flatten(config)).items() if v != recipe[k]} == ablations.VARIANTS[name]


def test_the_encoder_before_decodes_what_is_visible_and_has_no_state():
    config = settings(ablations.BEFORE)
    assert config.objective.target_weight == 0.5 and not config.objective.only_hidden and not config.objective.labels
    assert config.encoder.code == "eomm.models.context" and config.optimiser.weight_decay == 0.02
    assert config.steps == settings(ablations.RECIPE).steps and config.data == settings(ablations.RECIPE).data


def test_a_direction_that_tells_crops_apart_stays_and_others_are_shortened():
    rng = np.random.default_rng(0)
    crop = np.repeat(["a", "b", "c"], 40)
    parts = rng.normal(size=(120, 2, 5)) * [1, 1, 1, 8, 1]
    parts[..., 0] += 3 * np.repeat([0, 1, 2], 40)[:, None]
    matrix = discriminant.metric(parts, crop)
    size = np.linalg.norm(matrix, axis=1)  # of a step of one along each number
    assert size[0] > 5 * size[1:].max()
    permuted = np.linalg.norm(discriminant.metric(parts, rng.permutation(crop)), axis=1)
    assert permuted[0] < size[0] / 3


def test_a_cell_says_what_is_told_apart():
    recipe = np.full(101, 0.5)
    better = np.concatenate([[0.6], np.linspace(0.55, 0.65, 100)])
    assert ablations.cell(better, recipe) == "0.600 **+0.100 (+0.053, +0.147)**"
    assert "**" not in ablations.cell(np.concatenate([[0.6], np.linspace(0.4, 0.65, 100)]), recipe)
