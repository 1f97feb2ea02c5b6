"""What a model predicts for hidden targets in one block of a cube. Knows encoders only by their interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int

from eomm.cube import Cube
from eomm.model import Model
from eomm.models import interface
from eomm.objective import make_queries, nearest_acquisition

META = ("orbit", "direction", "incidence")
Batch = dict[str, np.ndarray]  # the fields of a record with a batch axis of one; all usable acquisitions


def read_batch(cube: Cube, name: str, *, row: int, col: int, size: int, halo: int) -> Batch:
    """All usable acquisitions of one modality over a square block and its halo; invalid beyond the cube."""
    group = cube[name]
    usable = np.flatnonzero(group.usable)
    values, valid = group.read(usable, slice(row - halo, row + size + halo), slice(col - halo, col + size + halo))
    meta = {k: v[usable][None] for k, v in group.meta().items()}
    present = np.ones((1, len(usable)), np.uint8)
    return {"values": values[None], "valid": valid[None], "day": group.day[usable][None], "present": present, **meta}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One modality of a block as its encoder has seen it."""

    batch: Batch
    inside: Array
    features: Any


@dataclass(frozen=True, kw_only=True)
class Other:
    """Of another modality, the embedding of the acquisition nearest to each target; arrays [1, n, y, x, …]."""

    embedding: Array
    present: Array
    offset_days: Array


class Predictor:
    """Embeds and decodes hidden targets of `reference`, compiled once for all blocks of one shape."""

    def __init__(self, model: Model, reference: str):
        self.model, self.reference = model, reference
        self.methods = ["encoder"] + (["fused", "fused_alone"] if model.fusion else [])
        self.others = [n for n in model.encoders if n != reference] if model.fusion else []
        self._features = {n: jax.jit(e.features) for n, e in model.encoders.items()}
        self._embed = {n: jax.jit(e.embed) for n, e in model.encoders.items()}
        self._decode = jax.jit(self._decode_physical)

    def see(self, name: str, batch: Batch, blank: Bool[np.ndarray, " t"] | None = None, *, params: Any = None) -> Seen:
        """Features of every acquisition; those in `blank` are emptied first, so that no encoder can look at them.

        `params` are the encoder's, the model's own when None.
        """
        values, valid = batch["values"], batch["valid"]
        if blank is not None:
            valid = valid & ~blank[None, :, None, None]
            values = np.where(valid[..., None], values, 0).astype(values.dtype)
        params = self.model.params[name]["encoder"] if params is None else params
        meta = {k: batch[k] for k in META}
        inside = interface.crop(jnp.asarray(valid), self.model.encoders[name].halo)
        return Seen(batch=batch, inside=inside, features=self._features[name](params, values, valid, meta))

    def embed(
        self,
        seen: Seen,
        targets: Int[np.ndarray, " n"],
        hidden: Bool[np.ndarray, "n t"],
        *,
        params: Any = None,
    ) -> Array:
        """The reference encoder's embeddings [1, n, y, x, d] of targets that may not see what is hidden.

        `params` must be those that `seen` was made with.
        """
        name = self.reference
        params = self.model.params[name]["encoder"] if params is None else params
        index = jnp.asarray(targets, jnp.int32)[None]
        return self._embed[name](params, seen.features, seen.inside, seen.batch["day"], index, hidden[None])

    def embed_other(self, name: str, seen: Seen, target_days: Int[np.ndarray, " n"]) -> Other:
        """The nearest acquisition of another modality, which is never hidden."""
        assert self.model.fusion is not None
        days, batch = jnp.asarray(target_days, jnp.int32)[None], seen.batch
        index = nearest_acquisition(days, jnp.asarray(batch["day"]), jnp.asarray(batch["present"]))
        offset = jnp.take_along_axis(jnp.asarray(batch["day"]), index, axis=1) - days
        params = self.model.params[name]["encoder"]
        z = self._embed[name](params, seen.features, seen.inside, batch["day"], index)
        near = (jnp.abs(offset) <= self.model.fusion.max_offset_days)[..., None, None]
        present = seen.inside[:, index[0]].astype(bool) & near
        shape = present.shape
        return Other(
            embedding=z,
            present=present,
            offset_days=jnp.broadcast_to(offset[..., None, None].astype(jnp.float32), shape),
        )

    def predict(
        self,
        seen: Seen,
        targets: Int[np.ndarray, " n"],
        hidden: Bool[np.ndarray, "n t"],
        others: Mapping[str, Other],
    ) -> dict[str, Float32[np.ndarray, "n p c"]]:
        """Physical values at the targets by each of `methods`; pixels in row-major order."""
        z = self.embed(seen, targets, hidden)
        index = jnp.asarray(targets, jnp.int32)[None]
        at = index[..., None]
        queries = make_queries(
            {k: jnp.asarray(seen.batch[k]) for k in ("day", *META)}, index, at, jnp.zeros_like(at), jnp.zeros_like(at)
        )
        out = {"encoder": self._decode(self.model.params, z, queries)}
        for method in self.methods[1:]:
            fused = self._fuse(z, others, alone=method == "fused_alone")
            out[method] = self._decode(self.model.params, fused, queries)
        return {k: np.asarray(v).reshape(len(targets), -1, v.shape[-1]) for k, v in out.items()}

    def _fuse(self, z: Array, others: Mapping[str, Other], *, alone: bool) -> Array:
        fusion = self.model.fusion
        assert fusion is not None
        shape = z.shape[:-1]
        embeddings, present = {self.reference: z}, {self.reference: jnp.ones(shape, bool)}
        offset_days = {self.reference: jnp.zeros(shape)}
        for name, other in others.items():
            embeddings[name], offset_days[name] = other.embedding, other.offset_days
            present[name] = other.present & (not alone)
        fused = fusion.fuse(self.model.params["fusion"], embeddings, present, offset_days)
        return fusion.project(self.model.params["fusion"], fused)[self.reference]

    def _decode_physical(self, params: Any, z: Array, queries: Mapping[str, Array]) -> Array:
        decoder = self.model.decoders[self.reference]
        decoded = decoder.decode(params[self.reference]["decoder"], z, queries)[:, :, 0]
        return decoded * decoder.modality.spreads + decoder.modality.centres
