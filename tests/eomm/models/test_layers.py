"""Layers of pixels give what their plain forms give, and the same gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.models import layers
from eomm.models.layers import dense, depthwise, norm, relu


def test_shifted_multiply_adds_are_a_depthwise_convolution():
    x, kernel = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(1, 2, 11, 12, 5), (3, 3, 5)]))
    dims = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(
        x[0], kernel[:, :, None], (1, 1), "VALID", rhs_dilation=(2, 2), dimension_numbers=dims, feature_group_count=5
    )
    np.testing.assert_allclose(depthwise(x, kernel, 2)[0], expected, atol=1e-5)


@jax.jit
def gradients(x, kernel, weights, inside):
    """Of the depthwise sums and of a pointwise layer, first as they are, then as autodiff makes them of plain sums."""

    def written(x, kernel, weights):
        layer = dense(7, "float32", "layer", use_bias=False)
        return layer.apply({"params": {"kernel": weights}}, depthwise(x, kernel, 2))

    def plain(x, kernel, weights):
        cut = lambda i, j: x[:, :, 2 * i : 2 * i + 7, 2 * j : 2 * j + 8]  # noqa: E731
        return sum(cut(i, j) * kernel[i, j] for i in range(3) for j in range(3)) @ weights

    return [jax.grad(lambda *a, f=f: jnp.sum(f(*a) * inside), (0, 1, 2))(x, kernel, weights) for f in (written, plain)]


@pytest.mark.parametrize(("time", "written_out"), [(3, layers.WRITTEN_OUT), (4, 2)])
def test_gradients_are_those_of_the_plain_sums(time, written_out, monkeypatch):
    monkeypatch.setattr(layers, "WRITTEN_OUT", written_out)
    shapes = [(2, time, 11, 12, 5), (3, 3, 5), (5, 7), (2, time, 7, 8, 7)]
    found, expected = gradients(*(jax.random.normal(jax.random.key(i), s) for i, s in enumerate(shapes)))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@jax.jit
def pointwise_gradients(params, x, inside):
    """Of a norm, a pointwise layer and relu: as they are, and as Flax and autodiff make them."""
    width = inside.shape[-1]

    class Written(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = relu(dense(width, "float32", "layer")(norm(x, "norm", "float32")).reshape(-1, width))
            return h.reshape(inside.shape)

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Dense(width, name="layer")(nn.LayerNorm(name="norm")(x)))

    def of(network):
        both = jax.value_and_grad(lambda p, x: jnp.sum(network.apply({"params": p}, x) * inside), (0, 1))(params, x)
        return jax.tree.leaves(both)

    return of(Written()), of(Plain())


@pytest.mark.parametrize("width", [3, 9])
def test_norms_layers_and_relu_have_the_gradients_of_their_plain_forms(width):
    """The gradient of weights is made in one order where the layer narrows, in the other where it widens."""
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)  # noqa: E731
    weights = {"layer": {"kernel": draw(0, 5, width), "bias": draw(1, width)}}
    params = weights | {"norm": {"scale": draw(2, 5), "bias": draw(3, 5)}}
    found, expected = pointwise_gradients(params, 3 + draw(4, 2, 3, 4, 6, 5), draw(5, 2, 3, 4, 6, width))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_relu_tells_of_what_is_no_number():
    value, gradient = jax.jit(jax.value_and_grad(lambda x: relu(x).sum()))(jnp.asarray([[1.0, jnp.nan]]))
    assert jnp.isnan(value)
    np.testing.assert_array_equal(gradient, [[1.0, 0.0]])
