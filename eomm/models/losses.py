"""Weighted, masked losses as (sum, weight) pairs, so that they add up over devices and microbatches."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SumCount = tuple[Array, Array]
SSIM_C1, SSIM_C2 = 1e-4, 9e-4  # (0.01, 0.03) squared, for values of range 1


def mean_absolute_error(
    predicted: Float[Array, "*n c"], observed: Float[Array, "*#n c"], weight: Float[Array, "*n"]
) -> SumCount:
    """Sum over positions of weight times the error's mean over bands, and the sum of weights."""
    error = jnp.mean(jnp.abs(predicted - observed), axis=-1)
    # where, not a product: what is invalid may hold anything
    return jnp.sum(jnp.where(weight > 0, error * weight, 0.0)), jnp.sum(weight)


def spectral_angle(
    predicted: Float[Array, "*n c"], observed: Float[Array, "*#n c"], weight: Float[Array, "*n"]
) -> SumCount:
    """Weighted sum of the angle in radians between spectra (Kruse et al. 1993, doi 10.1016/0034-4257(93)90013-N).

    The cosine is clamped to 1 - 1e-6, where the angle's derivative is still finite.
    """
    product = jnp.sum(predicted * observed, axis=-1)
    # inside the root, so that the gradient at a zero spectrum is finite
    norms = jnp.sqrt(jnp.sum(predicted**2, -1) * jnp.sum(observed**2, -1) + 1e-12)
    angle = jnp.arccos(jnp.clip(product / norms, -1 + 1e-6, 1 - 1e-6))
    return jnp.sum(jnp.where(weight > 0, angle * weight, 0.0)), jnp.sum(weight)


def structural_dissimilarity(predicted: Float[Array, "*n y x c"], observed: Float[Array, "*n y x c"]) -> SumCount:
    """Sum of 1 - SSIM over all positions and bands, and their number (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    For values of range 1; windows are Gaussian, 7 x 7 with sigma 1.5, and see zeros beyond the border.
    """
    mean_p, mean_o = smooth(predicted), smooth(observed)
    variance_p = smooth(predicted**2) - mean_p**2
    variance_o = smooth(observed**2) - mean_o**2
    covariance = smooth(predicted * observed) - mean_p * mean_o
    likeness = (2 * mean_p * mean_o + SSIM_C1) * (2 * covariance + SSIM_C2)
    likeness /= (mean_p**2 + mean_o**2 + SSIM_C1) * (variance_p + variance_o + SSIM_C2)
    return jnp.sum(1 - likeness), jnp.asarray(likeness.size, jnp.float32)


def smooth(x: Float[Array, "*n y x c"]) -> Float[Array, "*n y x c"]:
    """Gaussian mean of 7 x 7 pixels, sigma 1.5, zeros beyond the border; as shifted sums, one axis at a time."""
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    for axis in (x.ndim - 3, x.ndim - 2):
        size = x.shape[axis]
        wide = jnp.pad(x, [(3, 3) if i == axis else (0, 0) for i in range(x.ndim)])
        parts = [float(k) * jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i, k in enumerate(kernel)]
        x = sum(parts[1:], parts[0])
    return x


def ratio(pair: SumCount) -> Array:
    """The mean, 0 where nothing counts."""
    total, count = pair
    return total / jnp.maximum(count, 1e-6)
