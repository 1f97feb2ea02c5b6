"""One modality over one block of a cube, in time order: features once per acquisition, then chosen targets.

Shapes are fixed, so that a handful of compilations serves any cube: features in chunks of CHUNK acquisitions, and
targets in groups that share one stretch of keys. Which modalities meet, and what is written, is run.py.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int8, Int32

from eomm.data.cube import CubeGroup
from eomm.models import forward
from eomm.models.forward import Part, on_cpu
from eomm.models.interface import Encoder, FusionHead, Params, embed_told

Read = Callable[[], tuple[np.ndarray, np.ndarray]]  # waits for values and validity
FAR = 365  # days; where no acquisition is
CHUNK = 4  # acquisitions whose features are computed together; where a stretch of keys may begin
TARGETS = 8  # at most so many targets embedded together; places that stay empty are computed as well
KEYS = 32  # acquisitions that a group's stretch of keys holds at most, unless windows are long
FEW = 8  # numbers of keys and dates are padded to multiples of it, so that few shapes are compiled
# On a CPU work is cut into pieces that stay in the cache. Base size, 2 cores, pixel-dates per second: features of 8
# acquisitions at once 200,000, one by one 360,000; 16 targets among 32 keys on 128 x 128 px at once 63,000, 2 rows
# at a time 236,000, 32 rows 113,000; fusion at once 59,000, 256 pixels at a time 220,000, 2,048 pixels 121,000
# (jax 0.10).
CPU_PIXELS = 256  # per target, in embedding
CPU_TOKENS = 256  # pixel-dates, in fusion


@dataclass(frozen=True)
class Group:
    """Targets embedded together; all numbers are positions among the usable acquisitions.

    Attributes:
        first: position of the first key; negative before the series begins.
        targets: positions, ascending.
    """

    first: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """In which groups a series' targets are embedded.

    Attributes:
        origin: where the first chunk of acquisitions begins.
        keys: how many acquisitions a group's stretch holds, a multiple of FEW and so of CHUNK.
        groups: in order.
    """

    origin: int
    keys: int
    groups: tuple[Group, ...]


def schedule(targets: Sequence[int] | np.ndarray, frames: tuple[int, int]) -> Schedule:
    """Group ascending, distinct targets so that every group's stretch of keys holds all its windows."""
    before, after = frames
    most = max(KEYS, _padded(before + TARGETS + after))
    waiting = [int(t) for t in targets]
    origin = waiting[0] - before if waiting else 0
    groups: list[Group] = []
    while waiting:
        first = waiting[0] - before
        first -= (first - origin) % CHUNK
        taken = [t for t in waiting[:TARGETS] if t + after < first + most]
        groups.append(Group(first, tuple(taken)))
        waiting = waiting[len(taken) :]
    keys = max((g.targets[-1] + after + 1 - g.first for g in groups), default=0)
    return Schedule(origin, _padded(keys), tuple(groups))


