"""The state of a window: bands in units of their noise, averaged over like, near dates; and an encoder that bears it.

A closed form, nothing of it is trained. Beside any encoder it makes one embedding: [state | one-sided means | learned].
How noise is measured is `eomm.training.noise`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Real, Shaped

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.directory import build_part
from eomm.models.interface import Encoder, Features, Meta, Params, check_options, crop, no_hidden, window_mask
from eomm.models.layers import WRITTEN_OUT

FLOOR = -40.0  # logarithm of the least weight in time, whose square is a float32: 600 days behind the nearest or more
FRAMES = (8, 8)


class Fading(NamedTuple):
    """How what is farther away counts less.

    Attributes:
        tau_days: of the state.
        likeness: squared distance, in noise units, that costs a factor e. Two dates of one truth differ by 2 per
            component on average.
        side_days: of the one-sided means.
    """

    tau_days: float
    likeness: float
    side_days: float


class State(NamedTuple):
    """The closed form of targets, in noise units.

    Attributes:
        state: weighted mean of what is seen; 0 where nothing is.
        past: mean of earlier dates minus the state; 0 where there is none.
        future: the same of later dates.
        support: 1 / sum of squared weights of the state, 1 where it rests on one date, 0 where on none.
    """

    state: Float[Array, "b n y c x"]
    past: Float[Array, "b n y c x"]
    future: Float[Array, "b n y c x"]
    support: Float[Array, "b n y x"]


def state_of(
    whitened: Float[Array, "b t y c x"],
    valid: Shaped[Array, "b t y x"],
    day: Int32[Array, "b t"],
    targets: Int32[Array, "b n"],
    window: Bool[Array, "b n t"],
    fading: Fading,
) -> State:
    """State and one-sided means of targets.

    A date weighs exp(-|days| / tau) exp(-|difference from the target's own|^2 / likeness); where the target is hidden
    or invalid its likeness counts for nothing. One-sided means weigh exp(-days / side_days); a date of the target's
    own day is on no side. Axes end with x, which a CPU works along.

    Args:
        whitened: in noise units; anything finite where not valid.
        valid: of the pixels.
        day: days since 1970-01-01.
        targets: indices into the time axis.
        window: acquisitions that each target sees (`interface.window_mask`).
        fading: how what is farther away counts less.
    """
    seen = valid.astype(bool)[:, :, :, None]
    # A last component counts: what is summed over time is divided by its sum.
    y = jnp.concatenate([jnp.where(seen, whitened, 0.0), seen.astype(jnp.float32)], axis=3)
    pick = jax.vmap(lambda x, i: x[i])
    own = pick(y, targets)
    shown = jnp.take_along_axis(window, targets[..., None], axis=2)[..., None] & (own[:, :, :, -1] > 0)
    apart = (day[:, None] - pick(day, targets)[..., None]).astype(jnp.float32)
    likeness = alike(y, own, jnp.where(shown, -1 / fading.likeness, 0.0))
    weight = near(apart, window, fading.tau_days)[..., None, None] * likeness
    weight = weight * y[:, None, :, :, -1]
    total = weighted_sum(weight, y)
    state = mean(total)
    squares = jnp.sum(weight**2, axis=2)
    support = jnp.where(squares > 0, total[:, :, :, -1] ** 2 / jnp.maximum(squares, 1e-36), 0.0)
    # On either side weights are the same at every pixel, so that this is a matrix product.
    masks = jnp.stack([window & (apart < 0), window & (apart > 0)])
    decay = jnp.stack([near(apart, mask, fading.side_days) for mask in masks])
    sums = jnp.einsum("sbnt,btycx->sbnycx", decay, y, precision="highest")
    past, future = (jnp.where(x[:, :, :, -1:] > 0, mean(x) - state, 0.0) for x in sums)
    return State(state, past, future, support)


def weighted_sum(weight: Float[Array, "b n t y x"], y: Float[Array, "b t y c x"]) -> Float[Array, "b n y c x"]:
    """Sum over time; written out where it is short: 0.16 instead of 0.8 ms on a CPU (16 targets, 32 dates, 256 px)."""
    time = y.shape[1]
    if not isinstance(time, int) or time > WRITTEN_OUT:
        return jnp.sum(weight[:, :, :, :, None] * y[:, None], axis=2)
    terms = (weight[:, :, t, :, None] * y[:, None, t] for t in range(time))
    return sum(terms, start=jnp.zeros((), jnp.float32))


def mean(sums: Float[Array, "b n y c x"]) -> Float[Array, "b n y k x"]:
    """Sums of all components but the last divided by it, 0 where it is 0."""
    return sums[:, :, :, :-1] / jnp.maximum(sums[:, :, :, -1:], 1e-30)


def alike(
    y: Float[Array, "b t y c x"], own: Float[Array, "b n y c x"], rate: Float[Array, "b n y x"]
) -> Float[Array, "b n t y x"]:
    """exp(rate * |y - own|^2), of all components but the last.

    By explicit differences: the expanded square loses the digits that matter where both are far from zero.
    """
    differ = jnp.zeros((), jnp.float32)
    for c in range(y.shape[3] - 1):  # three times faster than a sum over an axis
        differ += (y[:, None, :, :, c] - own[:, :, None, :, c]) ** 2
    return jnp.exp(rate[:, :, None] * differ)


def near(apart: Float[Array, "b n t"], mask: Bool[Array, "b n t"], decay_days: float) -> Float[Array, "b n t"]:
    """exp(-|days| / decay), counted from the nearest date of the mask, so that a window years away does not vanish."""
    away = jnp.where(mask, jnp.abs(apart), 1e9)
    behind = away - jnp.min(away, axis=2, keepdims=True)
    return jnp.where(mask, jnp.exp(jnp.maximum(-behind / decay_days, FLOOR)), 0.0)


def fenced(seen: Bool[Array, ""], compute: Callable[[], Array]) -> Array:
    """What `compute` gives, or zeros where nothing is seen: a branch, so that a CPU makes it before what follows.

    XLA else does all of it in the order of the embedding's last axis, five times slower (jax 0.10, which drops
    optimization barriers there).
    """
    if jax.default_backend() != "cpu":
        return compute()
    shape = jax.eval_shape(compute)
    return cast(Array, jax.lax.cond(seen, compute, lambda: jnp.zeros(shape.shape, shape.dtype)))


@dataclass(frozen=True, kw_only=True)
class StateEncoder:
    """An encoder whose embedding begins with the state; see `eomm.models.interface.Encoder` for the methods.

    Attributes:
        modality: contract of the values.
        inner: gives the learned numbers; None for the closed form alone.
        frames: usable acquisitions before and after the target, the inner encoder's where there is one. With none
            after, the numbers of the future are 0: vectors of a past-only model have the same places.
        mean: physical value of each band that is 0 in noise units.
        whiten: noise units per physical unit [component, band]; the first component has the most signal to noise.
        scale: of the embedding's blocks: noise units of state and of one-sided means that become 1.
        centre: of each learned number, subtracted.
        spread: of each learned number, divided by.
        tau_days: see `Fading`.
        likeness: see `Fading`.
        side_days: see `Fading`.
        same_orbit: whether only acquisitions of the target's orbit are averaged: for radar.
        deviation: of each component over the dates of training, which are uncorrelated there; () where not measured.
    """

    modality: Modality
    inner: Encoder | None = None
    frames: tuple[int, int] = FRAMES
    mean: tuple[float, ...] = field(repr=False)
    whiten: tuple[tuple[float, ...], ...] = field(repr=False)
    scale: tuple[float, float] = (1.0, 1.0)
    centre: tuple[float, ...] = field(default=(), repr=False)
    spread: tuple[float, ...] = field(default=(), repr=False)
    tau_days: float = 30.0
    likeness: float = 36.0
    side_days: float = 15.0
    same_orbit: bool = False
    deviation: tuple[float, ...] = field(default=(), repr=False)

    @property
    def components(self) -> int:
        """Length of the state."""
        return len(self.whiten)

    @property
    def closed(self) -> int:
        """How many first numbers are not learned: state and one-sided means."""
        return 3 * self.components

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.closed + (self.inner.dim if self.inner else 0)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Lengths that are embeddings too: the state, with one-sided means, and all."""
        lengths = (self.components, self.closed)
        return (*lengths, self.dim) if self.inner else lengths

    @property
    def tells(self) -> tuple[str, ...]:
        """What `embed_told` gives beside the vectors."""
        return ("support", "distance_to_training") if self.deviations else ("support",)

    @property
    def deviations(self) -> tuple[float, ...]:
        """`deviation`, or of models of before it what `mix` divides components by for an inner encoder."""
        mix = getattr(self.inner, "mix", ())
        if self.deviation or not mix:
            return self.deviation
        bands = np.asarray(self.whiten) * self.modality.spreads
        return frozen(np.linalg.norm(bands, axis=1) / np.linalg.norm(np.asarray(mix)[:, :-1], axis=1))

    @property
    def halo(self) -> int:
        """Pixels beyond the target on every side: the inner encoder's; the state needs none."""
        return self.inner.halo if self.inner else 0

    def init(self, rng: Array) -> Params:
        """Fresh parameters of the inner encoder."""
        return self.inner.init(rng) if self.inner else {}

    def features(
        self, params: Params, values: Real[Array, "b t h w c"], valid: Shaped[Array, "b t h w"], meta: Meta
    ) -> Features:
        """`whitened` [b, t, y, component, x], the orbit [b, t], and what the inner encoder needs."""
        own = {"whitened": self.whitened(crop(values, self.halo)), "orbit": meta["orbit"]}
        return own | ({"inner": self.inner.features(params, values, valid, meta)} if self.inner else {})

    def whitened(self, values: Real[Array, "b t y x c"]) -> Float[Array, "b t y k x"]:
        """Stored values in noise units."""
        scale, zero = (np.array([getattr(b, n) for b in self.modality.bands]) for n in ("scale", "offset"))
        matrix = np.asarray(self.whiten) * scale
        middle = (np.asarray(self.mean) - zero) / scale
        # The difference first: reflectances of 0.3 against noise of 0.005.
        centred = values.astype(jnp.float32) - jnp.asarray(middle, jnp.float32)
        return jnp.einsum("kc,btyxc->btykx", jnp.asarray(matrix, jnp.float32), centred, precision="highest")

    def embed(
        self,
        params: Params,
        features: Mapping[str, Any],
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
    ) -> Float[Array, "b n y x d"]:
        """Embeddings of the targets; see the interface."""
        closed = self._closed(features, valid, day, targets, hidden, told=False)
        return self._beside(closed, params, features, valid, day, targets, hidden)

    def embed_told(
        self,
        params: Params,
        features: Mapping[str, Any],
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
    ) -> tuple[Float[Array, "b n y x d"], dict[str, Float[Array, "b n y x"]]]:
        """Embeddings, and what `tells` names of each.

        `support` is the effective number of dates that the state rests on, 0 where on none (`State.support`).
        `distance_to_training` is the root mean square of the state's components over their deviations in training: 1
        for an ordinary date of training; NaN where there is no state.
        """
        both = self._closed(features, valid, day, targets, hidden, told=True)
        closed, support = both[..., :-1], both[..., -1]
        told = {"support": support}
        if self.deviations:
            apart = closed[..., : self.components] * (self.scale[0] / jnp.asarray(self.deviations, jnp.float32))
            distance = jnp.sqrt(jnp.mean(apart**2, axis=-1))
            told["distance_to_training"] = jnp.where(support > 0, distance, jnp.nan)
        return self._beside(closed, params, features, valid, day, targets, hidden), told

    def _closed(
        self, features: Mapping[str, Any], valid: Array, day: Array, targets: Array, hidden: Array | None, *, told: bool
    ) -> Float[Array, "b n y x c"]:
        """The closed form as it stands in the embedding, and where it is told its support as a last number."""
        window = self._window(features, day, targets, hidden)

        def blocks() -> Array:
            found = self._state(features, valid, day, targets, window)
            parts = zip((found.state, found.past, found.future), (0, 1, 1), strict=True)
            support = [found.support[:, :, :, None]] if told else []
            return jnp.concatenate([*(part / self.scale[i] for part, i in parts), *support], axis=3)

        return jnp.moveaxis(fenced(window.any(), blocks), 3, 4)

    def _beside(
        self, closed: Array, params: Params, features: Mapping[str, Any], *what: Any
    ) -> Float[Array, "b n y x d"]:
        """The closed form and beside it what the inner encoder gives; `what` are its `embed`'s other arguments."""
        if not self.inner:
            return closed
        start = {"start": closed} if getattr(self.inner, "start", 0) else {}
        learned = self.inner.embed(params, features["inner"], *what, **start)
        if self.spread:
            learned = (learned - jnp.asarray(self.centre, jnp.float32)) / jnp.asarray(self.spread, jnp.float32)
        return jnp.concatenate([closed, learned], axis=-1)

    def state(
        self,
        features: Mapping[str, Any],
        valid: Shaped[Array, "b t y x"],
        day: Int32[Array, "b t"],
        targets: Int32[Array, "b n"],
        hidden: Bool[Array, "b n t"] | None = None,
    ) -> State:
        """The closed form of the targets; arguments as of `embed`."""
        return self._state(features, valid, day, targets, self._window(features, day, targets, hidden))

    def _window(self, features: Mapping[str, Any], day: Array, targets: Array, hidden: Array | None) -> Array:
        window = window_mask(targets, no_hidden(targets, day.shape[1]) if hidden is None else hidden, self.frames)
        if not self.same_orbit:
            return window
        orbit = features["orbit"]
        return window & (orbit[:, None] == jnp.take_along_axis(orbit, targets, axis=1)[..., None])

    def _state(self, features: Mapping[str, Any], valid: Array, day: Array, targets: Array, window: Array) -> State:
        fading = Fading(self.tau_days, self.likeness, self.side_days)
        return state_of(features["whitened"], valid, day, targets, window, fading)

    def macs(self) -> int:
        """Multiply-adds per pixel-date in dense embedding: counted from the shapes."""
        k, keys = self.components, sum(self.frames) + 1
        inner = self.inner.macs() if self.inner and hasattr(self.inner, "macs") else 0
        return inner + k * len(self.modality.bands) + keys * (4 * k + 2)


