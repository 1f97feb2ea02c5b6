"""The default encoder: features once per acquisition, one attention query per target. Nothing depends on the crop.

Design: per acquisition a pointwise layer and three residual blocks with depthwise 3x3 convolutions of dilation
1, 2, 4 without padding (receptive field 15 x 15, halo 7); over time the target's token attends, at its own pixel,
to the tokens of its window, twice over the same keys and values. No pooling, no batch statistics, no position, no
day of year: only differences between days enter, as rotations (Su et al. 2021, arXiv 2104.09864).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Real, Shaped

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.interface import MISSING_BAND, Meta, Params, check_options, no_hidden, window_mask
from eomm.models.layers import dense, depthwise, mlp, norm, relu

DILATIONS = (1, 2, 4)
PERIODS = (5, 11, 23, 47, 97, 193, 389, 769)  # days; integers, so that angles of large day numbers are exact
NEGATIVE = -1e9
SHARED = ("key", "value")  # layers of `TimeNetwork` that stand with the parameters of frames, where models have them

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "heads": 1, "dim": 16},
    "base": {"width": 64, "heads": 4, "dim": 64},
    "large": {"width": 256, "heads": 16, "dim": 128},
}


@dataclass(frozen=True, kw_only=True)
class ContextEncoder:
    """The context encoder of one modality; see `eomm.models.interface.Encoder` for the methods.

    Attributes:
        modality: contract of the values.
        width: channels (D); a multiple of 16 times `heads`.
        heads: attention heads.
        dim: length of the embedding.
        frames: usable acquisitions before and after the target.
        dilations: of the depthwise convolutions, one per residual block; () for a modality of a single pixel, whose
            acquisitions are embedded by a pointwise layer alone.
        use_orbit: whether orbit direction and incidence enter, and acquisitions of the target's orbit are marked.
        start: length of a vector of the target that the query starts from besides its token, such as the state that a
            wrapper has of it (`eomm.models.state`); 0: from its token alone.
        mix: [channel, band + 1], applied to the bands scaled for the model before anything learns from them, the last
            column a constant; none when empty. A wrapper that knows the bands' noise gives them in its units.
        band_flags: whether a band of value `MISSING_BAND` counts as not given: it is zero after scaling, and a flag
            per band tells. For models that also serve sensors with fewer bands.
        dtype: of the computation; softmax and norms are float32 always, parameters too.
    """

    modality: Modality
    width: int = 64
    heads: int = 4
    dim: int = 64
    frames: tuple[int, int] = (8, 8)
    dilations: tuple[int, ...] = DILATIONS
    use_orbit: bool = False
    start: int = 0
    mix: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    band_flags: bool = False
    dtype: str = "float32"

    @property
    def halo(self) -> int:
        """Pixels on every side of the target that reach its embedding."""
        return sum(self.dilations)

    def init(self, rng: Array) -> Params:
        """Fresh parameters: {"frame": …, "time": …}."""
        return jax.jit(self._init)(rng)  # operation by operation it compiles for 25 s

    def _init(self, rng: Array) -> Params:
        size = 2 * self.halo + 1
        frame_rng, time_rng = jax.random.split(rng)
        values = jnp.zeros((1, 1, size, size, len(self.modality.bands)), jnp.int16)
        valid = jnp.ones((1, 1, size, size), bool)
        meta = {name: jnp.zeros((1, 1)) for name in ("orbit", "direction", "incidence")}
        frame = self._frame.init(frame_rng, *self._inputs(values, valid, meta))
        features = self.features({"frame": frame["params"]}, values, valid, meta)
        day = targets = jnp.zeros((1, 1), jnp.int32)
        start = jnp.zeros((1, 1, 1, 1, self.start)) if self.start else None
        time = self._time.init(time_rng, features, valid[..., :1, :1], day, targets, jnp.ones((1, 1, 1), bool), start)
        return {"frame": frame["params"], "time": {k: v for k, v in time["params"].items() if k not in SHARED}}

    def features(
        self, params: Params, values: Real[Array, "b t h w c"], valid: Shaped[Array, "b t h w"], meta: Meta
    ) -> dict[str, Array]:
        """Tokens [b, t, y, x, D] of every acquisition, and its orbit [b, t]."""
        token = self._frame.apply({"params": params["frame"]}, *self._inputs(values, valid, meta))
        return {"token": cast(Array, token), "orbit": meta["orbit"]}

    def embed(
        self,
        params: Params,
        features: Mapping[str, Array],
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
        start: Float[Array, "b n y x s"] | None = None,
    ) -> Float[Array, "b n y x d"]:
        """Embeddings of the targets; see the interface. `start` is what queries start from, where there is one."""
        mask = window_mask(targets, no_hidden(targets, day.shape[1]) if hidden is None else hidden, self.frames)
        weights = params["time"] | {name: params["frame"][name] for name in SHARED}
        out = self._time.apply({"params": weights}, features, valid.astype(bool), day, targets, mask, start)
        return cast(Array, out)

    def macs(self, keys: int | None = None) -> int:
        """Multiply-adds per pixel-date in dense embedding, counted from the layers' shapes.

        Borders are left aside, and that neighbouring groups of targets make the same keys and values again.
        """
        d, keys = self.width, keys or sum(self.frames) + 1
        mixing = len(self.mix) * (len(self.modality.bands) + 1)
        per_acquisition = mixing + self._input_channels * d + len(self.dilations) * (9 * d + 4 * d * d) + 2 * d * d
        attention = 2 * (2 * d * d + 2 * keys * d + 4 * d * d)
        return per_acquisition + self.start * d + attention + 2 * d * d + 2 * d * self.dim

    @property
    def _input_channels(self) -> int:
        bands = len(self.mix) or len(self.modality.bands)
        return bands * (2 if self.band_flags else 1) + 1 + (3 if self.use_orbit else 0)

    @property
    def _frame(self) -> "FrameNetwork":
        return FrameNetwork(width=self.width, dilations=self.dilations, dtype=self.dtype)

    @property
    def _time(self) -> "TimeNetwork":
        return TimeNetwork(width=self.width, heads=self.heads, dim=self.dim, use_orbit=self.use_orbit, dtype=self.dtype)

    def _inputs(self, values: Array, valid: Array, meta: Meta) -> tuple[Array, Array | None]:
        """Scaled bands, the mask and flags of missing bands; and what is known of the acquisition [b, t, 3]."""
        scale, offset = self.modality.model_scale()
        mask = valid.astype(jnp.float32)[..., None]
        scaled = (values.astype(jnp.float32) * scale + offset) * mask
        if self.mix:
            both = jnp.concatenate([scaled, mask], axis=-1)
            scaled = jnp.einsum("kc,...c->...k", jnp.asarray(self.mix, jnp.float32), both, precision="highest")
        channels = [scaled, mask]
        if self.band_flags:
            missing = values == MISSING_BAND
            channels = [jnp.where(missing, 0.0, scaled), mask, missing * mask]
        pixels = jnp.concatenate(channels, axis=-1).astype(self.dtype)
        if not self.use_orbit:
            return pixels, None
        known = (meta["incidence"] > 0).astype(jnp.float32)
        angle = known * (meta["incidence"].astype(jnp.float32) - 38.0) / 6.0
        about = jnp.stack([meta["direction"].astype(jnp.float32), known, angle], axis=-1)
        return pixels, about.astype(self.dtype)


def build_encoder(modality: Modality, options: Mapping[str, Any]) -> ContextEncoder:
    """An encoder from a configuration's plain values; `size` names a row of SIZES, other keys but 0 override it."""
    options = dict(options)
    size = options.pop("size", "base")
    if size not in SIZES:
        raise UsageError(f"context encoder: size {size!r} is unknown; known are {', '.join(SIZES)}")
    check_options(ContextEncoder, options, "context encoder", given=("modality",))
    fields = SIZES[size] | {k: v for k, v in options.items() if k != "dim" or v}  # 0: the size's
    fields |= {name: tuple(fields[name]) for name in ("frames", "dilations") if name in fields}
    fields["mix"] = tuple(tuple(float(v) for v in row) for row in fields.get("mix", ()))
    if any(len(row) != len(modality.bands) + 1 for row in fields["mix"]):
        raise UsageError(f"context encoder: mix has rows of another length than {modality.name}'s bands and a constant")
    if fields["mix"] and fields.get("band_flags"):
        raise UsageError("context encoder: mix takes all bands; band_flags lets some be missing; choose one")
    if any(d < 1 for d in fields.get("dilations", ())):
        raise UsageError(f"context encoder: dilations are {fields['dilations']}; expected numbers from 1, or none")
    return ContextEncoder(modality=modality, **fields)


