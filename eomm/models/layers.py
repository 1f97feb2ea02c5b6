"""Layers of pixels, with the backward passes that a CPU wants: what a network is made of, not the networks.

XLA on a CPU (jax 0.10.2) computes what is elementwise again for every use, and with it the nine products of a depthwise
sum. It stores what a matrix product reads as it is, with no change of shape between. Therefore what is used twice here
has one axis of pixels, and sums over pixels or channels are products.
There are no forward-mode derivatives (`jax.jvp`) of what has a backward pass of its own.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

WRITTEN_OUT = 64  # acquisitions, up to which a sum over them is written out term by term: quicker on a CPU


def dense(width: int, dtype: str, name: str, *, use_bias: bool = True) -> nn.Dense:
    """A pointwise layer whose product has one axis of pixels.

    With several the gradient of its weights is a sum over all of them, for which XLA on a CPU copies its factors: of
    64 x 128 weights 303 instead of 142 ns a pixel (jax 0.10.2).
    """
    return nn.Dense(width, dtype=dtype, use_bias=use_bias, dot_general=_product_of_pixels, name=name)


def _product_of_pixels(x: Array, kernel: Array, dimension_numbers: Any, **options: Any) -> Array:
    return product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[1])


@jax.custom_vjp
def product(x: Float[Array, "n i"], kernel: Float[Array, "i o"]) -> Float[Array, "n o"]:
    """A matrix product; the gradient of its weights is made with the narrower factor first.

    The other way XLA on a CPU takes 210 instead of 120 ns a pixel for 128 x 64 weights, 140 instead of 40 for 128 x 10.
    """
    return jnp.matmul(x, kernel)


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel), (x, kernel)


def _product_backward(kept: tuple[Array, Array], given: Array) -> tuple[Array, Array]:
    x, kernel = kept
    if kernel.shape[0] <= kernel.shape[1]:
        return given @ kernel.T, x.T @ given
    return given @ kernel.T, jax.lax.optimization_barrier(given.T @ x).T  # without it XLA swaps the factors again


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def relu(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """As `jax.nn.relu`; its backward pass reads the result and not what led to it.

    Written as a choice. A maximum counts as cheap: XLA would make it, and what leads to it, again for the gradient. And
    in dense embedding it joins it with the products and norms around to one call of its library for a CPU, which takes
    longer than they do: features of a pixel 1,220 instead of 1,020 ns of a core, attention 2,500 instead of 1,940.
    """
    return jnp.where(x < 0, 0, x)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    y = relu(x)
    return y, y


def _relu_backward(y: Array, given: Array) -> tuple[Array]:
    return (jnp.where(y > 0, given, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def norm(x: Array, name: str, dtype: str) -> Array:
    """Normalise over channels only, in float32: a pixel never depends on another, or on its batch."""
    return LayerNorm(name=name)(x.astype(jnp.float32)).astype(dtype)


class LayerNorm(nn.Module):
    """As `flax.linen.LayerNorm`, with the same parameters; the backward pass takes a CPU a third of the time."""

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Zero mean and unit variance over the last axis, then scale and bias."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return normalised(x, scale, self.param("bias", nn.initializers.zeros, x.shape[-1:]))


@jax.custom_vjp
def normalised(x: Float[Array, "*n d"], scale: Float[Array, " d"], bias: Float[Array, " d"]) -> Float[Array, "*n d"]:
    """Zero mean and unit variance over the last axis, then scale and bias."""
    return _normalised_forward(x, scale, bias)[0]


def _normalised_forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.maximum(0.0, (x * x).mean(-1, keepdims=True) - mean * mean)
    rate = jax.lax.rsqrt(variance + 1e-6)
    return (x - mean) * (rate * scale) + bias, (x, mean, rate, scale)


def _normalised_backward(kept: tuple[Array, ...], given: Array) -> tuple[Array, Array, Array]:
    """All sums, over channels and over pixels, are products with a vector, on one axis of pixels.

    As sums XLA makes of it what takes 210 ns a pixel of 64 channels on a CPU, so 75 (jax 0.10.2; accelerators were not
    measured). A product's factor is stored, so that nothing that leads to `given` is computed twice.
    """
    x, mean, rate, scale = kept
    exact = partial(jnp.matmul, precision="highest")
    centred = x.reshape(-1, len(scale)) - mean.reshape(-1, 1)
    flat, rate = given.reshape(centred.shape), rate.reshape(-1, 1)
    both, weights = flat * centred, scale[:, None] / len(scale)
    turned = rate * (flat * scale - exact(flat, weights) - centred * (rate * rate * exact(both, weights)))
    of_bias = exact(jnp.ones((1, len(flat)), flat.dtype), flat)[0]
    return turned.reshape(x.shape), exact(rate.T, both)[0], of_bias


normalised.defvjp(_normalised_forward, _normalised_backward)


def mlp(x: Array, width: int, out: int, dtype: str, name: str) -> Array:
    """Two pointwise layers, 2 x wide inside; relu costs half of gelu on a CPU."""
    hidden = relu(dense(2 * width, dtype, f"{name}_in")(x.reshape(-1, x.shape[-1])))
    return dense(out, dtype, f"{name}_out")(hidden).reshape(*x.shape[:-1], out)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Float[Array, "b t h w d"], kernel: Float[Array, "3 3 d"], dilation: int) -> Float[Array, "b t y z d"]:
    """Depthwise 3x3 without padding, as nine shifted multiply-adds: 34x XLA's grouped convolution on CPU (jax 0.10)."""
    parts = _shifted(x, dilation)
    flat = (part.reshape(-1, part.shape[-1]) for part in parts)
    first, *rest = (part * weight for part, weight in zip(flat, kernel.reshape(9, -1), strict=True))
    return sum(rest, start=first).reshape(parts[0].shape)


def _shifted(x: Array, dilation: int) -> list[Array]:
    """The nine pixels around each."""
    height, width = x.shape[2] - 2 * dilation, x.shape[3] - 2 * dilation
    places = [(i * dilation, j * dilation) for i in range(3) for j in range(3)]
    return [x[:, :, i : i + height, j : j + width] for i, j in places]


def _depthwise_forward(x: Array, kernel: Array, dilation: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, dilation), (x, kernel)


def _depthwise_backward(dilation: int, kept: tuple[Array, Array], given: Array) -> tuple[Array, Array]:
    """The kernel's gradient is summed over time first, as multiply-adds, then over pixels by a product with ones.

    As nine sums over all axes, which is what XLA makes of it, it takes 490 ns a pixel on a CPU, so 72 (jax 0.10.2;
    accelerators were not measured). The first acquisitions are written out, not all: each costs compilation.
    """
    x, kernel = kept

    def over_pixels(part: Array) -> Array:
        first, *rest = (part[:, i] * given[:, i] for i in range(min(part.shape[1], WRITTEN_OUT)))
        total = sum(rest, start=first)
        if part.shape[1] > WRITTEN_OUT:
            total += jnp.sum(part[:, WRITTEN_OUT:] * given[:, WRITTEN_OUT:], axis=1)
        flat = total.reshape(-1, part.shape[-1])
        return jnp.matmul(jnp.ones(len(flat), flat.dtype), flat, precision="highest")

    edge = (2 * dilation, 2 * dilation)
    padded = jnp.pad(given, ((0, 0), (0, 0), edge, edge, (0, 0)))
    sums = jnp.stack([over_pixels(part) for part in _shifted(x, dilation)])
    return depthwise(padded, kernel[::-1, ::-1], dilation), sums.reshape(kernel.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
