"""The published autoencoder of one sensor (arXiv 2511.11706), exact to the parity fixture.

The baseline that others are compared with. A window is 11 acquisitions of 15 x 15 pixels round the target; every
acquisition becomes 256 numbers, a transformer mixes them over time, and two small layers give the embedding. The
decoder goes the same way back through the same transformer. Layers are in published_layers.py, losses in
published_loss.py, the fusion model in published_fusion.py.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Shaped

from eomm.errors import UsageError
from eomm.modalities import Modality
from eomm.models.interface import Params
from eomm.models.published_fusion import build_fusion
from eomm.models.published_layers import (
    PLACES,
    SIDE,
    WIDTH,
    DateDecoder,
    DateEncoder,
    Expand,
    SeriesTransformer,
    Squeeze,
)

__all__ = ["PublishedDecoder", "PublishedEncoder", "build_decoder", "build_encoder", "build_fusion"]

SIZES: dict[str, dict[str, int]] = {"s1": {"latent": 2, "tokens": 7}, "s2": {"latent": 9, "tokens": 6}}
RANGES = {"reflectance": (0.0, 1.0, 1.0), "dB": (-30.0, 5.0, 35.0)}  # unit: clipped from, to, divided by


@dataclass(frozen=True, kw_only=True)
class PublishedEncoder:
    """The published encoder of one modality.

    Attributes:
        modality: contract of the values.
        latent: length of the embedding.
        tokens: into which the 11 acquisitions are mixed.
        attention_over: "time", or "batch" as released, where each acquisition attends to the same place of the
            other windows of its batch: an embedding then depends on what it is computed with.
    """

    modality: Modality
    latent: int
    tokens: int
    attention_over: str = "time"

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.latent

    @property
    def frames(self) -> tuple[int, int]:
        """Usable acquisitions before and after the target."""
        return PLACES // 2, PLACES // 2

    @property
    def halo(self) -> int:
        """Pixels beyond the target on every side."""
        return SIDE // 2

    def init(self, rng: Array) -> Params:
        """Fresh parameters: {"date": …, "series": …, "latent": …}; "series" is the decoder's too."""
        return jax.jit(self._init)(rng)

    def _init(self, rng: Array) -> Params:
        date, series, latent = jax.random.split(rng, 3)
        x, days = jnp.zeros((1, PLACES, WIDTH)), jnp.zeros((1, PLACES), jnp.int32)
        return {
            "date": DateEncoder().init(date, jnp.zeros((1, SIDE, SIDE, len(self.modality.bands))), train=False)[
                "params"
            ],
            "series": SeriesTransformer().init(series, x, days, train=False)["params"],
            "latent": self._squeeze.init(latent, x)["params"],
        }

    def scale(self, values: Shaped[Array, "*n c"]) -> Float[Array, "*n c"]:
        """Values as stored to the range the model reads: reflectance in [0, 1], radar (dB + 30) / 35 in [0, 1]."""
        return model_input(self.modality, values)

    def encode(
        self,
        params: Params,
        windows: Float[Array, "b 11 15 15 c"],
        days: Int32[Array, "b 11"],
        *,
        rng: Array | None = None,
    ) -> Float[Array, "b d"]:
        """Embeddings of whole windows.

        Args:
            params: of this encoder.
            windows: scaled, gaps filled (`fill`).
            days: since the window's first acquisition; more than 200 count as 200.
            rng: for dropout; none without.
        """
        date_rng, series_rng = (None, None) if rng is None else jax.random.split(rng)
        vectors = self.encode_dates(params, windows.reshape(-1, *windows.shape[2:]), rng=date_rng)
        return self.encode_series(params, vectors.reshape(-1, PLACES, WIDTH), days, rng=series_rng)

    def encode_dates(
        self, params: Params, patches: Float[Array, "n 15 15 c"], *, rng: Array | None = None
    ) -> Float[Array, "n 256"]:
        """The 256 numbers of single acquisitions: nothing of the rest of the window enters, the fill aside."""
        return cast(Array, DateEncoder().apply({"params": params["date"]}, patches, **mode(rng)))

    def encode_series(
        self,
        params: Params,
        vectors: Float[Array, "b 11 256"],
        days: Int32[Array, "b 11"],
        *,
        rng: Array | None = None,
    ) -> Float[Array, "b d"]:
        """Embeddings from the numbers of each window's acquisitions."""
        x = SeriesTransformer().apply(
            {"params": params["series"]}, vectors, days, over=self.attention_over, **mode(rng)
        )
        return cast(Array, self._squeeze.apply({"params": params["latent"]}, x))

    @property
    def _squeeze(self) -> Squeeze:
        return Squeeze(self.latent, self.tokens)