def build_encoder(modality: Modality, options: Mapping[str, Any]) -> StateEncoder:
    """An encoder from plain values: fields of `StateEncoder`, and `dim`.

    Args:
        modality: contract of the values.
        options: `inner` holds the options of the inner encoder, with a `code` of its own; without it the closed form
            stands alone. `dim`, the length in all, gives an inner encoder the length that is left.

    Raises:
        UsageError: unknown options, noise that was not measured, or lengths that do not fit.
    """
    options = dict(options)
    check_options(StateEncoder, set(options) - {"dim"}, f"state of {modality.name}", given=("modality",))
    check_noise(modality, options)
    length, inner = int(options.pop("dim", 0)), options.pop("inner", None)
    left = length - 3 * len(options["whiten"])
    if inner and length and "dim" not in inner:
        inner = {**dict(inner), "dim": left}
    built = build_part("encoder", inner, modality) if inner else None
    found = built.dim if built else 0
    if length and left != found:
        raise UsageError(f"state of {modality.name}: dim is {length}, so {left} numbers are learned; inner has {found}")
    frames = tuple(built.frames) if built else tuple(options.get("frames", FRAMES))
    if tuple(options.pop("frames", frames)) != frames:
        raise UsageError(f"state of {modality.name}: frames differ from the inner encoder's {frames}; leave them out")
    encoder = StateEncoder(modality=modality, inner=built, frames=frames, **{k: frozen(v) for k, v in options.items()})
    check_lengths(encoder)
    return encoder