def _padded(count: int) -> int:
    return -(-count // FEW) * FEW


@dataclass(frozen=True)
class Embedded:
    """One target acquisition on one block.

    Attributes:
        vectors: on the device.
        told: what the encoder tells of each, by name, on the device (`interface.Encoder.tells`).
        valid: where the target is valid.
        observations: valid acquisitions in its window.
        days_before: to the last valid acquisition of its window before it, FAR where there is none.
        days_after: to the next one.
    """

    vectors: Float[Array, "y x d"]
    told: dict[str, Float[Array, "y x"]]
    valid: Bool[np.ndarray, "y x"]
    observations: Int32[np.ndarray, "y x"]
    days_before: Int32[np.ndarray, "y x"]
    days_after: Int32[np.ndarray, "y x"]


class BlockEmbedder:
    """Embeds a modality's targets on one block; at any time it holds one group's features and embeddings.

    Args:
        encoder: of the modality.
        params: of the encoder.
        group: the modality's group of the cube.
        plan: from `schedule`.
        y: rows of the block; outside the cube nothing is valid.
        x: columns of the block.
    """

    def __init__(self, encoder: Encoder, params: Params, group: CubeGroup, plan: Schedule, y: slice, x: slice):
        self._encoder, self._params, self._group, self._plan = encoder, params, group, plan
        self._shape = (y.stop - y.start, x.stop - x.start)
        halo = encoder.halo
        self._window = slice(y.start - halo, y.stop + halo), slice(x.start - halo, x.stop + halo)
        self._usable = np.flatnonzero(group.usable)
        self._meta = {k: v[self._usable] for k, v in group.meta().items()}
        self._day = group.day[self._usable]
        self._chunks: dict[int, tuple[Any, np.ndarray]] = {}  # by first position: features, valid
        self._ready: dict[int, Embedded] = {}
        self._groups = iter(plan.groups)

    def take(self, targets: Sequence[int]) -> list[Embedded]:
        """Embeddings of targets, all of them in the plan and ascending from call to call."""
        if not targets:
            return []
        self._ready = {t: e for t, e in self._ready.items() if t >= targets[0]}
        while targets[-1] not in self._ready:
            group = next(self._groups)
            if not set(group.targets).isdisjoint(targets):  # else it is done already, or kept from an earlier store
                self._ready |= self._embed(group)
        return [self._ready[t] for t in targets]

    def _embed(self, group: Group) -> dict[int, Embedded]:
        firsts = range(group.first, group.first + self._plan.keys, CHUNK)
        self._chunks = {f: chunk for f, chunk in self._chunks.items() if f in firsts}
        # Reading begins for all chunks at once and goes on while the first are computed.
        reads = {f: self._begin(f) for f in firsts if f not in self._chunks}
        self._chunks = {f: self._chunks.get(f) or self._chunk(f, reads[f]) for f in firsts}
        features, valid = zip(*self._chunks.values(), strict=True)
        seen = np.concatenate(valid)
        at = np.array(group.targets) - group.first
        day = self._day[np.clip(np.arange(group.first, group.first + self._plan.keys), 0, len(self._day) - 1)]
        padded = np.pad(at, (0, TARGETS - len(at)), mode="edge").astype(np.int32)
        vectors, told = embed_group(
            self._params, features, seen, day, padded, encoder=self._encoder, rows=rows_at_once(self._shape)
        )
        frames = self._encoder.frames
        return {
            t: Embedded(vectors[i], {k: v[i] for k, v in told.items()}, seen[a], *around(seen, day, a, frames))
            for i, (t, a) in enumerate(zip(group.targets, at.tolist(), strict=True))
        }

    def _chunk(self, first: int, read: Read) -> tuple[Any, np.ndarray]:
        """Features and interior validity of CHUNK acquisitions; those beyond the ends are never valid."""
        start, stop = self._stretch(first)
        if start >= stop:
            return self._empty, np.zeros((CHUNK, *self._shape), bool)
        place = slice(start - first, stop - first)
        read_values, read_valid = read()
        values = np.zeros((CHUNK, *read_values.shape[1:]), np.int16)
        valid = np.zeros((CHUNK, *read_valid.shape[1:]), bool)
        values[place], valid[place] = read_values, read_valid
        meta = {k: np.zeros(CHUNK, v.dtype) for k, v in self._meta.items()}
        for name, column in self._meta.items():
            meta[name][place] = column[start:stop]
        halo, (height, width) = self._encoder.halo, self._shape
        interior = valid[:, halo : halo + height, halo : halo + width]
        return features_of(self._params, values, valid, meta, encoder=self._encoder, one_by_one=on_cpu()), interior

    def _stretch(self, first: int) -> tuple[int, int]:
        return max(first, 0), min(first + CHUNK, len(self._usable))

    def _begin(self, first: int) -> Read:
        start, stop = self._stretch(first)
        return self._group.begin_read(self._usable[start:stop] if stop > start else [], *self._window)

    @cached_property
    def _empty(self) -> Any:
        """Features of no acquisition, held once for all chunks beyond the ends: of a short series most of them."""
        height, width = (s + 2 * self._encoder.halo for s in self._shape)
        args = (
            jax.ShapeDtypeStruct((CHUNK, height, width, len(self._group.modality.bands)), np.int16),
            jax.ShapeDtypeStruct((CHUNK, height, width), bool),
            {k: jax.ShapeDtypeStruct((CHUNK,), v.dtype) for k, v in self._meta.items()},
        )
        compute = partial(features_of, encoder=self._encoder, one_by_one=False)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(compute, self._params, *args))


