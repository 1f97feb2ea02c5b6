"""Bringing the learned numbers of a trained encoder or fusion head to one level, and to their weight beside a state."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eomm.data.mixture import Mixture
from eomm.embedding.calibrate import measure_mixture
from eomm.models.directory import Model, build_parts, reference_of
from eomm.models.fusion import Fusion
from eomm.models.interface import Params
from eomm.models.predict import Predictor
from eomm.models.state import StateEncoder
from eomm.training.noise import SeriesSet, rounded, vectors_of

Numbers = Float[np.ndarray, " d"]


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
    closed, rng = encoder.closed, np.random.default_rng(2)
    share = np.array([s.weight for s in sets]) / sum(s.weight for s in sets)
    sums = np.zeros((2, encoder.inner.dim))
    for part, s in zip(share, sets, strict=True):
        learned = vectors_of(encoder, s, rng, params=model.params[name]["encoder"])[:, closed:]
        sums += part * np.stack([learned.mean(0), (learned**2).mean(0)])
    centre, spread = level_of(sums[0], sums[1], weight)
    options = {"centre": centre, "spread": spread}
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


def level_fused(model: Model, mixture: Mixture, *, weight: float, count: int, seed: int) -> Model:
    """The model with its fused numbers centred and of one variance, which sum to `weight` squared in training.

    The head's last layer makes them so, and those that project for the decoders take it back.

    Args:
        model: with a fusion head that lets a closed form lead.
        mixture: its records, whose targets, hidden as for calibration, are measured.
        weight: of the fused numbers; a state's is 1.
        count: records.
        seed: of which, of targets and gaps.
    """
    head = model.fusion
    if not isinstance(head, Fusion) or not head.leading:
        return model
    measured = measure_mixture(Predictor(model, reference_of(model, None)), mixture, "train", count, seed)
    fused = np.concatenate([m.vectors[..., -head.fused :].reshape(-1, head.fused) for m in measured]).astype(np.float64)
    centre, spread = (jnp.asarray(x, jnp.float32) for x in level_of(fused.mean(0), (fused**2).mean(0), weight))
    params = levelled_head(head, model.params["fusion"], centre, spread)
    return dataclasses.replace(model, params={**model.params, "fusion": params})


def levelled_head(head: Fusion, params: Params, centre: Array, spread: Array) -> Params:
    """Parameters of a head whose fused numbers are (x - centre) / spread, and which projects as before."""
    last = params["body"]["fused"]
    levelled = {"kernel": last["kernel"] / spread, "bias": (last["bias"] - centre) / spread}
    outputs = {
        f"out_{name}": unlevelled(params[f"out_{name}"], head.dim - head.fused, centre, spread)
        for name, _ in head.inputs
    }
    return {**params, **outputs, "body": {**params["body"], "fused": levelled}}


def level_of(mean: Numbers, square: Numbers, weight: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What is subtracted from numbers of this mean and mean square, and what they are then divided by."""
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))
    return rounded(mean), rounded(deviation * np.sqrt(len(mean)) / weight)


def taken_back(decoder: Any, closed: int, options: Mapping[str, Any]) -> Any:
    """A decoder's parameters for learned numbers that were centred and divided."""
    centre, spread = (jnp.asarray(options[k], jnp.float32) for k in ("centre", "spread"))
    return {**decoder, "embedding": unlevelled(decoder["embedding"], closed, centre, spread)}


def unlevelled(layer: Any, closed: int, centre: Array, spread: Array) -> Any:
    """A dense layer that gives of levelled numbers, behind `closed` others, what it gave of those before."""
    learned = layer["kernel"][closed:]
    kernel = jnp.concatenate([layer["kernel"][:closed], learned * spread[:, None]])
    return {"kernel": kernel, "bias": layer["bias"] + centre @ learned}