class FrameNetwork(nn.Module):
    """Per acquisition: [b, t, h, w, c] -> token [b, t, h - 2 halo, w - 2 halo, D]."""

    width: int
    dilations: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, pixels: Array, about: Array | None) -> Float[Array, "b t y x d"]:
        """Scaled bands and mask [b, t, h, w, c], and what is known of the acquisition [b, t, 3] or None."""
        x = dense(self.width, self.dtype, "bands")(pixels)
        if about is not None:
            x = x + dense(self.width, self.dtype, "about")(about)[:, :, None, None]
        x = relu(x)
        for i, dilation in enumerate(self.dilations):
            kernel = self.param(f"depthwise_{i}", nn.initializers.normal(1 / 3), (3, 3, self.width))
            bias = self.param(f"depthwise_bias_{i}", nn.initializers.zeros, (self.width,))
            h = depthwise(norm(x, f"norm_{i}", self.dtype), kernel.astype(self.dtype), dilation)
            x = x[:, :, dilation:-dilation, dilation:-dilation]
            h = relu(h.reshape(-1, self.width) + bias.astype(self.dtype))  # one axis of pixels: layers.py
            x = x + mlp(h, self.width, self.width, self.dtype, f"mlp_{i}").reshape(x.shape)
        x = norm(x, "norm_out", self.dtype)
        if self.is_initializing():
            for name in SHARED:
                dense(self.width, self.dtype, name, use_bias=False)(x)
        return x


