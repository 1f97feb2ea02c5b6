"""How modalities meet at a target: which acquisition of each serves it, whether it is there, and what they make fused.

The only text of this: training, dense embedding, the portable model and the prediction of hidden targets all call it.
What is a modality's own stays in its encoder (interface.py), how tokens mix in the fusion head (fusion.py).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Shaped

from eomm.data.modality import Modality
from eomm.models.fusion import nearest_acquisition
from eomm.models.interface import META, Encoder, Features, FusionHead, Params, crop


class Pairs(NamedTuple):
    """Of another modality, the acquisition that serves each target.

    Attributes:
        at: indices into its time axis; where nothing exists, 0.
        offset_days: its day minus the target's.
        near: whether it exists and is near enough to count as present where it is valid.
    """

    at: Int32[Array, "b n"]
    offset_days: Int32[Array, "b n"]
    near: Bool[Array, "b n"]


class Part(NamedTuple):
    """What one modality brings to targets; where it has a single pixel, y and x have length 1.

    Attributes:
        embedding: anything finite where not present.
        present: whether it counts.
        offset_days: of its acquisition from the target's day.
    """

    embedding: Float[Array, "b n y x _"]
    present: Bool[Array, "b n y x"]
    offset_days: Float[Array, "b n y x"]


def pair(
    target_day: Int32[Array, "b n"],
    day: Int32[Array, "b t"],
    exists: Shaped[Array, "b t"] | Bool[Array, "b n t"],
    max_offset_days: int | None,
) -> Pairs:
    """Of every target the nearest acquisition of another modality (of two equally near the earlier).

    Args:
        target_day: days since 1970-01-01.
        day: of the other modality's acquisitions.
        exists: which of them there are, for all targets or for each.
        max_offset_days: farther ones do not count; None of a static layer, which is as if of every day (`reach`).
    """
    at = nearest_acquisition(target_day, day, exists)
    offset_days = jnp.take_along_axis(day, at, axis=1) - target_day
    if max_offset_days is None:
        offset_days, max_offset_days = jnp.zeros_like(offset_days), 0
    each = exists.astype(bool) if exists.ndim == 3 else exists.astype(bool)[:, None]
    there = jnp.take_along_axis(each, at[..., None], axis=2)[..., 0]
    return Pairs(at, offset_days, there & (jnp.abs(offset_days) <= max_offset_days))


def reach(modality: Modality, fusion: FusionHead) -> int | None:
    """Days beyond which acquisitions of a modality are absent; None of a static layer."""
    return None if modality.static else fusion.max_offset_days


def on_cpu() -> bool:
    """Whether the default device is the CPU, which wants small pieces; an accelerator wants large ones."""
    return jax.default_backend() == "cpu"


def features_one_by_one(
    encoder: Encoder,
    params: Params,
    values: Shaped[Array, "b t h w c"],
    valid: Shaped[Array, "b t h w"],
    meta: Mapping[str, Shaped[Array, "b t"]],
) -> Features:
    """As `encoder.features`, acquisition by acquisition, so that each stays in a CPU's cache; not for training.

    Base size, 2 cores: 360,000 instead of 200,000 pixels per second. With the gradient it takes 1.3 to 1.6 times as
    long instead (benchmarks/README.md).
    """
    axes = values.shape[:2]
    each = jax.tree.map(lambda x: x.reshape(-1, 1, 1, *x.shape[2:]), (values, valid, dict(meta)))
    found = jax.lax.map(lambda one: encoder.features(params, *one), each)
    return jax.tree.map(lambda x: x.reshape(*axes, *x.shape[3:]), found)


def encode(
    encoder: Encoder,
    params: Params,
    data: Mapping[str, Array],
    targets: Int32[Array, "b n"],
    hidden: Bool[Array, "b n t"] | None = None,
    *,
    compute_features: Callable[..., Features] | None = None,
) -> tuple[Float[Array, "b n y x d"], Bool[Array, "b t y x"]]:
    """Embeddings of targets, and validity inside the halo.

    Args:
        encoder: of the modality.
        params: of the encoder.
        data: `values`, `valid`, `day` and what encoders may know of acquisitions.
        targets: indices into the time axis.
        hidden: acquisitions that a target may not see.
        compute_features: `encoder.features`, or the same made again in the backward pass.
    """
    features = (compute_features or encoder.features)(params, data["values"], data["valid"], {k: data[k] for k in META})
    inside = crop(data["valid"], encoder.halo).astype(bool)
    return encoder.embed(params, features, inside, data["day"], targets, hidden), inside


def lead(embedding: Float[Array, "*n y x d"], dropped: Bool[Array, "*n"] | None = None) -> Part:
    """The reference: present at its own date, clear or not, since its encoder knows what it did not see."""
    shape = embedding.shape[:-1]
    kept = jnp.ones((), bool) if dropped is None else ~dropped[..., None, None]
    return Part(embedding, jnp.broadcast_to(kept, shape), jnp.zeros(shape))


def follow(
    embedding: Float[Array, "b n y x d"],
    inside: Bool[Array, "b t y x"],
    pairs: Pairs,
    dropped: Bool[Array, "b n"] | None = None,
) -> Part:
    """Another modality: present where the acquisition that serves the target is near enough and valid.

    Args:
        embedding: of the acquisitions that serve.
        inside: validity of its acquisitions.
        pairs: which serve.
        dropped: targets that lose it.
    """
    kept = pairs.near if dropped is None else pairs.near & ~dropped
    clear = jax.vmap(lambda m, i: m[i])(inside, pairs.at)
    present = clear & kept[..., None, None]
    days = pairs.offset_days.astype(jnp.float32)[..., None, None]
    return Part(embedding, present, jnp.broadcast_to(days, present.shape))


def fuse(fusion: FusionHead, params: Params, parts: Mapping[str, Part]) -> Float[Array, "*n d"]:
    """The fused embedding, float32; modalities of the head that bring no part are absent."""
    shape = jnp.broadcast_shapes(*(part.present.shape for part in parts.values()))
    nothing = jnp.zeros((1,) * len(shape), bool)
    whole = {
        name: parts[name]
        if name in parts
        else Part(jnp.zeros((*nothing.shape, dim)), nothing, nothing.astype(jnp.float32))
        for name, dim in fusion.inputs
    }
    return fusion.fuse(
        params,
        {name: part.embedding for name, part in whole.items()},
        {name: jnp.broadcast_to(part.present, shape) for name, part in whole.items()},
        {name: jnp.broadcast_to(part.offset_days, shape) for name, part in whole.items()},
    )
