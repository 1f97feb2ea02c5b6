"""The published fusion model (arXiv 2511.11706): embeddings of S1 and S2 -> 7 numbers, and back to both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eomm.errors import UsageError
from eomm.models.interface import Params
from eomm.models.published.layers import TransformerLayer, dense

ORDER = ("s1", "s2")  # of the tokens
FUSED = 7
WIDTH = 128


@dataclass(frozen=True, kw_only=True)
class PublishedFusion:
    """The published fusion of Sentinel-1 and Sentinel-2; used as `eomm.models.fusion.Fusion` is.

    The release pairs the nearest radar acquisition however far it is and knows no absence. Here one that is
    farther than the table of days reaches, or is absent for another reason, is left out: neither attended nor
    averaged; both absent give the embedding of two zero vectors.

    Attributes:
        inputs: length of each modality's embedding, "s1" and "s2".
        max_offset_days: an acquisition farther from the target's date is absent; at most 350.
    """

    inputs: tuple[tuple[str, int], ...]
    max_offset_days: int = 350

    @property
    def dim(self) -> int:
        """Length of the fused embedding."""
        return FUSED

    def init(self, rng: Array) -> Params:
        """Fresh parameters: 314,079 with the published lengths.

        1,024 of them (`unused`, 7 -> 128) lie in the released weights and are never called; they are kept so that
        counts and checkpoints agree.
        """
        one = [jnp.zeros((1, dim)) for _, dim in self.inputs]
        return jax.jit(self._network.init)(rng, one, jnp.zeros(1, jnp.int32), jnp.ones((1, 2), bool))["params"]

    def fuse(
        self,
        params: Params,
        embeddings: Mapping[str, Float[Array, "... _"]],
        present: Mapping[str, Bool[Array, "..."]],
        offset_days: Mapping[str, Float[Array, "..."]],
        *,
        rng: Array | None = None,
    ) -> Float[Array, "*n d"]:
        """The fused embedding, float32; arguments as in `Fusion.fuse`, with dropout where a key is given."""
        seen = jnp.stack(jnp.broadcast_arrays(*(present[n] for n in ORDER)), axis=-1)
        pair = jnp.abs(offset_days["s1"] - offset_days["s2"])
        days = jnp.rint(jnp.where(seen.all(-1), pair, 0)).astype(jnp.int32)
        z = [jnp.where(seen[..., i, None], embeddings[n], 0) for i, n in enumerate(ORDER)]
        flat = [x.reshape(-1, x.shape[-1]) for x in z]
        seen_flat = (seen | ~seen.any(-1, keepdims=True)).reshape(-1, len(ORDER))
        rngs = {} if rng is None else {"dropout": rng}
        args = (flat, days.reshape(-1), seen_flat, rng is not None)
        fused = cast(Array, self._network.apply({"params": params}, *args, rngs=rngs))
        return fused.reshape(*days.shape, FUSED)

    def project(self, params: Params, fused: Float[Array, "*n d"]) -> dict[str, Float[Array, "*n _"]]:
        """From the fused embedding to what each modality's decoder reads."""
        out = self._network.apply({"params": params}, fused, method=PublishedFusionNetwork.project)
        return cast(dict[str, Array], out)

    def macs(self) -> int:
        """Multiply-adds per pixel-date, counted from the layers' shapes."""
        d = WIDTH
        layer = len(ORDER) * (4 * d * d + 2 * 256 * d) + 2 * len(ORDER) ** 2 * d
        return sum(dim for _, dim in self.inputs) * d + 2 * layer + d * FUSED

    @property
    def _network(self) -> "PublishedFusionNetwork":
        return PublishedFusionNetwork(dims=self.inputs)


def build_fusion(dims: Mapping[str, int], options: Mapping[str, Any]) -> PublishedFusion:
    """A fusion model over encoders of these lengths. Raises UsageError for other modalities or unknown options."""
    fusion = PublishedFusion(inputs=tuple(sorted(dims.items())), max_offset_days=options.get("max_offset_days", 350))
    if tuple(n for n, _ in fusion.inputs) != ORDER or set(options) - {"max_offset_days"}:
        raise UsageError(
            f"published fusion: modalities {sorted(dims)}, options {sorted(options)}; it is of s1 and s2, and its "
            "one option is max_offset_days"
        )
    if not 0 <= fusion.max_offset_days <= 350:
        raise UsageError(f"published fusion: max_offset_days is {fusion.max_offset_days}; its table has 0 to 350")
    return fusion


class PublishedFusionNetwork(nn.Module):
    """See PublishedFusion."""

    dims: tuple[tuple[str, int], ...]

    def setup(self) -> None:
        """Layers; shared by the call and `project`."""
        self.tokens = [dense(WIDTH, f"in_{n}") for n, _ in self.dims]
        self.types = self.param("types", nn.initializers.normal(1.0), (len(self.dims), WIDTH))
        self.days = self.param("days", nn.initializers.normal(1.0), (351, WIDTH))
        self.layers = [TransformerLayer(4, 256, 0.1, norm_first=True, name=f"layer_{i}") for i in range(2)]
        self.norm = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")
        self.fused = dense(FUSED, "fused")
        self.unused = dense(WIDTH, "unused")
        self.outputs = {n: dense(dim, f"out_{n}") for n, dim in self.dims}

    def __call__(self, embeddings: list[Array], pair_days: Array, seen: Array, train: bool = False) -> Array:
        """Embeddings [n, dim], days between the pair [n], tokens that count [n, 2] -> [n, 7]."""
        x = jnp.stack([layer(z) for layer, z in zip(self.tokens, embeddings, strict=True)], axis=1) + self.types
        rows = jnp.stack([jnp.zeros_like(pair_days), jnp.clip(pair_days, 0, 350)], axis=1)
        x = x + self.days[rows] / WIDTH**0.5
        for layer in self.layers:
            x = layer(x, train=train, seen=seen)
        weight = seen[..., None].astype(x.dtype)
        fused = nn.softplus(self.fused(self.norm((x * weight).sum(1) / weight.sum(1))))
        if self.is_initializing():
            self.unused(fused)
            self.project(fused)
        return fused

    def project(self, fused: Array) -> dict[str, Array]:
        """See `PublishedFusion.project`."""
        return {name: layer(fused) for name, layer in self.outputs.items()}
