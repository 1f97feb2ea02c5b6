"""Terms of the loss on embeddings alone: agreement of vectors from disjoint halves of a window, and decorrelation.

Both divide by a statistic over all embeddings at hand, whatever their order: of the whole batch on one device and on a
mesh alike; of its own part for each device of a pmap and each piece of an accumulated batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from eomm.models.losses import SumCount, ratio
from eomm.training.objective import Objective

Halves = tuple[Bool[Array, "b n t"], Bool[Array, "b n t"]]  # what is hidden from either
SIDE_DAYS = 15.0  # e-folding of what counts as seen around the target


def ramp(progress: Array | float, between: tuple[float, float]) -> Array:
    """0 before the first share of a run's steps, 1 from the second on, straight between them."""
    first, last = between
    return jnp.clip((jnp.asarray(progress, jnp.float32) - first) / max(last - first, 1e-6), 0.0, 1.0)


def split_window(rng: Array, hidden: Bool[Array, "b n t"]) -> Halves:
    """What is hidden from each of two halves: an acquisition not hidden already, the target too, is in one of them."""
    coin = jax.random.bernoulli(rng, 0.5, hidden.shape)
    return hidden | coin, hidden | ~coin


@dataclass(frozen=True, kw_only=True)
class Window:
    """What targets could see.

    Attributes:
        values: in deviations of the bands.
        valid: which of them are seen at all.
        day: days since 1970-01-01.
        targets: indices into the time axis.
    """

    values: Float[Array, "b t y x c"]
    valid: Bool[Array, "b t y x"]
    day: Int32[Array, "b t"]
    targets: Int32[Array, "b n"]

    def around(self, hidden: Bool[Array, "b n t"]) -> tuple[Float[Array, "b n y x c"], Bool[Array, "b n y x"]]:
        """Mean of what is not hidden, near dates more, and where there is any."""
        apart = jnp.abs(self.day[:, None] - jnp.take_along_axis(self.day, self.targets, axis=1)[..., None])
        # At least 1e-8, so that a lone far date still gives a mean.
        near = jnp.where(hidden, 0.0, jnp.exp(-apart / SIDE_DAYS) + 1e-8)
        values = jnp.where(self.valid[..., None], self.values, 0.0)
        total = jnp.einsum("bnt,btyxc->bnyxc", near, values, precision="highest")
        weight = jnp.einsum("bnt,btyx->bnyx", near, self.valid.astype(jnp.float32), precision="highest")
        return total / jnp.maximum(weight, 1e-12)[..., None], weight > 0

    def alike(self, halves: Halves, guard: float) -> Float[Array, "b n y x"]:
        """How much two halves ought to agree at a pixel: 1 where both saw the same, 1/2 where that differs by `guard`.

        The difference is the mean over bands, in deviations; where a half saw nothing they ought not at all.
        """
        (a, has_a), (b, has_b) = (self.around(hidden) for hidden in halves)
        differ = jnp.mean(jnp.abs(a - b), axis=-1)
        return jnp.where(has_a & has_b, guard**2 / (guard**2 + differ**2), 0.0)


def disagreement(
    first: Float[Array, "b n y x d"], second: Float[Array, "b n y x d"], weight: Float[Array, "b n y x"]
) -> SumCount:
    """Squared distance over the vectors' variance, r, as r / (1 + r): bounded, so that few outliers rule nothing."""
    both = (first + second) / 2
    count = jnp.maximum(weight.sum(), 1e-6)
    mean = jnp.sum(both * weight[..., None], (0, 1, 2, 3)) / count
    spread = jnp.sum(jnp.sum((both - mean) ** 2, -1) * weight) / count
    r = jnp.sum((first - second) ** 2, -1) / (jax.lax.stop_gradient(spread) + 1e-3)
    return jnp.sum(r / (1 + r) * weight), jnp.sum(weight)


def correlation(embedding: Float[Array, "b n y x d"], weight: Float[Array, "b n y x"]) -> Array:
    """Mean square of the correlations between different numbers of the embedding; 0 for a single one."""
    z = embedding.reshape(-1, embedding.shape[-1])
    w = weight.reshape(-1, 1) / jnp.maximum(weight.sum(), 1e-6)
    centred = z - jnp.sum(z * w, 0)
    scaled = centred / jnp.sqrt(jnp.sum(centred**2 * w, 0) + 1e-4)  # a number that hardly moves correlates with none
    matrix = jnp.matmul((scaled * w).T, scaled, precision="highest")
    apart = 1 - jnp.eye(len(matrix))
    return ratio((jnp.sum(matrix**2 * apart), jnp.sum(apart)))


def embedding_terms(
    o: Objective,
    window: Window,
    whole: Float[Array, "b n y x d"],
    hidden: Bool[Array, "b n t"],
    halves: Halves,
    embed: Callable[[Array], Float[Array, "b n y x d"]],
    learned: slice,
    progress: Array | float,
) -> tuple[Array, dict[str, SumCount]]:
    """What the terms add to the loss, and their metrics before weighting.

    Args:
        o: the objective.
        window: what targets could see.
        whole: the embeddings that were decoded, uncut.
        hidden: from these.
        halves: from the vectors that ought to agree.
        embed: hidden -> embeddings of the targets.
        learned: which numbers of an embedding the terms are about.
        progress: share of the run's steps that are done.
    """
    total: Array = jnp.zeros(())
    metrics: dict[str, SumCount] = {}
    if o.agreement:
        first, second = (embed(half)[..., learned] for half in halves)
        metrics["disagreement"] = disagreement(first, second, window.alike(halves, o.agreement_guard))
        total += o.agreement * ramp(progress, o.agreement_from) * ratio(metrics["disagreement"])
    if o.decorrelation:
        something = window.around(hidden)[1].astype(jnp.float32)
        metrics["correlation"] = (correlation(whole[..., learned], something), jnp.ones(()))
        total += o.decorrelation * metrics["correlation"][0]
    return total, metrics
