"""What a target is asked in training: which acquisitions are hidden from it, what it must decode, how errors count.

Pure functions of a batch and a key; used by both stages. What is learned comes from what is hidden: decoding a
visible pixel is compression.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int16, Int32, Shaped

from eomm.data.modality import Modality
from eomm.errors import UsageError
from eomm.models.fusion import nearest_acquisition
from eomm.models.interface import GEOMETRY, nearest_seen
from eomm.models.losses import SumCount, mean_absolute_error, ratio, spectral_angle

PATTERNS = ("scattered", "run", "side", "alternate")
"""How acquisitions besides the gap are chosen to be hidden; see `eomm.training.hiding.hide_others`."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The training objective of one modality.

    Attributes:
        targets: target acquisitions drawn per crop.
        queries: decoded offsets per target; the first is the target itself.
        hidden: share of targets whose whole acquisition is hidden.
        hidden_neighbours: share of these that also lose everything within a random gap.
        gap_days: smallest and largest such gap.
        reach_days: farthest decoded offset in time.
        reach_px: farthest decoded offset in space.
        borrowed_clouds: share of acquisitions that lose the pixels another acquisition's mask lacks.
        edges: share of a crop's sides at which a strip of the halo counts as outside the cube, where nothing is valid.
        target_weight: share of the loss that the target itself carries.
        sam: weight of the spectral angle beside the mean absolute error.
        next_same_orbit: a visible target decodes the next acquisition of its orbit instead of itself, whose
            speckle is not worth learning.
        series: acquisitions of a record used at once, a run of them drawn at random; 0 uses all. Long radar
            series cost features of acquisitions that few targets see. Fusion takes the run around a target of the
            reference modality and draws its targets there.
        crop_px: side of the part of a record's crop that is used, drawn at random; 0 uses all. For encoders whose
            pixels cost much: with a window's 15, one pixel per record is embedded.
        prefixes: lengths to which embeddings are cut at random, so that prefixes are embeddings too.
        turns: whether crops are turned and mirrored at random.
        only_hidden: whether nothing visible is decoded: the target itself where it is hidden, and queries drawn among
            what the target may not see (hiding.py). What is visible would be compression.
        hidden_others: smallest and largest share of the other acquisitions that a target loses besides the gap;
            (0, 0): none.
        patterns: how these are chosen, one drawn per target; see `hiding.PATTERNS`.
        hidings: how often each target is asked, each time with other acquisitions hidden; features are shared, so
            that this is cheaper than more targets.
        near_days: with `only_hidden`, queries fall off with this e-folding of days to a floor; 0: even.
        hidden_bands: share of samples that lose bands at all dates, so that an encoder with `band_flags` serves
            sensors that lack them. All bands are decoded.
        agreement: weight of the distance between vectors from disjoint halves of the window (agreement.py).
        agreement_from: shares of the run's steps at which that weight begins to rise and is reached; before, a vector
            that says nothing agrees best.
        agreement_guard: difference, in deviations of the bands, between what the halves saw around the target at
            which a pixel counts half: what really changed need not agree.
        decorrelation: weight of the squared correlations between the learned numbers of the embedding.
        cuts: weight of telling simulated cuts from the embedding (cuts.py); for optical modalities.
        cut_share: share of samples that are cut; nothing of these is decoded.
        labels: weight of telling a record's label from the embedding (labels.py), where records carry one.

    Raises:
        UsageError: an unknown pattern, a share outside [0, 1], or wishes that exclude each other.
    """

    targets: int = 8
    queries: int = 16
    hidden: float = 0.5
    hidden_neighbours: float = 0.6
    gap_days: tuple[int, int] = (5, 60)
    reach_days: int = 60
    reach_px: int = 7
    borrowed_clouds: float = 0.15
    edges: float = 0.15
    target_weight: float = 0.5
    sam: float = 0.1
    next_same_orbit: bool = False
    series: int = 0
    crop_px: int = 0
    prefixes: tuple[int, ...] = ()
    turns: bool = False
    only_hidden: bool = False
    hidden_others: tuple[float, float] = (0.0, 0.0)
    patterns: tuple[str, ...] = ("scattered",)
    hidings: int = 1
    near_days: float = 0.0
    hidden_bands: float = 0.0
    agreement: float = 0.0
    agreement_from: tuple[float, float] = (0.4, 0.6)
    agreement_guard: float = 1.0
    decorrelation: float = 0.0
    cuts: float = 0.0
    cut_share: float = 0.33
    labels: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.patterns) - set(PATTERNS))
        if unknown or not self.patterns:
            raise UsageError(f"config.objective.patterns: {unknown or 'none'}; known are {', '.join(PATTERNS)}")
        for name, (low, high) in {"hidden_others": self.hidden_others, "agreement_from": self.agreement_from}.items():
            if not 0 <= low <= high <= 1:
                raise UsageError(f"config.objective.{name} is {low}, {high}; expected two rising shares of 0 to 1")
        if self.hidings < 1:
            raise UsageError(f"config.objective.hidings is {self.hidings}; expected 1 or more")
        if self.agreement and self.agreement_guard <= 0:
            raise UsageError(f"config.objective.agreement_guard is {self.agreement_guard}; expected more than 0")
        if self.only_hidden and self.next_same_orbit:
            raise UsageError(
                "config.objective: only_hidden decodes no visible target, for which next_same_orbit says what to "
                "decode in its place; set one of them to false"
            )
        if self.only_hidden and not (self.hidden or self.hidden_others[1]):
            raise UsageError("config.objective: only_hidden, but hidden and hidden_others hide nothing")


def draw_series(rng: Array, data: Mapping[str, Array], length: int) -> Mapping[str, Array]:
    """Per sample a run of `length` consecutive acquisitions, padding avoided where the series is long enough."""
    if not 0 < length < data["day"].shape[1]:
        return data
    spare = spare_acquisitions(data["present"], length)
    return take_series(data, jax.random.randint(rng, spare.shape, 0, spare + 1), length)


def series_around(
    day: Int32[Array, " b"], data: Mapping[str, Array], length: int, frames: tuple[int, int]
) -> tuple[Mapping[str, Array], Int32[Array, " b"], Int32[Array, " b"]]:
    """Per sample the run of `length` acquisitions around a day, and the first and last day whose windows lie in it.

    Where the run begins or ends with the series, no window is cut there and so every earlier or later day counts.

    Args:
        day: around which.
        data: a modality's batch.
        length: of the run; 0 takes all.
        frames: acquisitions before and after that a window has.
    """
    info = jnp.iinfo(jnp.int32)
    if not 0 < length < data["day"].shape[1]:
        return data, jnp.full_like(day, info.min), jnp.full_like(day, info.max)
    spare = spare_acquisitions(data["present"], length)
    middle = nearest_acquisition(day[:, None], data["day"], data["present"])[:, 0]
    start = jnp.clip(middle - length // 2, 0, spare)
    run = take_series(data, start, length)
    first = jnp.where(start == 0, info.min, run["day"][:, frames[0]])
    last = jnp.where(start == spare, info.max, run["day"][:, length - 1 - frames[1]])
    return run, first, last


def spare_acquisitions(present: Shaped[Array, "b t"], length: int) -> Int32[Array, " b"]:
    """How many places a run of `length` acquisitions can start at, less one."""
    return jnp.maximum(present.astype(jnp.int32).sum(1) - length, 0)


def take_series(data: Mapping[str, Array], start: Int32[Array, " b"], length: int) -> Mapping[str, Array]:
    """Per sample the acquisitions from `start` on; a label has none and stays."""
    take = jax.vmap(lambda x, s: jax.lax.dynamic_slice_in_dim(x, s, length))
    return {name: x if name == "label" else take(x, start) for name, x in data.items()}


def draw_crop(rng: Array, data: Mapping[str, Array], side: int) -> Mapping[str, Array]:
    """Per sample a square of `side` pixels, anywhere in the crop; all of it where `side` is 0."""
    batch, _, height, width = data["valid"].shape
    if not side:
        return data
    rows, cols = jax.random.split(rng)
    row = jax.random.randint(rows, (batch,), 0, height - side + 1)
    col = jax.random.randint(cols, (batch,), 0, width - side + 1)

    def cut(x: Array, row: Array, col: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(jax.lax.dynamic_slice_in_dim(x, row, side, axis=1), col, side, axis=2)

    return {**data, **{name: jax.vmap(cut)(data[name], row, col) for name in ("values", "valid")}}


def turn(rng: Array, data: Mapping[str, Array]) -> Mapping[str, Array]:
    """Crops, square, turned and mirrored at random into one of eight positions each."""
    values, valid = data["values"], data["valid"]
    coins = jax.random.bernoulli(rng, 0.5, (3, values.shape[0]))
    changes = (lambda x: x[:, :, ::-1], lambda x: x[:, :, :, ::-1], lambda x: x.swapaxes(2, 3))
    for coin, change in zip(coins, changes, strict=True):
        values = jnp.where(coin[:, None, None, None, None], change(values), values)
        valid = jnp.where(coin[:, None, None, None], change(valid), valid)
    return {**data, "values": values, "valid": valid}


def borrow_clouds(rng: Array, valid: Shaped[Array, "b t y x"], share: float) -> Bool[Array, "b t y x"]:
    """Take from a share of acquisitions the pixels that another acquisition of the batch lacks."""
    which, how = jax.random.split(rng)
    batch, time = valid.shape[:2]
    flat = valid.astype(bool).reshape(batch * time, *valid.shape[2:])
    other = flat[jax.random.permutation(how, batch * time)]
    taken = jax.random.bernoulli(which, share, (batch * time,))
    # An empty mask (padding, a fully cloudy date) would hide everything: that is what hiding is for.
    taken &= other.mean((1, 2)) > 0.2
    return jnp.where(taken[:, None, None], flat & other, flat).reshape(valid.shape)


def cut_edges(rng: Array, valid: Shaped[Array, "b t y x"], halo: int, share: float) -> Bool[Array, "b t y x"]:
    """Make strips along some sides of a crop invalid at all times, as where a cube ends; targets keep theirs."""
    which, how = jax.random.split(rng)
    shape = (4, valid.shape[0], 1)
    strip = jax.random.randint(how, shape, 0, halo + 1) * jax.random.bernoulli(which, share, shape)
    row, col = jnp.arange(valid.shape[2]), jnp.arange(valid.shape[3])
    rows = (row >= strip[0]) & (row < len(row) - strip[1])
    cols = (col >= strip[2]) & (col < len(col) - strip[3])
    return valid.astype(bool) & rows[:, None, :, None] & cols[:, None, None, :]


def draw_targets(rng: Array, valid: Shaped[Array, "b t y x"], count: int) -> Int32[Array, "b n"]:
    """Distinct acquisitions per sample, drawn in proportion to their valid share (Gumbel top-k)."""
    share = valid.astype(jnp.float32).mean((2, 3))
    noise = jax.random.gumbel(rng, share.shape)
    return jax.lax.top_k(jnp.log(share + 1e-6) + noise, count)[1].astype(jnp.int32)


def hide(rng: Array, day: Int32[Array, "b t"], targets: Int32[Array, "b n"], objective: Objective) -> Array:
    """Which acquisitions each target may not see, bool [b, n, t]."""
    first, second, third = jax.random.split(rng, 3)
    shape = targets.shape
    itself = jax.random.bernoulli(first, objective.hidden, shape)
    wide = jax.random.bernoulli(second, objective.hidden_neighbours, shape)
    low, high = objective.gap_days
    gap = jnp.where(wide, jax.random.randint(third, shape, low, high + 1), 0)
    apart = jnp.abs(day[:, None] - jnp.take_along_axis(day, targets, axis=1)[..., None])
    return itself[..., None] & (apart <= gap[..., None])


def draw_queries(
    rng: Array, batch: Mapping[str, Array], targets: Int32[Array, "b n"], hidden: Bool[Array, "b n t"], o: Objective
) -> tuple[Int32[Array, "b n j"], dict[str, Array], Bool[Array, "b n j"]]:
    """Acquisitions to decode, the decoder's queries, and which of them exist; the target comes first."""
    when, dy_rng, dx_rng = jax.random.split(rng, 3)
    day, present = batch["day"], batch["present"].astype(bool)
    shape = (*targets.shape, o.queries)
    target_day = jnp.take_along_axis(day, targets, axis=1)
    near = (jnp.abs(day[:, None] - target_day[..., None]) <= o.reach_days) & present[:, None]
    logits = jnp.where(near, 0.0, -1e9)[..., None, :]
    index = jax.random.categorical(when, jnp.broadcast_to(logits, (*shape, day.shape[1]))).astype(jnp.int32)
    first = targets
    exists = jnp.ones(shape, bool)
    if o.next_same_orbit:
        orbit = batch["orbit"]
        same = orbit[:, None] == jnp.take_along_axis(orbit, targets, axis=1)[..., None]
        later = same & present[:, None] & (day[:, None] > target_day[..., None])
        seen = ~jnp.take_along_axis(hidden, targets[..., None], axis=-1)[..., 0]
        first = jnp.where(seen, jnp.argmax(later, axis=-1), targets).astype(jnp.int32)  # the first that is later
        exists = exists.at[..., 0].set(~seen | later.any(-1))
    index = index.at[..., 0].set(first)
    offset = lambda key: jax.random.randint(key, shape, -o.reach_px, o.reach_px + 1).at[..., 0].set(0)  # noqa: E731
    queries = make_queries(batch, targets, index, offset(dy_rng), offset(dx_rng))
    return index, queries | nearest_seen(day, targets, hidden | ~present[:, None]), exists


