"""Simulated cuts: sudden losses of green in a share of the series, which a linear head must tell from the embedding.

Mowing and harvest are what a smooth state loses first, and labels of them are rare; a simulated cut needs none. The
head lives in training alone: a model directory has no place for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.losses import SumCount

RED, INFRARED = "B04", "B08"
SPANS = ((0, 12), (13, 30), (-12, -1))  # days since the cut that the head tells apart
SIZE, RECOVERY_DAYS = (0.2, 0.8), (8.0, 50.0)
LEAST_DROP = 0.1  # of NDVI between the dates before and after; below it a cut is noise
LEAST_DATES = 4
POSITIVES = 3.0  # they are few


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Cuts:
    """What was done to a batch.

    Attributes:
        values: stored values with the cuts in them.
        day: of each sample's cut, whether it was made or not.
        made: of which samples the values were changed.
        seen: at which pixels a cut was made and shows.
    """

    values: Array
    day: Int32[Array, " b"]
    made: Bool[Array, " b"]
    seen: Bool[Array, "b y x"]


def simulate_cuts(rng: Array, data: Mapping[str, Array], modality: Modality, share: float) -> Cuts:
    """Cut a share of samples: from a day on, values move towards a spectrum of little green of the batch.

    By a share drawn from SIZE that falls off over RECOVERY_DAYS; the same at all pixels of a sample.
    """
    what, where, back, how, slow, which = jax.random.split(rng, 6)
    stored, valid, day = (jnp.asarray(data[name]) for name in ("values", "valid", "day"))
    values, valid = stored.astype(jnp.float32), valid.astype(bool)
    batch, bands = values.shape[0], values.shape[-1]
    green = vegetation_index(values, modality)
    logits = jnp.where(valid, -8.0 * green, -1e9).reshape(-1)
    bare = values.reshape(-1, bands)[jax.random.categorical(what, logits, shape=(batch,))]
    count = data["present"].astype(jnp.int32).sum(1)
    after = 1 + (jax.random.uniform(where, (batch,)) * jnp.maximum(count - 2, 1)).astype(jnp.int32)
    pick = jax.vmap(lambda x, i: x[i])
    cut = jnp.maximum(pick(day, after) - jax.random.randint(back, (batch,), 0, 5), pick(day, after - 1) + 1)
    since = (day - cut[:, None]).astype(jnp.float32)
    size = jax.random.uniform(how, (batch, 1), minval=SIZE[0], maxval=SIZE[1])
    recovery = jax.random.uniform(slow, (batch, 1), minval=RECOVERY_DAYS[0], maxval=RECOVERY_DAYS[1])
    moved = jnp.where(since >= 0, size * jnp.exp(-jnp.maximum(since, 0) / recovery), 0.0)[..., None, None, None]
    made = jax.random.bernoulli(which, share, (batch,)) & (count >= LEAST_DATES)
    changed = values * (1 - moved) + bare[:, None, None, None] * moved
    changed = jnp.where(made[:, None, None, None, None] & valid[..., None], changed, values)
    drop = pick(green, after - 1) - pick(vegetation_index(changed, modality), after)
    seen = (drop > LEAST_DROP) & pick(valid, after) & pick(valid, after - 1) & made[:, None, None]
    return Cuts(values=jnp.round(changed).astype(stored.dtype), day=cut, made=made, seen=seen)


def vegetation_index(values: Float[Array, "*n c"], modality: Modality) -> Float[Array, "*n"]:
    """NDVI of stored values, kept finite near zero reflectance."""
    red, infrared = (
        values[..., i] * modality.bands[i].scale + modality.bands[i].offset
        for i in map(modality.band_names.index, (RED, INFRARED))
    )
    return (infrared - red) / jnp.maximum(infrared + red, 0.01)


def check_cuts(modality: Modality) -> None:
    """Raise UsageError where a modality has no vegetation index."""
    if not {RED, INFRARED} <= set(modality.band_names):
        raise UsageError(
            f"config.objective.cuts: {modality.name!r} has bands {' '.join(modality.band_names)}; simulated cuts need "
            f"{RED} and {INFRARED}. Set cuts to 0"
        )


def init_head(rng: Array, dim: int) -> dict[str, Array]:
    """Fresh parameters of the linear head."""
    kernel = jax.nn.initializers.lecun_normal()(rng, (dim, len(SPANS)))
    return {"kernel": kernel, "bias": jnp.full(len(SPANS), -2.0)}


def tell_cuts(
    head: Mapping[str, Array], embedding: Float[Array, "b n y x d"], target_day: Int32[Array, "b n"], cuts: Cuts
) -> SumCount:
    """Cross-entropy of telling each of SPANS from the embedding, where a cut was made and shows; its weight."""
    since = target_day - cuts.day[:, None]
    truth = jnp.stack([(since >= low) & (since <= high) for low, high in SPANS], axis=-1)[:, :, None, None]
    truth = truth.astype(jnp.float32)
    found = optax.sigmoid_binary_cross_entropy(embedding @ head["kernel"] + head["bias"], truth)
    error = jnp.mean(found * jnp.where(truth > 0, POSITIVES, 1.0), axis=-1)
    weight = jnp.broadcast_to(cuts.seen[:, None], error.shape).astype(jnp.float32)
    return jnp.sum(error * weight), jnp.sum(weight)