def check_lengths(encoder: StateEncoder) -> None:
    """Raise UsageError unless what was measured, and where the inner encoder starts, fit the encoder."""
    name, start = encoder.modality.name, getattr(encoder.inner, "start", 0)
    if start not in (0, encoder.closed):
        raise UsageError(
            f"state of {name}: inner.start is {start}; expected {encoder.closed}, the length of the closed form, or 0"
        )
    if len(encoder.deviation) not in (0, encoder.components) or not all(d > 0 for d in encoder.deviation):
        raise UsageError(f"state of {name}: deviation must be {encoder.components} numbers above 0, or none")
    for option in ("centre", "spread"):
        if len(getattr(encoder, option)) not in (0, encoder.dim - encoder.closed):
            raise UsageError(f"state of {name}: {option} has another length than the learned numbers")


def check_noise(modality: Modality, options: Mapping[str, Any]) -> None:
    """Raise UsageError unless `mean` and `whiten` are there and fit the bands."""
    bands = len(modality.bands)
    if "mean" not in options or "whiten" not in options:
        raise UsageError(
            f"state of {modality.name}: mean and whiten are missing; they are measured where a stage is built from "
            "records, and stand in a trained model"
        )
    if (
        np.shape(options["mean"]) != (bands,)
        or np.ndim(options["whiten"]) != 2
        or np.shape(options["whiten"])[1] != bands
    ):
        raise UsageError(
            f"state of {modality.name}: mean {np.shape(options['mean'])} and whiten {np.shape(options['whiten'])}; "
            f"expected [{bands}] and [components, {bands}]"
        )


def frozen(value: Any) -> Any:
    """Lists as tuples, so that an encoder is hashable."""
    return tuple(frozen(v) for v in value) if isinstance(value, list | tuple | np.ndarray) else value
