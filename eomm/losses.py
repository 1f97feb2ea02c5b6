"""Weighted, masked losses as (sum, weight) pairs, so that they add up over devices and microbatches."""

import jax.numpy as jnp
from jaxtyping import Array, Float

SumCount = tuple[Array, Array]


def mean_absolute_error(
    predicted: Float[Array, "*n c"], observed: Float[Array, "*n c"], weight: Float[Array, "*n"]
) -> SumCount:
    """Sum over positions of weight times the error's mean over bands, and the sum of weights."""
    error = jnp.mean(jnp.abs(predicted - observed), axis=-1)
    # where, not a product: what is invalid may hold anything
    return jnp.sum(jnp.where(weight > 0, error * weight, 0.0)), jnp.sum(weight)


def spectral_angle(
    predicted: Float[Array, "*n c"], observed: Float[Array, "*n c"], weight: Float[Array, "*n"]
) -> SumCount:
    """Weighted sum of the angle in radians between spectra (Kruse et al. 1993, doi 10.1016/0034-4257(93)90013-N).

    The cosine is clamped to 1 - 1e-6, where the angle's derivative is still finite.
    """
    product = jnp.sum(predicted * observed, axis=-1)
    # inside the root, so that the gradient at a zero spectrum is finite
    norms = jnp.sqrt(jnp.sum(predicted**2, -1) * jnp.sum(observed**2, -1) + 1e-12)
    angle = jnp.arccos(jnp.clip(product / norms, -1 + 1e-6, 1 - 1e-6))
    return jnp.sum(jnp.where(weight > 0, angle * weight, 0.0)), jnp.sum(weight)


def ratio(pair: SumCount) -> Array:
    """The mean, 0 where nothing counts."""
    total, count = pair
    return total / jnp.maximum(count, 1e-6)