def around(
    seen: Bool[np.ndarray, "t y x"], day: Int32[np.ndarray, " t"], at: int, frames: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the window of a target: its valid acquisitions, and the days to the nearest before and after the target."""
    window = slice(max(0, at - frames[0]), at + frames[1] + 1)
    inside, apart = seen[window], np.abs(day[window] - day[at]).astype(np.int32)
    here = at - window.start
    days = [
        np.where(part, apart[where, None, None], FAR).min(axis=0, initial=FAR)
        for where in (slice(0, here), slice(here + 1, None))
        for part in (inside[where],)
    ]
    return inside.sum(axis=0, dtype=np.int32), days[0], days[1]


def rows_at_once(shape: tuple[int, int]) -> int:
    """Rows of a block that are embedded together; divides the block's height."""
    height, width = shape
    return math.gcd(height, 2 ** max(0, int(math.log2(CPU_PIXELS / width)))) if on_cpu() else height


@partial(jax.jit, static_argnames=("encoder", "one_by_one"))
def features_of(
    params: Params, values: Array, valid: Array, meta: dict[str, Array], *, encoder: Encoder, one_by_one: bool
) -> Any:
    """Features [1, t, …] of acquisitions [t, …]."""
    compute = partial(forward.features_one_by_one, encoder) if one_by_one else encoder.features
    return compute(params, *jax.tree.map(lambda x: x[None], (values, valid, meta)))


@partial(jax.jit, static_argnames=("encoder", "rows"))
def embed_group(
    params: Params,
    chunks: Sequence[Any],
    valid: Bool[Array, "t y x"],
    day: Int32[Array, " t"],
    targets: Int32[Array, " n"],
    *,
    encoder: Encoder,
    rows: int,
) -> tuple[list[Float[Array, "y x d"]], dict[str, list[Float[Array, "y x"]]]]:
    """Embeddings of each target among the acquisitions of all chunks, a few rows at a time; what is told of them.

    That is the same as all at once, since the halo was spent on the features: a pixel sees only its own.
    """
    height = valid.shape[1]

    def strip(start: Array) -> tuple[Array, dict[str, Array]]:
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows, axis=2) if x.ndim > 3 else x  # noqa: E731
        # Joined here, in the cache: joining whole blocks first cost a fifth of the time at 16 targets, more at fewer.
        features = jax.tree.map(lambda *x: jnp.concatenate([cut(c) for c in x], axis=1), *chunks)
        found = embed_told(encoder, params, features, cut(valid[None]), day[None], targets[None])
        return jax.tree.map(lambda x: x[0], found)

    strips = jax.lax.map(strip, jnp.arange(0, height, rows))
    # Each target by itself: taken from an array one by one, outside, they cost a fifteenth of all the time.
    return jax.tree.map(lambda x: [x[:, i].reshape(height, *x.shape[3:]) for i in range(len(targets))], strips)


