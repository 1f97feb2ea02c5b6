"""The layers of the published model (arXiv 2511.11706) in Linen, channel-last. Which layers make what is model.py.

Written from a description of the released networks' behaviour. Kernels start as uniform values of variance
1 / (3 fan-in), biases at 0; the description does not say how the release starts.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from eomm.models.published.fourier import convolve

PLACES = 11  # acquisitions of a window
SIDE = 15  # pixels of a window
WIDTH = 256  # numbers per acquisition, 16 channels of 4 x 4 pixels
CHANNELS = 16
START = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def dense(features: int, name: str, *, bias: bool = True) -> nn.Dense:
    """A pointwise layer."""
    return nn.Dense(features, use_bias=bias, kernel_init=START, name=name)


def conv(features: int, size: int, name: str, *, stride: int = 1, padding: int | None = None) -> nn.Conv:
    """A square convolution on [n, y, x, c], zero-padded to the same size unless it is told otherwise."""
    pad = size // 2 if padding is None else padding
    return nn.Conv(features, (size, size), stride, [(pad, pad)] * 2, kernel_init=START, name=name)


def max_pool(x: Array) -> Array:
    """Largest of 3 x 3 pixels, stride 1; beyond the border is nothing."""
    for axis in (1, 2):
        pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
        size, wide = x.shape[axis], jnp.pad(x, pad, constant_values=-jnp.inf)
        shifts = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(shifts[0], shifts[1]), shifts[2])
    return x


class Cbam(nn.Module):
    """Channel gate, then spatial gate, added to the input (after Woo et al. 2018, arXiv 1807.06521).

    Attributes:
        reduction: channels are divided by it inside the channel gate.
        size: of the spatial gate's convolution.
    """

    reduction: int
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[n, y, x, c] -> the same."""
        channels = x.shape[-1]
        pools = jnp.stack([x.max((1, 2)), x.mean((1, 2))])
        hidden = nn.relu(dense(channels // self.reduction, "squeeze", bias=False)(pools))
        gate = nn.sigmoid(dense(channels, "excite", bias=False)(hidden).sum(0))
        gated = x * gate[:, None, None]
        about = jnp.stack([gated.max(-1), gated.mean(-1)], axis=-1)
        return gated * nn.sigmoid(conv(1, self.size, "spatial")(about)) + x


class Block(nn.Module):
    """A convolution and CBAM.

    Attributes:
        features: channels out.
        reduction: of the CBAM.
        size: of the CBAM's convolution.
    """

    features: int
    reduction: int
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[n, y, x, c] -> [n, y, x, features]."""
        x = nn.leaky_relu(conv(self.features, 3, "conv")(x), 0.01)
        return Cbam(self.reduction, self.size, name="gates")(x)


class Kernel(nn.Module):
    """The parameters of a square convolution, named and shaped as Linen's.

    Attributes:
        features: channels out.
        size: of the kernel.
    """

    features: int
    size: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[Array, Array]:
        """Kernel [y, x, channels, features] and bias."""
        kernel = self.param("kernel", START, (self.size, self.size, channels, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class TwoScaleBlock(nn.Module):
    """3 x 3 and 7 x 7 convolutions side by side, joined, and CBAM. 97 % of the encoder's multiply-adds are here."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[n, y, x, c] -> [n, y, x, features]."""
        kernels, biases = zip(*(Kernel(self.features, s, name=f"conv_{s}")(x.shape[-1]) for s in (3, 7)), strict=True)
        sides = nn.leaky_relu(convolve(x, kernels) + jnp.concatenate(biases), 0.1)
        x = nn.leaky_relu(dense(self.features, "join")(sides), 0.01)
        return Cbam(8, 7, name="gates")(x)


class Upsample(nn.Module):
    """Transposed convolution 2 x 2 of stride 2: every pixel becomes four, none overlap."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[n, y, x, c] -> [n, 2 y, 2 x, features]."""
        n, height, width, channels = x.shape
        kernel = self.param("kernel", START, (2, 2, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        four = jnp.einsum("nyxc,abco->nyaxbo", x, kernel)
        return four.reshape(n, 2 * height, 2 * width, self.features) + bias


class DateEncoder(nn.Module):
    """One acquisition of a window -> its 256 numbers."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """[n, 15, 15, band] -> [n, 256], channel first; `train` drops channels."""
        drop = nn.Dropout(0.07, broadcast_dims=(1, 2), deterministic=not train)
        x = nn.silu(dense(149, "bands")(x))
        x = x + max_pool(TwoScaleBlock(149, name="block_1")(x))
        x = drop(nn.silu(conv(128, 2, "down_1", stride=2, padding=0)(x)))
        x = x + max_pool(Block(128, 8, 7, name="block_2")(x))
        x = drop(nn.silu(conv(64, 2, "down_2", stride=2, padding=1)(x)))
        x = Block(CHANNELS, 2, 3, name="block_3")(x)
        return jnp.moveaxis(x, -1, 1).reshape(len(x), WIDTH)


class DateDecoder(nn.Module):
    """The 256 numbers of an acquisition -> its pixels."""

    bands: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """[n, 256] -> [n, 15, 15, bands]; `train` drops channels."""
        drop = nn.Dropout(0.1, broadcast_dims=(1, 2), deterministic=not train)
        x = jnp.moveaxis(x.reshape(len(x), CHANNELS, 4, 4), 1, -1)
        x = x + max_pool(Block(CHANNELS, 8, 7, name="block_1")(x))
        x = drop(nn.silu(Upsample(64, name="up_1")(x)))
        x = x + max_pool(Block(64, 8, 7, name="block_2")(x))
        x = drop(Upsample(128, name="up_2")(x)[:, 1:, 1:])  # padding 1, output padding 1: 16 x 16 less one edge each
        x = TwoScaleBlock(149, name="block_3")(x)
        return conv(self.bands, 3, "values")(nn.silu(conv(self.bands, 3, "refine")(x)))


class TransformerLayer(nn.Module):
    """Self-attention and a pointwise network, with norms before them or after the sums.

    Attributes:
        heads: of attention.
        hidden: width of the pointwise network.
        dropout: of attention, and of what is added.
        norm_first: norms before (pre-norm) instead of after (post-norm).
    """

    heads: int
    hidden: int
    dropout: float
    norm_first: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool, seen: Array | None = None) -> Array:
        """[n, token, d] -> the same; tokens that are not `seen` [n, token] are attended by none."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        norms = [nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=f"norm_{i}") for i in (1, 2)]

        def attend(h: Array) -> Array:
            n, tokens, width = h.shape
            qkv = dense(3 * width, "qkv")(h).reshape(n, tokens, 3, self.heads, width // self.heads)
            query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))
            scores = jnp.einsum("nhqd,nhkd->nhqk", query, key) / (width // self.heads) ** 0.5
            if seen is not None:
                scores = jnp.where(seen[:, None, None], scores, -1e9)
            found = jnp.einsum("nhqk,nhkd->nqhd", drop(nn.softmax(scores)), value)
            return drop(dense(width, "out")(found.reshape(h.shape)))

        def pointwise(h: Array) -> Array:
            return drop(dense(h.shape[-1], "narrow")(drop(nn.relu(dense(self.hidden, "widen")(h)))))

        for norm, step in zip(norms, (attend, pointwise), strict=True):
            x = x + step(norm(x)) if self.norm_first else norm(x + step(x))
        return x


class SeriesTransformer(nn.Module):
    """Positions by days and three layers over a window's acquisitions; encoder and decoder use the same one."""

    rows: int = 201

    @nn.compact
    def __call__(self, x: Array, days: Array, *, train: bool, over: str = "time") -> Array:
        """[b, 11, 256] -> the same.

        Args:
            x: numbers per acquisition.
            days: since the window's first [b, 11]; those beyond the table share its last row.
            train: apply dropout.
            over: "time", or "batch" for the release's mistake.
        """
        table = self.param("positions", nn.initializers.normal(1.0), (self.rows, WIDTH))
        x = x + table[jnp.clip(days, 0, self.rows - 1)] / WIDTH**0.5
        x = jnp.swapaxes(x, 0, 1) if over == "batch" else x
        for i in range(3):
            x = TransformerLayer(8, 8, 0.25, norm_first=False, name=f"layer_{i}")(x, train=train)
        return jnp.swapaxes(x, 0, 1) if over == "batch" else x


class Squeeze(nn.Module):
    """A window's numbers -> its embedding."""

    latent: int
    tokens: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, 11, 256] -> [b, latent], positive."""
        x = nn.selu(dense(CHANNELS, "features")(x))
        x = nn.selu(dense(self.tokens, "tokens")(jnp.swapaxes(x, 1, 2)))
        return nn.softplus(dense(self.latent, "embedding")(x.reshape(len(x), -1)))


class Expand(nn.Module):
    """An embedding -> the numbers of a window's acquisitions, before the transformer."""

    tokens: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """[b, latent] -> [b, 11, 256]."""
        x = nn.softplus(dense(CHANNELS * self.tokens, "embedding")(z)).reshape(-1, self.tokens, CHANNELS)
        x = nn.selu(dense(PLACES, "tokens")(jnp.swapaxes(x, 1, 2)))
        return nn.selu(dense(WIDTH, "features")(jnp.swapaxes(x, 1, 2)))
