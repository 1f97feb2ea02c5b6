import jax
import jax.numpy as jnp
import numpy as np

from eomm.models.published.fourier import convolve

SIZES = (3, 7, 1)


def direct(x, kernels):
    form = ("NHWC", "HWIO", "NHWC")
    sides = [jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=form) for k in kernels]
    return jnp.concatenate(sides, axis=-1)


def test_spectra_convolve_as_sums_do_with_their_gradients():
    side, keys = 15, jax.random.split(jax.random.key(0), 5)
    x = jax.random.normal(keys[0], (3, side, side, 5))
    kernels = [jax.random.normal(k, (s, s, 5, 4)) / s for k, s in zip(keys[1:], SIZES, strict=False)]
    seed = jax.random.normal(keys[4], (3, side, side, 12))

    def both(form):
        result, back = jax.vjp(form, x, kernels)
        return result, back(seed)

    found, expected = (jax.jit(both, static_argnums=0)(form) for form in (convolve, direct))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)
    small = x[:, :6, :6]
    np.testing.assert_allclose(jax.jit(convolve)(small, kernels), direct(small, kernels), atol=1e-5)