def make_queries(
    batch: Mapping[str, Array],
    targets: Int32[Array, "b n"],
    index: Int32[Array, "b n j"],
    dy: Int32[Array, "b n j"],
    dx: Int32[Array, "b n j"],
) -> dict[str, Array]:
    """The decoder's queries for acquisitions `index` of `batch`; see `Decoder.decode`."""

    def at(name: str) -> Array:
        return jax.vmap(lambda x, i: x[i])(batch[name], index)

    day, orbit = at("day"), at("orbit")
    home = jnp.take_along_axis(batch["day"], targets, axis=1)
    target_orbit = jnp.take_along_axis(batch["orbit"], targets, axis=1)[..., None]
    same = ((orbit == target_orbit) & (orbit != 0)).astype(jnp.float32)
    known = {"direction": at("direction").astype(jnp.float32), "incidence": at("incidence")}
    known |= {name: at(name) for name in GEOMETRY if name in batch}
    return {"days": day - home[..., None], "day": day, "dy": dy, "dx": dx, "same_orbit": same, **known}


def observed(
    values: Int16[Array, "b t h w c"],
    valid: Shaped[Array, "b t h w"],
    index: Int32[Array, "b n j"],
    queries: Mapping[str, Array],
    halo: int,
) -> tuple[Int16[Array, "b n j y x c"], Bool[Array, "b n j y x"]]:
    """What was observed at every query, for all pixels inside the halo."""
    height, width = values.shape[2] - 2 * halo, values.shape[3] - 2 * halo

    def one(v: Array, m: Array, i: Array, dy: Array, dx: Array) -> tuple[Array, Array]:
        size = (1, height, width)
        start = (i, halo + dy, halo + dx)
        return jax.lax.dynamic_slice(v, (*start, 0), (*size, v.shape[-1]))[0], jax.lax.dynamic_slice(m, start, size)[0]

    per_query = jax.vmap(jax.vmap(one, (None, None, 0, 0, 0)), (None, None, 0, 0, 0))
    got, mask = jax.vmap(per_query)(values, valid.astype(bool), index, queries["dy"], queries["dx"])
    return got, mask


