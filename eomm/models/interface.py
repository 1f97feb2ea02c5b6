"""What every encoder offers; loss, dense embedding, benchmarks and probes use only this.

An encoder may live in any installed module that offers `build_encoder(modality, options) -> Encoder`.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Real, Shaped

from eomm.errors import UsageError

Tree = Any  # of arrays
Params = Tree
Features = Any  # a tree of arrays, see Encoder.features
META = ("orbit", "direction", "incidence")  # what encoders may know of an acquisition besides its values
Meta = Mapping[str, Shaped[Array, "b t"]]  # orbit, direction, incidence: see CubeGroup.meta
GEOMETRY = ("sun_zenith", "sun_azimuth", "view_azimuth")  # degrees; what a decoder may know besides, where it is given
FAR_DAYS = 120  # as far as a decoder tells
MISSING_BAND = -32768  # stored value of a band that an acquisition lacks while others are valid; no contract stores it


@runtime_checkable
class Encoder(Protocol):
    """Turns the window round a target into the target's embedding. Hashable, as a frozen dataclass is.

    An encoder may besides have
        prefixes: rising lengths that are embeddings too, the last being `dim`.
        closed: how many first numbers are a closed form of which nothing is learned; a fusion head leaves them as they
            are.
        band_flags: true where `features` reads `MISSING_BAND` as a band that is not given.
        tells: names of numbers that `embed_told` gives beside the embedding, {name: [b, n, y, x]}, NaN where there is
            none. It takes what `embed` takes and gives the same vectors; a store keeps the numbers as layers.
    """

    @property
    def dim(self) -> int:
        """Length of the embedding."""

    @property
    def frames(self) -> tuple[int, int]:
        """How many usable acquisitions before and after the target the window holds."""

    @property
    def halo(self) -> int:
        """Pixels by which the window exceeds the target on every side."""

    def init(self, rng: Array) -> Params:
        """Fresh parameters, float32."""

    def features(
        self, params: Params, values: Real[Array, "b t h w c"], valid: Shaped[Array, "b t h w"], meta: Meta
    ) -> Features:
        """What is computed once per acquisition, from values as stored (int16; floats where a gradient is asked for).

        Leaves are of acquisitions, [b, t] or [b, t, k], or of pixels, [b, t, y, x, …], cropped by the halo; or of
        rows of pixels, [b, t, y, …] of four axes or more. Whoever embeds a part of the pixels cuts along y.
        """

    def embed(
        self,
        params: Params,
        features: Features,
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
    ) -> Float[Array, "b n y x d"]:
        """Embeddings of the targets, float32.

        Args:
            params: of this encoder.
            features: of all acquisitions at hand, in time order.
            valid: of their pixels, cropped by the halo.
            day: days since 1970-01-01.
            targets: indices into the time axis.
            hidden: acquisitions that a target may not see. A hidden acquisition counts as one that is not
                usable: the window reaches past it. The target keeps its place when it is hidden itself.
        """


class FusionHead(Protocol):
    """Makes one embedding of several modalities'; `eomm.models.fusion.Fusion` says what the methods do.

    Hashable, as an encoder is.
    """

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        """Length of each modality's embedding."""

    @property
    def dim(self) -> int:
        """Length of the fused embedding."""

    @property
    def max_offset_days(self) -> int:
        """Days from the target's date beyond which an acquisition is absent."""

    def init(self, rng: Array) -> Params:
        """Fresh parameters, float32."""

    def fuse(
        self,
        params: Params,
        embeddings: Mapping[str, Float[Array, "... _"]],
        present: Mapping[str, Bool[Array, "..."]],
        offset_days: Mapping[str, Float[Array, "..."]],
    ) -> Float[Array, "*n d"]:
        """The fused embedding, float32, finite for any subset of present modalities."""

    def project(self, params: Params, fused: Float[Array, "*n d"]) -> dict[str, Float[Array, "*n _"]]:
        """From the fused embedding to what each modality's decoder reads."""


def check_options(kind: Any, options: Iterable[str], what: str, *, given: Collection[str]) -> None:
    """Raise UsageError where options are no fields of a dataclass, or are `given` by who builds it.

    Args:
        kind: the dataclass.
        options: their names.
        what: is built, in messages.
        given: its fields that are no options.
    """
    known = {f.name for f in dataclasses.fields(kind)} - set(given)
    if unknown := set(options) - known:
        raise UsageError(f"{what}: unknown {sorted(unknown)}; known are {sorted(known)}")


def prefixes_of(encoder: Encoder) -> tuple[int, ...]:
    """The lengths to which an encoder says its embedding may be cut; empty where it does not say."""
    return tuple(getattr(encoder, "prefixes", ()))


def tells_of(encoder: Encoder) -> tuple[str, ...]:
    """What an encoder tells of each vector beside it; nothing where it does not say."""
    return tuple(getattr(encoder, "tells", ()))


def embed_told(encoder: Encoder, *arguments: Any) -> tuple[Float[Array, "b n y x d"], dict[str, Array]]:
    """Embeddings and what the encoder tells of each, which may be nothing; arguments as of `Encoder.embed`."""
    if not tells_of(encoder):
        return encoder.embed(*arguments), {}
    found: tuple[Array, dict[str, Array]] = cast(Any, encoder).embed_told(*arguments)
    return found


def closed_part(encoder: Encoder) -> int:
    """How many first numbers of the embedding an encoder says are a closed form; 0 where it does not say."""
    return int(getattr(encoder, "closed", 0))


def learned_part(encoder: Encoder) -> slice:
    """Which numbers of the embedding are learned."""
    return slice(closed_part(encoder), encoder.dim)


def nearest_seen(
    day: Int32[Array, "b t"], targets: Int32[Array, "b n"], hidden: Bool[Array, "b n t"]
) -> dict[str, Array]:
    """Days from each target to the nearest date that it sees before and after itself, [b, n, 1]; FAR_DAYS if none."""
    apart = day[:, None] - jnp.take_along_axis(day, targets, axis=1)[..., None]
    sides = {"seen_before": -apart, "seen_after": apart}
    far = {name: jnp.where(hidden | (days <= 0), FAR_DAYS, days) for name, days in sides.items()}
    return {name: jnp.minimum(days.min(-1, keepdims=True), FAR_DAYS) for name, days in far.items()}


def window_mask(
    targets: Int32[Array, "b n"], hidden: Bool[Array, "b n t"], frames: tuple[int, int]
) -> Bool[Array, "b n t"]:
    """Which acquisitions each target's window holds: those not hidden, `frames` before and after, and itself."""
    time = hidden.shape[-1]
    index = jnp.arange(time)
    visible = ~hidden
    seen = jnp.cumsum(visible, axis=-1)  # visible acquisitions up to and including each
    at = jnp.take_along_axis(seen, targets[..., None], axis=-1)
    itself = jnp.take_along_axis(visible, targets[..., None], axis=-1)
    place = targets[..., None]
    before = (index < place) & (at - itself - seen < frames[0])
    after = (index > place) & (seen - at <= frames[1])
    return visible & (before | after | (index == place))


def no_hidden(targets: Int32[Array, "b n"], time: int) -> Bool[Array, "b n t"]:
    """A mask that hides nothing."""
    return jnp.zeros((*targets.shape, time), bool)


def crop(array: Array, halo: int) -> Array:
    """Crop [b, t, y, x, …] by the halo."""
    return jax.lax.slice_in_dim(
        jax.lax.slice_in_dim(array, halo, array.shape[2] - halo, axis=2), halo, array.shape[3] - halo, axis=3
    )


def path_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as rules see it, such as "params/block_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
