"""Bringing the learned numbers of a trained encoder to one level, and to their weight beside the state's blocks.

Apart from experiment.py: what it does to a model's numbers is read and tested by itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from eomm.models.directory import Model, build_parts
from eomm.models.state import StateEncoder
from eomm.training.noise import SeriesSet, rounded, vectors_of


def level_learned(model: Model, name: str, sets: Sequence[SeriesSet], *, weight: float) -> Model:
    """The model with its learned numbers centred and of one variance, which sum to `weight` squared in training.

    What changes the vectors becomes options of the encoder (`centre`, `spread`); the decoder's first layer takes it
    back, so that it decodes as before.

    Args:
        model: of one modality, with a state and learned numbers.
        name: the modality.
        sets: series of its training.
        weight: of the block; the state's is 1.
    """
    encoder = model.encoders[name]
    if not isinstance(encoder, StateEncoder) or encoder.inner is None or encoder.spread:
        return model
    closed, rng = 3 * encoder.components, np.random.default_rng(2)
    share = np.array([s.weight for s in sets]) / sum(s.weight for s in sets)
    sums = np.zeros((2, encoder.inner.dim))
    for part, s in zip(share, sets, strict=True):
        learned = vectors_of(encoder, s, rng, params=model.params[name]["encoder"])[:, closed:]
        sums += part * np.stack([learned.mean(0), (learned**2).mean(0)])
    centre, square = sums
    deviation = np.sqrt(np.maximum(square - centre**2, 1e-12))
    options = {"centre": rounded(centre), "spread": rounded(deviation * np.sqrt(len(centre)) / weight)}
    parts: dict[str, Any] = {**model.parts[name], "encoder": {**model.parts[name]["encoder"], **options}}
    built, decoder = build_parts(model.modalities[name], parts["encoder"], parts["decoder"])
    params = {**model.params[name], "decoder": taken_back(model.params[name]["decoder"], closed, options)}
    return dataclasses.replace(
        model,
        encoders={**model.encoders, name: built},
        decoders={**model.decoders, name: decoder},
        parts={**model.parts, name: parts},
        params={**model.params, name: params},
    )


def taken_back(decoder: Any, closed: int, options: dict[str, Any]) -> Any:
    """A decoder's parameters for learned numbers that were centred and divided."""
    centre, spread = (jnp.asarray(options[k], jnp.float32) for k in ("centre", "spread"))
    layer = decoder["embedding"]
    learned = layer["kernel"][closed:]
    kernel = jnp.concatenate([layer["kernel"][:closed], learned * spread[:, None]])
    return {**decoder, "embedding": {"kernel": kernel, "bias": layer["bias"] + centre @ learned}}
