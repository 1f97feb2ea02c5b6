"""What a model predicts for hidden targets in one block of a cube. Knows networks only by their interfaces."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int

from eomm.data.cube import Cube
from eomm.models import forward, interface
from eomm.models.decoder import Decoder
from eomm.models.directory import Model
from eomm.models.forward import Part
from eomm.models.interface import META, FusionHead

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


# Compiled once per network and shape, whatever the parameters: models of one architecture share what is compiled.
@partial(jax.jit, static_argnums=0)
def _features(encoder: interface.Encoder, params: Any, values: Any, valid: Any, meta: Any) -> Any:
    if forward.on_cpu():
        return forward.features_one_by_one(encoder, params, values, valid, meta)
    return encoder.features(params, values, valid, meta)


@partial(jax.jit, static_argnums=0)
def _embed(encoder: interface.Encoder, params: Any, features: Any, *what: Any) -> Array:
    return encoder.embed(params, features, *what)


@partial(jax.jit, static_argnums=0)
def _fuse(fusion: FusionHead, params: Any, parts: Any) -> Array:
    return forward.fuse(fusion, params, parts)


@partial(jax.jit, static_argnums=(0, 1))
def _decode(decoder: Decoder, frames: tuple[int, int], params: Any, z: Array, meta: Any, *which: Array) -> Array:
    targets, hidden = which
    return decoder.decode_targets(params, z, meta, targets, hidden, frames)


class Predictor:
    """Embeds and decodes hidden targets of `reference` in one block after another.

    Of the model's embedding only the first `length` numbers are used, as if no more had been stored; all when None.
    """

    def __init__(self, model: Model, reference: str, *, length: int | None = None):
        model.check_length(length)
        self.model, self.reference = model, reference
        self.length = length or model.dim
        self.methods = ["encoder"] + (["fused", "fused_alone"] if model.fusion else [])
        self.others = [n for n in model.encoders if n != reference] if model.fusion else []

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
        encoder = self.model.encoders[name]
        inside = interface.crop(jnp.asarray(valid), encoder.halo)
        return Seen(batch=batch, inside=inside, features=_features(encoder, params, values, valid, meta))

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
        what = (seen.inside, seen.batch["day"], index, hidden[None])
        z = _embed(self.model.encoders[name], params, seen.features, *what)
        return z if self.model.fusion else self._cut(z)

    def embed_other(
        self,
        name: str,
        seen: Seen,
        target_days: Int[np.ndarray, " n"],
        missing: Bool[np.ndarray, "n t"] | None = None,
    ) -> Part:
        """The nearest acquisition of another modality; those in `missing` do not exist for a target (default: none)."""
        assert self.model.fusion is not None
        days, day = jnp.asarray(target_days, jnp.int32)[None], jnp.asarray(seen.batch["day"])
        gone = np.zeros((1, len(target_days), day.shape[1]), bool) if missing is None else missing[None]
        reach = forward.reach(self.model.modalities[name], self.model.fusion)
        pairs = forward.pair(days, day, jnp.asarray(~gone), reach)
        params = self.model.params[name]["encoder"]
        what = (seen.inside, seen.batch["day"], pairs.at, gone)
        z = _embed(self.model.encoders[name], params, seen.features, *what)
        return forward.follow(z, seen.inside.astype(bool), pairs)

    def predict(
        self,
        seen: Seen,
        targets: Int[np.ndarray, " n"],
        hidden: Bool[np.ndarray, "n t"],
        others: Mapping[str, Part],
    ) -> dict[str, Float32[np.ndarray, "n p c"]]:
        """Physical values at the targets by each of `methods`; pixels in row-major order."""
        z = self.embed(seen, targets, hidden)
        out = {"encoder": self.decode(z, seen, targets, hidden)}
        for method in self.methods[1:]:
            fused = self.fuse(z, others, alone=method == "fused_alone")
            out[method] = self.decode(self.project(fused), seen, targets, hidden)
        return out

    def decode(
        self, z: Array, seen: Seen, targets: Int[np.ndarray, " n"], hidden: Bool[np.ndarray, "n t"]
    ) -> Float32[np.ndarray, "n p c"]:
        """Physical values at the targets from embeddings of the reference encoder, or projected to them."""
        name, index = self.reference, jnp.asarray(targets, jnp.int32)[None]
        meta, frames = {k: jnp.asarray(seen.batch[k]) for k in ("day", *META)}, self.model.encoders[name].frames
        of = (self.model.decoders[name], frames, self.model.params[name])
        values = np.asarray(_decode(*of, z, meta, index, hidden[None]))
        return values.reshape(len(targets), -1, values.shape[-1])

    def fuse(self, z: Array, others: Mapping[str, Part], *, alone: bool = False) -> Array:
        """The fused embedding [1, n, y, x, d] of the reference's and of the others', or of the reference's alone."""
        assert self.model.fusion is not None
        parts = {self.reference: forward.lead(z), **({} if alone else others)}
        return self._cut(_fuse(self.model.fusion, self.model.params["fusion"], parts))

    def _cut(self, z: Array) -> Array:
        return jnp.where(jnp.arange(z.shape[-1]) < self.length, z, 0)

    def project(self, fused: Array) -> Array:
        """The fused embedding to the reference encoder's, for its decoder."""
        assert self.model.fusion is not None
        return self.model.fusion.project(self.model.params["fusion"], fused)[self.reference]