@dataclass(frozen=True, kw_only=True)
class PublishedDecoder:
    """The published decoder of one modality.

    Attributes:
        modality: whose values it gives.
        dim: length of the embedding.
        tokens: as the encoder's.
    """

    modality: Modality
    dim: int
    tokens: int

    def init(self, rng: Array) -> Params:
        """Fresh parameters: {"expand": …, "date": …}; the transformer is the encoder's."""
        return jax.jit(self._init)(rng)

    def _init(self, rng: Array) -> Params:
        expand, date = jax.random.split(rng)
        return {
            "expand": Expand(self.tokens).init(expand, jnp.zeros((1, self.dim)))["params"],
            "date": self._date.init(date, jnp.zeros((1, WIDTH)), train=False)["params"],
        }

    def reconstruct(
        self,
        params: Mapping[str, Params],
        embedding: Float[Array, "b d"],
        days: Int32[Array, "b 11"],
        *,
        rng: Array | None = None,
    ) -> Float[Array, "b 11 15 15 c"]:
        """Whole windows in the model's range (`PublishedEncoder.scale`).

        Args:
            params: of the modality, {"encoder": …, "decoder": …}, since the transformer is shared.
            embedding: of the targets.
            days: since each window's first acquisition.
            rng: for dropout; none without.
        """
        series_rng, date_rng = (None, None) if rng is None else jax.random.split(rng)
        own, series = params["decoder"], params["encoder"]["series"]
        x = Expand(self.tokens).apply({"params": own["expand"]}, embedding)
        x = SeriesTransformer().apply({"params": series}, x, days, **mode(series_rng))
        y = cast(Array, self._date.apply({"params": own["date"]}, cast(Array, x).reshape(-1, WIDTH), **mode(date_rng)))
        return y.reshape(-1, PLACES, *y.shape[1:])

    @property
    def _date(self) -> DateDecoder:
        return DateDecoder(len(self.modality.bands))


def build_encoder(modality: Modality, options: Mapping[str, Any]) -> PublishedEncoder:
    """An encoder from plain values; `latent` and `tokens` are the published ones of the modality where not given.

    Raises:
        UsageError: unknown options, a way to attend that is neither "time" nor "batch", a unit without a range.
    """
    known = [f.name for f in dataclasses.fields(PublishedEncoder) if f.name != "modality"]
    fields = SIZES.get(modality.name, {}) | dict(options)
    if set(fields) - set(known) or not {"latent", "tokens"} <= set(fields):
        raise UsageError(
            f"published encoder of {modality.name}: options {sorted(options)}; known are {known}, and latent and "
            f"tokens are needed for modalities other than {', '.join(SIZES)}"
        )
    encoder = PublishedEncoder(modality=modality, **fields)
    if encoder.attention_over not in ("time", "batch"):
        raise UsageError(f"published encoder: attention_over is {encoder.attention_over!r}; expected time or batch")
    if modality.unit not in RANGES:
        raise UsageError(f"published encoder: unit {modality.unit!r} has no range; known are {', '.join(RANGES)}")
    return encoder


def build_decoder(modality: Modality, encoder: Any, options: Mapping[str, Any]) -> PublishedDecoder:
    """The decoder of an encoder. Raises UsageError for options; it has none."""
    if options or not isinstance(encoder, PublishedEncoder):
        raise UsageError(f"published decoder: options {sorted(options)}; it has none, and needs the published encoder")
    return PublishedDecoder(modality=modality, dim=encoder.dim, tokens=encoder.tokens)


def model_input(modality: Modality, values: Shaped[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Values as stored to the published range: clipped, then scaled to [0, 1]. Raises KeyError for other units."""
    low, high, span = RANGES[modality.unit]
    scale, offset = (jnp.asarray([getattr(b, f) for b in modality.bands], jnp.float32) for f in ("scale", "offset"))
    physical = values.astype(jnp.float32) * scale + offset
    return (jnp.clip(physical, low, high) - low) / span


def fill(windows: Float[Array, "*n 11 15 15 c"], valid: Shaped[Array, "*n 11 15 15"]) -> Float[Array, "*n 11 15 15 c"]:
    """Every missing value replaced by its window's mean per band; 0 where a window has no valid value."""
    mask = valid.astype(bool)[..., None]
    return jnp.where(mask, windows, window_mean(windows, valid)[..., None, None, None, :])


def window_mean(windows: Float[Array, "*n 11 15 15 c"], valid: Shaped[Array, "*n 11 15 15"]) -> Float[Array, "*n c"]:
    """Mean per band over a window's valid values; 0 where there is none."""
    mask = valid.astype(bool)[..., None]
    count = jnp.maximum(mask.sum((-4, -3, -2)), 1)
    return jnp.where(mask, windows, 0).sum((-4, -3, -2)) / count


def mode(rng: Array | None) -> dict[str, Any]:
    """Arguments of `apply` that switch dropout on where there is a key."""
    return {"train": rng is not None, "rngs": {} if rng is None else {"dropout": rng}}