def cut_prefix(rng: Array, embedding: Float[Array, "b n y x d"], prefixes: tuple[int, ...]) -> Array:
    """Zero everything behind a random prefix in half of the targets, per target acquisition."""
    if not prefixes:
        return embedding
    half, which = jax.random.split(rng)
    shape = embedding.shape[:2]
    length = jnp.asarray(prefixes)[jax.random.randint(which, shape, 0, len(prefixes))]
    length = jnp.where(jax.random.bernoulli(half, 0.5, shape), length, embedding.shape[-1])
    keep = jnp.arange(embedding.shape[-1]) < length[..., None]
    return jnp.where(keep[:, :, None, None], embedding, 0.0)


class Decoded(NamedTuple):
    """What was decoded of queries, beside what was observed.

    Attributes:
        predicted: in the model's range.
        values: observed, as stored.
        weight: 1 where observed, else 0; may be fractional.
    """

    predicted: Float[Array, "b n j y x c"]
    values: Int16[Array, "b n j #y #x c"]
    weight: Float[Array, "b n j y x"]


def score(
    modality: Modality, o: Objective, deviation: Array, decoded: Decoded, target_hidden: Bool[Array, "b n"]
) -> tuple[Array, dict[str, SumCount]]:
    """The loss and the metrics of decoded queries.

    Args:
        modality: whose values they are.
        o: the objective.
        deviation: of each band in physical units; errors are counted in it.
        decoded: and observed.
        target_hidden: whether the target acquisition was hidden.
    """
    weight, truth = decoded.weight, modality_physical(modality, decoded.values)
    guess = decoded.predicted * modality.spreads + modality.centres
    first, others = (slice(0, 1), o.target_weight), (slice(1, None), 1 - o.target_weight)
    total: Array = jnp.zeros(())
    for at, share in (first, others):
        g, t, w = guess[:, :, at], truth[:, :, at], weight[:, :, at]
        total += share * ratio(mean_absolute_error(g / deviation, t / deviation, w))
        if o.sam:
            total += share * o.sam * ratio(spectral_angle(g, t, w))
    count = jnp.sum(weight[:, :, 0])
    _, size = modality.error_unit
    guess, truth = guess / size, truth / size
    metrics: dict[str, SumCount] = {"loss": (total * count, count)}
    for name, mask in {"hidden": target_hidden, "visible": ~target_hidden}.items():
        w = weight[:, :, 0] * mask[:, :, None, None]
        metrics[f"{name}_mae"] = mean_absolute_error(guess[:, :, 0], truth[:, :, 0], w)
    metrics["offset_mae"] = mean_absolute_error(guess[:, :, 1:], truth[:, :, 1:], weight[:, :, 1:])
    metrics["targets"] = (count, jnp.ones(()))
    return total, metrics


def modality_physical(modality: Modality, stored: Array) -> Float[Array, "*n c"]:
    """Stored int16 to physical units, on the device."""
    scale, offset = modality.model_scale()
    return (stored.astype(jnp.float32) * scale + offset) * modality.spreads + modality.centres
