"""The published autoencoder of one sensor (arXiv 2511.11706), exact to the parity fixture.

The baseline that others are compared with. A window is 11 acquisitions of 15 x 15 pixels round the target; every
acquisition becomes 256 numbers, a transformer mixes them over time, and two small layers give the embedding. The
decoder goes the same way back through the same transformer. Layers are in layers.py, losses in
loss.py, the fusion model in fusion.py, how a cube is embedded in dense.py.

What the release leaves open, or solves by inventing dates, is defined so: in the first and last five dates of a
series the places beyond its end lack every value, at the day of the nearest acquisition; where a window spans more
than 200 days, the acquisitions later than that take the position of day 200; where a window never sees its target's
pixel, all its numbers are 0. Such embeddings are finite, and of a kind that training never saw.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Real, Shaped

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.interface import Meta, Params, no_hidden, window_mask
from eomm.models.published.dense import date_features, sees_target, strips, whole_windows, window_places, window_vectors
from eomm.models.published.layers import (
    CHANNELS,
    PLACES,
    SIDE,
    WIDTH,
    DateDecoder,
    DateEncoder,
    Expand,
    SeriesTransformer,
    Squeeze,
)
from eomm.store.fields import Json

SIZES: dict[str, dict[str, int]] = {"s1": {"latent": 2, "tokens": 7}, "s2": {"latent": 9, "tokens": 6}}
TARGETS_AT_ONCE = 64  # in decoding
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

    def features(
        self, params: Params, values: Real[Array, "b t h w c"], valid: Shaped[Array, "b t h w"], meta: Meta
    ) -> dict[str, Array]:
        """What windows take from each acquisition (`published_dense.date_features`); orbits do not enter.

        In a crop of a single pixel whole windows are encoded, 11 acquisitions each: that has a reverse mode.
        """
        self._refuse_batch_attention()
        if values.shape[2:4] == (SIDE, SIDE):
            return {"rows": strips(values, 1), "seen": strips(valid.astype(bool), 1)}
        return date_features(values, valid, self.scale, partial(self.encode_dates, params))

    def embed(
        self,
        params: Params,
        features: dict[str, Array],
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
    ) -> Float[Array, "b n y x d"]:
        """Embeddings of the targets; see the interface. Validity is in the features; no reverse mode, see `features`.

        Raises:
            UsageError: attention runs over the batch.
        """
        self._refuse_batch_attention()
        mask = window_mask(targets, no_hidden(targets, day.shape[1]) if hidden is None else hidden, self.frames)
        encode = partial(self.encode_dates, params)
        if "vectors" not in features:
            index, exists, days = jax.vmap(window_places)(mask, targets, day)
            stored, seen = jax.vmap(whole_windows)(features, index, exists)
            stored, seen, days = (x.reshape(-1, *x.shape[2:]) for x in (stored, seen, days))
            vectors = encode(fill(self.scale(stored), seen).reshape(-1, *stored.shape[2:])).reshape(-1, PLACES, WIDTH)
            vectors = jnp.where(sees_target(seen)[:, None, None], vectors, 0)
            return self.encode_series(params, vectors, days).reshape(*targets.shape, 1, 1, self.dim)

        def sample(one: tuple[Any, ...]) -> Array:
            features, mask, targets, day = one
            index, exists, days = window_places(mask, targets, day)

            def row(features: dict[str, Array]) -> Array:
                vectors = window_vectors(features, index, exists, scale=self.scale, encode=encode)
                every_pixel = jnp.repeat(days, vectors.shape[1], axis=0)
                z = self.encode_series(params, vectors.reshape(-1, *vectors.shape[2:]), every_pixel)
                return z.reshape(*vectors.shape[:2], self.dim)

            rows = jax.lax.map(row, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), features))
            return jnp.moveaxis(rows, 0, 1)

        return cast(Array, jax.lax.map(sample, (dict(features), mask, targets, day)))

    def macs(self, encoded: int = PLACES) -> int:
        """Multiply-adds per pixel-date, counted from the layers' shapes.

        Args:
            encoded: acquisitions encoded per pixel-date: 11 as released, 1 where all patches are complete.
        """
        c = len(self.modality.bands)
        gates = lambda area, size: area * 2 * size * size  # noqa: E731  the channel gates' are too few to count
        date = 225 * (c * 149 + 58 * 149 * 149 + 298 * 149) + gates(225, 7)
        date += 49 * (4 * 149 * 128 + 9 * 128 * 128) + gates(49, 7)
        date += 16 * (4 * 128 * 64 + 9 * 64 * CHANNELS) + gates(16, 3)
        layer = PLACES * (4 * WIDTH * WIDTH + 2 * 8 * WIDTH + 2 * PLACES * WIDTH)
        squeeze = PLACES * CHANNELS * (WIDTH + self.tokens) + CHANNELS * self.tokens * self.latent
        return encoded * date + 3 * layer + squeeze

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

    def _refuse_batch_attention(self) -> None:
        if self.attention_over != "time":
            raise UsageError(
                "published encoder: with attention_over=batch an embedding depends on the other windows of its "
                "batch, so a cube has none; use attention_over=time"
            )

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
        """Whole windows in the range that the model reads (`PublishedEncoder.scale`).

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

    def decode_targets(
        self,
        params: Mapping[str, Params],
        embedding: Float[Array, "b n y x d"],
        meta: Meta,
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"],
        frames: tuple[int, int],
    ) -> Float[Array, "b n y x c"]:
        """Physical values of the targets alone: what `reconstruct` gives at the centre of each window.

        Arguments as of `eomm.models.decoder.Decoder.decode_targets`.
        """
        days = jax.vmap(window_places)(window_mask(targets, hidden, frames), targets, meta["day"])[2]
        own, series = params["decoder"], params["encoder"]["series"]
        flat = embedding.reshape(-1, self.dim)
        every_pixel = jnp.broadcast_to(days[:, :, None, None], (*embedding.shape[:-1], PLACES)).reshape(-1, PLACES)
        spare = -len(flat) % TARGETS_AT_ONCE

        def some(one: tuple[Array, Array]) -> Array:
            x = Expand(self.tokens).apply({"params": own["expand"]}, one[0])
            x = cast(Array, SeriesTransformer().apply({"params": series}, x, one[1], train=False))
            y = self._date.apply({"params": own["date"]}, x[:, PLACES // 2], train=False)
            return cast(Array, y)[:, SIDE // 2, SIDE // 2]

        pieces = (
            jnp.pad(x, ((0, spare), (0, 0))).reshape(-1, TARGETS_AT_ONCE, x.shape[1]) for x in (flat, every_pixel)
        )
        y = jax.lax.map(some, tuple(pieces)).reshape(-1, len(self.modality.bands))[: len(flat)]
        low, _, span = RANGES[self.modality.unit]
        return y.reshape(*embedding.shape[:-1], -1) * span + low

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


def build_decoder(modality: Modality, dim: int, options: Mapping[str, Any]) -> PublishedDecoder:
    """A decoder from plain values; `tokens`, which must be the encoder's, is the published one where not given."""
    fields = {"tokens": SIZES.get(modality.name, {}).get("tokens"), **options}
    if set(fields) != {"tokens"} or not fields["tokens"]:
        raise UsageError(
            f"published decoder of {modality.name}: options {sorted(options)}; tokens is the only one, and needed for "
            f"modalities other than {', '.join(SIZES)}"
        )
    return PublishedDecoder(modality=modality, dim=dim, tokens=int(fields["tokens"]))


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


def mode(rng: Array | None) -> Json:
    """Arguments of `apply` that switch dropout on where there is a key."""
    return {"train": rng is not None, "rngs": {} if rng is None else {"dropout": rng}}