@partial(jax.jit, static_argnames=("fusion", "length"))
def fuse_dates(
    params: Params,
    parts: dict[str, tuple[tuple[Float[Array, "#y #x _"], ...], Bool[Array, "n y x"], Float[Array, " n"]]],
    wanted: Bool[Array, "n y x"],
    *,
    fusion: FusionHead | None,
    length: int,
) -> Float[Array, "n y x d"]:
    """Fused embeddings of several dates, zero where not wanted; without a fusion head the one modality's own.

    Args:
        params: of the fusion head.
        parts: of every modality used its vectors, of a single pixel [1, 1, _], whether it is present, and its offset
            in days.
        wanted: which vectors are.
        fusion: the head, or None.
        length: how many leading numbers are kept.
    """
    whole = {}
    for name, (vectors, present, days) in parts.items():
        stacked = jnp.stack(vectors)
        offset_days = jnp.broadcast_to(days[:, None, None], wanted.shape)
        whole[name] = Part(jnp.broadcast_to(stacked, (*wanted.shape, stacked.shape[-1])), present, offset_days)
    if fusion is None:
        ((fused, *_),) = whole.values()
    else:
        fused = fuse_wanted(fusion, params, whole, wanted) if on_cpu() else forward.fuse(fusion, params, whole)
    return jnp.where(wanted[..., None], fused[..., :length], 0)


def fuse_wanted(
    fusion: FusionHead, params: Params, parts: dict[str, Part], wanted: Bool[Array, "n y x"]
) -> Float[Array, "n y x d"]:
    """What is wanted, gathered to pieces that stay in a CPU's cache: clouds cost nothing. Zero elsewhere."""
    size, step = wanted.size, math.gcd(wanted.size, CPU_TOKENS)
    places = jnp.nonzero(wanted.ravel(), size=size, fill_value=size)[0]
    flat = jax.tree.map(lambda x: x.reshape(size, *x.shape[3:]), parts)
    nothing = jnp.zeros((step, fusion.dim), jnp.float32)

    def fuse(at: Int32[Array, " step"]) -> Array:
        compute = lambda: forward.fuse(fusion, params, jax.tree.map(lambda x: x[at], flat))  # noqa: E731
        return jax.lax.cond(at[0] < size, compute, lambda: nothing)

    fused = jax.lax.map(fuse, places.reshape(-1, step)).reshape(size, -1)
    return jnp.zeros_like(fused).at[places].set(fused, mode="drop").reshape(*wanted.shape, -1)


@jax.jit
def average(
    vectors: Float[Array, "m y x d"], clear: Bool[Array, "m y x"], near: Bool[Array, "n m"], own: Int32[Array, " n"]
) -> Float[Array, "n y x d"]:
    """Mean vectors of dates: of a date's own, clear or not, and of those that are near and clear.

    Args:
        vectors: of all dates at hand.
        clear: where they are.
        near: which of them are averaged for each date.
        own: which of them is the date itself.
    """
    others = jnp.float32(near & (own[:, None] != jnp.arange(len(vectors))))
    product = partial(jnp.einsum, precision="highest")
    total = vectors[own] + product("nm,myxd->nyxd", others, jnp.where(clear[..., None], vectors, 0.0))
    return total / (1.0 + product("nm,myx->nyx", others, jnp.float32(clear)))[..., None]


@jax.jit
def quantise(
    vectors: Float[Array, "n y x d"], scale: Float[Array, " d"], wanted: Bool[Array, "n y x"]
) -> tuple[Int8[Array, "n y x d"], dict[str, Array]]:
    """Vectors as int8 multiples of `scale`, -127 to 127, and what that costs where they are wanted.

    The cost: `clipped` values, the sum `cosine_error` and the `max_cosine_error` (1 - cosine) of `counted` vectors;
    `finite` tells whether all vectors were.
    """
    steps = jnp.round(vectors / scale)
    stored = jnp.clip(steps, -127, 127).astype(jnp.int8)
    again = stored.astype(jnp.float32) * scale
    size = jnp.linalg.norm(vectors, axis=-1) * jnp.linalg.norm(again, axis=-1)
    error = jnp.where(wanted & (size > 0), 1 - jnp.sum(vectors * again, axis=-1) / jnp.maximum(size, 1e-12), 0)
    return stored, {
        "finite": jnp.isfinite(vectors).all(),
        "clipped": jnp.sum((jnp.abs(steps) > 127) & wanted[..., None]),
        "cosine_error": error.sum(),
        "max_cosine_error": error.max(),
        "counted": wanted.sum(),
    }