class TimeNetwork(nn.Module):
    """The target's token attends to its window, twice; then the embedding."""

    width: int
    heads: int
    dim: int
    use_orbit: bool
    dtype: str

    @nn.compact
    def __call__(
        self,
        features: Mapping[str, Array],
        valid: Array,
        day: Array,
        targets: Array,
        mask: Array,
        start: Array | None = None,
    ) -> Float[Array, "b n y x d"]:
        """`mask` [b, n, t] says which acquisitions each target's window holds; the rest as in `embed`."""
        depth = self.width // self.heads
        split = lambda x: x.reshape(*x.shape[:-1], self.heads, depth)  # noqa: E731
        pick = jax.vmap(lambda x, i: x[i])  # per sample: acquisitions -> targets
        target_day = pick(day, targets)
        turned = partial(Turned, width=self.width, heads=self.heads, dtype=self.dtype)
        keys = split(turned(use_bias=False, name="key")(features["token"], day))
        values = split(turned(use_bias=False, name="value")(features["token"], day))

        # [b, y, x, head, n, t]: a batched matrix product per pixel and head, 5x faster on CPU than sums of products
        # over slices (680,000 against 120,000 pixel-dates per second, D = 64, 16 targets of 32 keys, 2 cores).
        # A logarithm XLA stores; a choice it would make again for every score, and the random draws behind the masks.
        allowed = lambda x: jnp.maximum(jnp.log(x.astype(jnp.float32)), NEGATIVE)  # noqa: E731
        bias = allowed(mask)[:, None, None, None] + allowed(jnp.moveaxis(valid, 1, -1))[..., None, None, :]
        if self.use_orbit:
            orbit = features["orbit"]
            target_orbit = pick(orbit, targets)[..., None]
            same = (orbit[:, None] == target_orbit) & (target_orbit != 0)
            weight = self.param("same_orbit", nn.initializers.zeros, (self.heads,))
            bias = bias + weight[None, None, None, :, None, None] * same[:, None, None, None]

        empty = self.param("empty_token", nn.initializers.normal(1.0), (self.width,)).astype(self.dtype)
        itself = (
            jnp.take_along_axis(mask, targets[..., None], axis=-1)[..., None, None] & pick(valid, targets)[..., None]
        )
        x = jnp.where(itself, pick(features["token"], targets), empty)
        if start is not None:
            x = x + dense(self.width, self.dtype, "start")(start.astype(self.dtype))
        for i in range(2):
            query = split(turned(name=f"query_{i}")(norm(x, f"norm_query_{i}", self.dtype), target_day))
            scores = jnp.einsum("bnyxhd,btyxhd->byxhnt", query, keys).astype(jnp.float32) / math.sqrt(depth) + bias
            null = self.param(f"null_{i}", nn.initializers.zeros, (self.heads, 1, 1))  # attended when nothing else is
            null = jnp.broadcast_to(null, (*scores.shape[:-1], 1))
            attention = jax.nn.softmax(jnp.concatenate([scores, null], axis=-1), axis=-1)[..., :-1]
            seen = jnp.einsum("byxhnt,btyxhd->bnyxhd", attention.astype(self.dtype), values)
            x = x + turned(back=True, name=f"out_{i}")(seen.reshape(x.shape), target_day)
            x = x + mlp(norm(x, f"norm_mlp_{i}", self.dtype), self.width, self.width, self.dtype, f"mlp_{i}")
        x = norm(x, "norm_embedding", self.dtype)
        return mlp(x, self.width, self.dim, self.dtype, "embedding").astype(jnp.float32)


