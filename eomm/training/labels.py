"""A head that tells a record's label from the embedding, per date and per series; it lives in training alone.

Records that carry labels have the field `label` [b] int32, below 0 where unknown; others count for nothing here. Sets
of a mixture may have labels of their own: those of one name are one class.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Shaped

from eomm.errors import UsageError
from eomm.models.losses import SumCount

WIDTH = 64
SMOOTHING = 0.1
YEAR = 365.2425


def init_head(rng: Array, dim: int, classes: int) -> dict[str, Array]:
    """Fresh parameters of a network of one hidden layer that also knows the day of year."""
    first, second = jax.random.split(rng)
    draw = jax.nn.initializers.lecun_normal()
    return {
        "hidden": draw(first, (dim + 4, WIDTH)),
        "hidden_bias": jnp.zeros(WIDTH),
        "out": draw(second, (WIDTH, classes)),
        "out_bias": jnp.zeros(classes),
    }


def classes_of(manifest: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the classes of a mixture, and the class of each label of one of its sets.

    A class weighs 1 / sqrt(its training records) over the mean of that, so that common ones do not rule.

    Args:
        manifest: of a set, with the whole mixture's `classes` where it is one of several (`Mixture.views`).
        where: the set lies, for messages.

    Raises:
        UsageError: there are fewer than two classes.
    """
    own = manifest.get("labels", {})
    counts = manifest.get("classes", own)
    if len(counts) < 2:
        raise UsageError(
            f"{where}: config.objective.labels is on, but the records carry {len(counts)} labels; prepare points with "
            "a label column of two or more, or set config.objective.labels to 0"
        )
    names = sorted(counts)
    weights = np.array([1 / np.sqrt(max(counts[n], 1)) for n in names])
    return (weights / weights.mean()).astype(np.float32), np.array([names.index(n) for n in sorted(own)], np.int32)


def class_in(label: Int32[Array, " b"] | None, own: Int32[np.ndarray, " label"], count: int) -> Int32[Array, " b"]:
    """Classes of a set's labels; -1 where unknown, as all `count` samples of a set without labels are."""
    if label is None or not len(own):
        return jnp.full(count, -1, jnp.int32)
    return jnp.where(label >= 0, jnp.asarray(own)[jnp.maximum(label, 0)], -1)


def tell_labels(
    head: Mapping[str, Array],
    embedding: Float[Array, "b n y x d"],
    target_day: Int32[Array, "b n"],
    label: Int32[Array, " b"],
    known: Shaped[Array, "b n y x"],
    weights: Float[np.ndarray, " class"],
) -> SumCount:
    """Cross-entropy of the class, mean over the dates of a pixel and the mean of their logits; and its weight.

    Args:
        head: its parameters.
        embedding: of the targets, uncut.
        target_day: days since 1970-01-01.
        label: class of each sample (`class_in`), below 0 where unknown.
        known: where a vector says something.
        weights: of the classes.
    """
    season = (2 * np.pi / YEAR) * target_day.astype(jnp.float32)
    waves = jnp.stack([f(k * season) for k in (1, 2) for f in (jnp.sin, jnp.cos)], axis=-1)
    waves = jnp.broadcast_to(waves[:, :, None, None], (*embedding.shape[:-1], 4))
    hidden = jax.nn.relu(jnp.concatenate([embedding, waves], -1) @ head["hidden"] + head["hidden_bias"])
    logits = hidden @ head["out"] + head["out_bias"]
    seen = known.astype(jnp.float32)
    mean = jnp.sum(logits * seen[..., None], 1, keepdims=True) / jnp.maximum(seen.sum(1), 1.0)[:, None, ..., None]
    chance = jax.nn.log_softmax(jnp.concatenate([logits, mean], axis=1))
    truth = jax.nn.one_hot(label, len(weights))[:, None, None, None]
    error = -jnp.sum(chance * ((1 - SMOOTHING) * truth + SMOOTHING / len(weights)), axis=-1)
    seen = jnp.concatenate([seen, seen.any(1, keepdims=True).astype(jnp.float32)], axis=1)
    own = jnp.where(label >= 0, jnp.asarray(weights)[jnp.maximum(label, 0)], 0.0)
    weight = seen * own[:, None, None, None]
    return jnp.sum(error * weight), jnp.sum(weight)
