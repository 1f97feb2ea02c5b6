"""The fusion head: embeddings of several modalities at one S2 date and pixel -> one embedding. Any subset will do.

What encoders did not learn (`interface.closed_part`, such as a state) stands in front as it is; the rest is fused.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Shaped

from eomm.errors import UsageError
from eomm.models.interface import Params, check_options
from eomm.models.layers import mlp, norm


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """One token per modality (embedding, type, signed offset in days), a small transformer, the fused embedding.

    Attributes:
        inputs: length of each modality's embedding, in a fixed order.
        leading: how many first numbers of a modality's embedding stand in the fused one as they are, 0 where the
            modality is absent; in the order in which they stand.
        dim: length of the fused embedding, with what leads.
        width: channels inside.
        heads: attention heads.
        layers: transformer layers.
        max_offset_days: an acquisition farther from the target's date is absent.
        dtype: of the computation.
    """

    inputs: tuple[tuple[str, int], ...]
    leading: tuple[tuple[str, int], ...] = ()
    dim: int = 64
    width: int = 64
    heads: int = 4
    layers: int = 2
    max_offset_days: int = 12
    dtype: str = "float32"

    @classmethod
    def build(cls, dims: Mapping[str, int], options: Mapping[str, Any]) -> "Fusion":
        """A fusion head over encoders of these lengths.

        Raises:
            UsageError: unknown options, or nothing is left to fuse beside what leads.
        """
        check_options(cls, options, "config.fusion", given=("inputs",))
        leading = tuple((str(name), int(count)) for name, count in options.get("leading", ()))
        head = cls(inputs=tuple(sorted(dims.items())), **{**dict(options), "leading": leading})
        if any(count > dims.get(name, 0) for name, count in leading):
            raise UsageError(f"config.fusion.leading is {leading}; the embeddings' lengths are {dict(dims)}")
        if head.fused < 1:
            counts = ", ".join(f"{count} of {name}" for name, count in leading)
            raise UsageError(f"config.fusion.dim is {head.dim}, of which {counts} lead; give it more, to fuse the rest")
        return head

    @property
    def fused(self) -> int:
        """How many numbers are fused."""
        return self.dim - sum(count for _, count in self.leading)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Lengths that are embeddings too: with each modality's leading numbers, and all."""
        lengths = itertools.accumulate([*(count for _, count in self.leading), self.fused])
        return tuple(lengths) if self.leading else ()

    def init(self, rng: Array) -> Params:
        """Fresh parameters."""
        one = {name: jnp.zeros((1, dim)) for name, dim in self.inputs}
        flags = {name: jnp.ones((1,), bool) for name, _ in self.inputs}
        days = {name: jnp.zeros((1,)) for name, _ in self.inputs}
        return jax.jit(self._network.init)(rng, one, flags, days)["params"]

    def fuse(
        self,
        params: Params,
        embeddings: Mapping[str, Float[Array, "... _"]],
        present: Mapping[str, Bool[Array, "..."]],
        offset_days: Mapping[str, Float[Array, "..."]],
    ) -> Float[Array, "*n d"]:
        """The fused embedding, float32, finite for any subset of present modalities, also for none.

        Args:
            params: of this head.
            embeddings: of each modality; what is not present may hold anything finite. Here as below the axes of
                one modality may have length 1 where others have more: a single pixel serves them all.
            present: whether the modality has an acquisition near enough that is valid at the pixel.
            offset_days: that acquisition's day minus the target's.
        """
        shape = jnp.broadcast_shapes(*(p.shape for p in present.values()))
        # The tokens of embeddings follow from their sum with those of the offsets.
        present, offset_days = ({n: jnp.broadcast_to(x, shape) for n, x in d.items()} for d in (present, offset_days))
        return cast(Array, self._network.apply({"params": params}, embeddings, present, offset_days))

    def project(self, params: Params, fused: Float[Array, "*n d"]) -> dict[str, Float[Array, "*n _"]]:
        """From the fused embedding to each modality's embedding, for its frozen decoder."""
        out = self._network.apply({"params": params}, fused, method=FusionNetwork.project)
        return cast(dict[str, Array], out)

    def macs(self) -> int:
        """Multiply-adds per pixel-date, counted from the layers' shapes."""
        d, tokens = self.width, len(self.inputs)
        entry = sum(dim for _, dim in self.inputs) * d + 2 * tokens * d
        layer = tokens * (4 * d * d + 4 * d * d) + 2 * tokens * tokens * d
        return entry + self.layers * layer + d * self.fused

    @property
    def _network(self) -> "FusionNetwork":
        return FusionNetwork(spec=self)


build_fusion = Fusion.build  # as every module with a fusion head offers it


