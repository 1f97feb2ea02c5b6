"""The decoder of one modality: an embedding and an offset in space and time -> the values there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.interface import FAR_DAYS, GEOMETRY, META, Meta, Params, check_options, nearest_seen
from eomm.models.layers import dense, relu

Queries = Mapping[str, Array]  # each [b, n, j]
QUERY_FIELDS = ("days", "day", "dy", "dx", "same_orbit", "direction", "incidence")
SEEN_FIELDS = ("seen_before", "seen_after")
YEAR = 365.2425


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Decodes an embedding at offsets shared by all pixels of a target acquisition.

    Unlike the encoder it knows the day of year of what it decodes, and for radar the orbit.

    Attributes:
        modality: whose values it gives.
        dim: length of the embedding.
        width: hidden channels.
        leading: how many leading numbers of the embedding also go straight to the values, by a linear map: where
            these are a state of the bands, the rest learns what it leaves. 0: none.
        geometry: whether it also knows view and sun of what it decodes (`geometry_features`), for optical sensors.
        nearest: whether it also knows how far the nearest dates are that the target saw before and after itself.
        dtype: of the computation.
    """

    modality: Modality
    dim: int
    width: int = 128
    leading: int = 0
    geometry: bool = False
    nearest: bool = False
    dtype: str = "float32"

    def init(self, rng: Array) -> Params:
        """Fresh parameters."""
        queries = {name: jnp.zeros((1, 1, 1)) for name in (*QUERY_FIELDS, *SEEN_FIELDS)}
        embedding = jnp.zeros((1, 1, 1, 1, self.dim))
        return jax.jit(self._network.init)(rng, embedding, self._features(queries))["params"]

    def decode(
        self, params: Params, embedding: Float[Array, "b n y x d"], queries: Queries
    ) -> Float[Array, "b n j y x c"]:
        """Values in the model's range (`Modality.model_scale`), float32.

        Args:
            params: of this decoder.
            embedding: of the targets.
            queries: `days` from the target's day, `day` decoded (days since 1970-01-01), `dy` and `dx` in pixels,
                `same_orbit` as the target's (0 or 1), `direction` and `incidence` as in `CubeGroup.meta`; where known
                `interface.GEOMETRY`, degrees, NaN or absent where not; for `nearest` what `nearest_seen` gives.
        """
        return cast(Array, self._network.apply({"params": params}, embedding, self._features(queries)))

    def decode_targets(
        self,
        params: Mapping[str, Params],
        embedding: Float[Array, "b n y x d"],
        meta: Meta,
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"],
        frames: tuple[int, int],
    ) -> Float[Array, "b n y x c"]:
        """Physical values of the targets themselves.

        Args:
            params: of the modality, {"encoder": …, "decoder": …}.
            embedding: of the targets.
            meta: of all acquisitions: `day` and what encoders may know of them.
            targets: indices into the time axis.
            hidden: acquisitions that each target did not see; only decoders of whole windows need it.
            frames: of the encoder, likewise.
        """
        known = ("day", *META, *(k for k in GEOMETRY if k in meta))
        at = {k: jnp.take_along_axis(meta[k], targets, axis=1)[..., None] for k in known}
        zero = jnp.zeros(at["day"].shape, jnp.int32)
        same = (at.pop("orbit") != 0).astype(jnp.float32)
        queries = {"days": zero, "dy": zero, "dx": zero, "same_orbit": same, **at}
        queries |= nearest_seen(meta["day"], targets, hidden)
        decoded = self.decode(params["decoder"], embedding, queries)[:, :, 0]
        return decoded * self.modality.spreads + self.modality.centres

    @property
    def _network(self) -> "DecoderNetwork":
        bands = len(self.modality.bands)
        return DecoderNetwork(bands=bands, width=self.width, leading=self.leading, dtype=self.dtype)

    def _features(self, queries: Queries) -> Float[Array, "b n j f"]:
        columns = [query_features(queries)]
        if self.geometry:
            columns.append(geometry_features(queries))
        if self.nearest:
            shape = columns[0].shape[:-1]
            near = [jnp.broadcast_to(jnp.minimum(queries[name], FAR_DAYS) / 60, shape) for name in SEEN_FIELDS]
            columns.append(jnp.stack(near, axis=-1).astype(jnp.float32))
        return jnp.concatenate(columns, axis=-1)