class Turned(nn.Module):
    """A pointwise layer whose result is rotated by the day, or with `back` what it is given, by as much backwards.

    Where a day has more pixels than the weights have rows, the weights are rotated instead: the same to rounding.
    """

    width: int
    heads: int
    dtype: str
    use_bias: bool = True
    back: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b t y x c"], day: Int32[Array, "b t"]) -> Float[Array, "b t y x d"]:
        """Of acquisitions or targets, each with its day."""
        pixels = x.reshape(*day.shape, -1, x.shape[-1])
        kernel = self.param("kernel", nn.linear.default_kernel_init, (x.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,)) if self.use_bias else None
        count = pixels.shape[2]  # no integer where shapes are symbolic, as of a portable model
        if not isinstance(count, int) or count <= self.width:
            y = self._layer(self._turn(pixels, -day) if self.back else pixels, kernel, bias)
            y = y if self.back else self._turn(y, day)
        elif self.back:
            y = self._layer(pixels, self._turn(kernel.T, day).swapaxes(-1, -2), bias)
        else:
            y = self._layer(pixels, self._turn(kernel, day), None if bias is None else self._turn(bias[None], day))
        return y.reshape(*x.shape[:-1], self.width)

    def _layer(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        y = jnp.matmul(x, kernel.astype(self.dtype))
        return y if bias is None else y + bias.astype(self.dtype)

    def _turn(self, rows: Array, day: Array) -> Array:
        """[c, D] or [b, t, c, D] for days [b, t] -> [b, t, c, D]."""
        split = rows.reshape(*(rows.shape[:-2] or (1, 1)), rows.shape[-2], self.heads, -1)
        return rotate(split, day[:, :, None, None]).reshape(*day.shape, *rows.shape[-2:])


def rotate(x: Float[Array, "_ _ c h d"], day: Int32[Array, "b t 1 1"]) -> Float[Array, "b t c h d"]:
    """Rotate pairs of channels by the day's angle in each period, so that products depend on differences only."""
    half = x.shape[-1] // 2
    periods = jnp.asarray(np.resize(np.array(PERIODS, np.int32), half))
    angle = (2 * math.pi) * ((day[..., None] % periods).astype(jnp.float32) / periods)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