class FusionNetwork(nn.Module):
    """See Fusion."""

    spec: Fusion

    def setup(self) -> None:
        """Layers; shared by the call and `project`."""
        s = self.spec
        self.inputs = {name: nn.Dense(s.width, dtype=s.dtype, name=f"in_{name}") for name, _ in s.inputs}
        self.offsets = nn.Dense(s.width, dtype=s.dtype, name="offset")
        self.types = self.param("type", nn.initializers.normal(0.02), (len(s.inputs), s.width))
        self.absent = self.param("absent", nn.initializers.normal(0.02), (len(s.inputs), s.width))
        leads = dict(s.leading)
        usual, nothing = nn.linear.default_kernel_init, nn.initializers.zeros
        # A decoder of what leads is given that from the first step on, and what the fused numbers add is learned.
        self.outputs = {
            name: nn.Dense(dim, dtype=s.dtype, kernel_init=nothing if name in leads else usual, name=f"out_{name}")
            for name, dim in s.inputs
        }
        self.body = FusionBody(spec=s, name="body")

    def __call__(
        self, embeddings: Mapping[str, Array], present: Mapping[str, Array], days: Mapping[str, Array]
    ) -> Array:
        """See `Fusion.fuse`."""
        tokens = []
        for i, (name, _) in enumerate(self.spec.inputs):
            here = present[name][..., None]
            offset = jnp.stack([days[name], jnp.abs(days[name])], axis=-1) / self.spec.max_offset_days
            token = self.inputs[name](embeddings[name]) + self.offsets(offset.astype(jnp.float32))
            tokens.append(
                jnp.where(here, token, self.absent[i].astype(token.dtype)) + self.types[i].astype(token.dtype)
            )
        x = jnp.stack(tokens)
        # One axis of pixels: with a leading axis of length 1 the gradient crashes XLA's CPU compiler (jax 0.10.2).
        fused = self.body(x.reshape(len(tokens), -1, x.shape[-1])).reshape(*x.shape[1:-1], self.spec.fused)
        closed = [
            jnp.where(present[name][..., None], embeddings[name][..., :count], 0.0) for name, count in self.spec.leading
        ]
        fused = jnp.concatenate([*closed, fused], axis=-1) if closed else fused
        if self.is_initializing():
            self.project(fused)
        return fused

    def project(self, fused: Array) -> dict[str, Array]:
        """See `Fusion.project`."""
        projected = {name: layer(fused).astype(jnp.float32) for name, layer in self.outputs.items()}
        begin = 0
        for name, count in self.spec.leading:
            leading = fused[..., begin : begin + count]
            projected[name] = projected[name].at[..., :count].add(leading)
            begin += count
        return projected


class FusionBody(nn.Module):
    """Pre-norm transformer over the modality tokens; absent modalities are learned tokens, so no mask is needed."""

    spec: Fusion

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[modality, n, width] -> [n, dim]."""
        s = self.spec
        depth = s.width // s.heads
        head = jnp.repeat(jnp.eye(s.heads, dtype=s.dtype), depth, axis=0)  # [width, head]: which head a channel is of
        product = partial(jnp.matmul, precision="highest")
        for i in range(s.layers):
            h = norm(x, f"norm_attention_{i}", s.dtype)
            q, k, v = (nn.Dense(s.width, dtype=s.dtype, name=f"{part}_{i}")(h) for part in ("query", "key", "value"))
            # Two or three tokens: every one meets itself, the next, and so on. Sums over a head's channels are products
            # with `head`, which on a CPU a piece alone does faster than sums over a last axis (benchmarks/README.md).
            turns = range(len(x))
            scores = jnp.stack([product(q * jnp.roll(k, t, axis=0), head) for t in turns]).astype(jnp.float32)
            attention = nn.softmax(scores / depth**0.5, axis=0).astype(s.dtype)
            terms = [product(attention[t], head.T) * jnp.roll(v, t, axis=0) for t in turns]
            seen = sum(terms[1:], start=terms[0])
            x = x + nn.Dense(s.width, dtype=s.dtype, name=f"out_{i}")(seen)
            x = x + mlp(norm(x, f"norm_mlp_{i}", s.dtype), s.width, s.width, s.dtype, f"mlp_{i}")
        pooled = norm(x.mean(0), "norm_out", s.dtype)
        return nn.Dense(s.fused, dtype=s.dtype, name="fused")(pooled).astype(jnp.float32)


def nearest_acquisition(
    target_day: Int32[Array, "b n"], day: Int32[Array, "b t"], present: Shaped[Array, "b t"] | Bool[Array, "b n t"]
) -> Int32[Array, "b n"]:
    """Index of the acquisition nearest in time to each target; of two equally near, the earlier."""
    apart = jnp.abs(day[:, None] - target_day[..., None])
    far = jnp.iinfo(jnp.int32).max
    there = present.astype(bool) if present.ndim == 3 else present.astype(bool)[:, None]
    return jnp.argmin(jnp.where(there, apart, far), axis=-1).astype(jnp.int32)