def build_decoder(modality: Modality, dim: int, options: Mapping[str, Any]) -> Decoder:
    """A decoder of embeddings of length `dim` from plain values. Raises UsageError for unknown options."""
    check_options(Decoder, options, f"decoder of {modality.name}", given=("modality", "dim"))
    decoder = Decoder(modality=modality, dim=dim, **dict(options))
    if not 0 <= decoder.leading <= dim:
        raise UsageError(
            f"decoder of {modality.name}: leading is {decoder.leading}; expected 0 to {dim}, the embedding"
        )
    return decoder


def query_features(queries: Queries) -> Float[Array, "b n j f"]:
    """Offsets as numbers of order one."""
    days = queries["days"].astype(jnp.float32)
    season = (2 * np.pi / YEAR) * queries["day"].astype(jnp.float32)
    known = (queries["incidence"] > 0).astype(jnp.float32)
    columns = [days / 60, jnp.abs(days) / 60, queries["dy"] / 7, queries["dx"] / 7]
    columns += [f(2 * np.pi * days / period) for period in (30, 90, 180) for f in (jnp.sin, jnp.cos)]
    columns += [f(k * season) for k in (1, 2) for f in (jnp.sin, jnp.cos)]
    columns += [queries["same_orbit"], queries["direction"], known, known * (queries["incidence"] - 38) / 6]
    return jnp.stack([c.astype(jnp.float32) for c in columns], axis=-1)


def geometry_features(queries: Queries) -> Float[Array, "b n j 6"]:
    """View and sun as numbers of order one, with a flag each; 0 where unknown (NaN or absent; a view of 0 degrees)."""
    view = queries["incidence"].astype(jnp.float32)
    angles = [queries.get(name, jnp.full(view.shape, jnp.nan)) for name in GEOMETRY]
    sun_known = jnp.isfinite(angles[0])
    between_known = jnp.isfinite(angles[1]) & jnp.isfinite(angles[2]) & (view > 0)
    sun, sun_azimuth, view_azimuth = (jnp.nan_to_num(x.astype(jnp.float32)) for x in angles)
    between = jnp.deg2rad(sun_azimuth - view_azimuth)
    tilt = jnp.where(between_known, view / 8, 0.0)  # Sentinel-2 looks aside by up to 12 degrees
    columns = [(view > 0).astype(jnp.float32), view / 8, sun_known.astype(jnp.float32), sun / 50 * sun_known]
    return jnp.stack([*columns, tilt * jnp.cos(between), tilt * jnp.sin(between)], axis=-1)


class DecoderNetwork(nn.Module):
    """MLP of embedding and offset; each enters by its own layer, computed once per target and once per offset."""

    bands: int
    width: int
    leading: int
    dtype: str

    @nn.compact
    def __call__(self, embedding: Array, offsets: Array) -> Array:
        """[b, n, y, x, d] and [b, n, j, f] -> [b, n, j, y, x, bands]."""
        z = dense(self.width, self.dtype, "embedding")(embedding)
        o = nn.Dense(self.width, dtype=self.dtype, name="offset")(nn.relu(nn.Dense(self.width, name="query")(offsets)))
        gate = nn.Dense(self.width, dtype=self.dtype, name="gate")(nn.relu(offsets))
        h = z[:, :, None] * (1 + gate[..., None, None, :]) + o[..., None, None, :]
        shape = (*h.shape[:-1], self.bands)
        h = relu(dense(self.width, self.dtype, "hidden")(relu(h.reshape(-1, self.width))))
        values = dense(self.bands, self.dtype, "values")(h).astype(jnp.float32).reshape(shape)
        if not self.leading:
            return values
        straight = nn.Dense(self.bands, use_bias=False, name="straight")(embedding[..., : self.leading])
        return values + straight[:, :, None]
