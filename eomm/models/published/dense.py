"""The published encoder over a cube: what can be computed once per acquisition is, the rest per window.

Reused: the 256 numbers of an acquisition at a pixel, where its 15 x 15 patch is completely valid; they serve every
window that holds them. Where a patch lacks everything, as it does where an acquisition is hidden, fully clouded or
beyond the series' end, it is the window's mean throughout, encoded once per window however many patches are so.

Of sixteen months over Flanders (64 x 64 px, two thirds of Sentinel-2's pixels clouded) that leaves 56 % of Sentinel-1's
patches and 24 % of Sentinel-2's unencoded, half of both together; of clearer or larger sites more.

Not reused: a patch that lacks a part is filled with the mean of its window, so it is encoded again for every window
(up to 11). And nothing is shared between neighbouring pixels, though their patches overlap: the convolutions pad
with zeros at the border of each pixel's 15 x 15, and CBAM pools over all of it, so a value inside differs from
pixel to pixel.

Not encoded at all, but 0, is a window that never sees its own pixel: beyond the border of a cube, and where nothing
is valid.

What needs encoding is gathered into chunks by a loop that runs as often as there is something to do; memory is that
of one chunk and one row of pixels. The loop has no reverse mode: train on `encode`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32, Real, Shaped

from eomm.models.published.layers import PLACES, SIDE, WIDTH

# Patches encoded at once. 2 cores: 86 per second by 16, 81 by 64, 74 by 256 (busy machine, jax 0.10).
CPU_CHUNK, CHUNK = 16, 512
CENTRE = PLACES // 2
BLANK = PLACES  # the slot of a window's patch that lacks everything

Encode = Callable[[Float[Array, "n 15 15 c"]], Float[Array, "n 256"]]
Scale = Callable[[Shaped[Array, "*n c"]], Float[Array, "*n c"]]


def encode_where(
    needed: Bool[Array, " n"], patch: Callable[[Int32[Array, " k"]], Float[Array, "k 15 15 c"]], encode: Encode
) -> Float[Array, "n 256"]:
    """The numbers of the patches that are needed; the others' may hold anything finite.

    Args:
        needed: by patch.
        patch: the patches at some indices.
        encode: what is applied to them.
    """
    size = len(needed)
    chunk = min(CPU_CHUNK if jax.default_backend() == "cpu" else CHUNK, size)
    order = jnp.argsort(~needed, stable=True).astype(jnp.int32)
    order = jnp.pad(order, (0, -size % chunk), mode="edge")
    chunks = -(-needed.sum() // chunk)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        done, found = state
        index = jax.lax.dynamic_slice_in_dim(order, done * chunk, chunk)
        return done + 1, found.at[index].set(encode(patch(index)))

    start = jnp.zeros((), chunks.dtype), jnp.zeros((size, WIDTH), jnp.float32)
    return jax.lax.while_loop(lambda state: state[0] < chunks, step, start)[1]


def date_features(
    values: Real[Array, "b t h w c"], valid: Shaped[Array, "b t h w"], scale: Scale, encode: Encode
) -> dict[str, Array]:
    """What windows take from each acquisition; leaves [b, t, y, …], cropped by the halo.

    `rows` and `seen` [b, t, y, 15, w, …] are stored values and validity of the 15 rows round each row of pixels,
    `vectors` [b, t, y, x, 256] the numbers of `complete` [b, t, y, x] patches, `sums` and `counts` those over
    each patch, for the mean of a window.
    """
    valid = valid.astype(bool)
    height, width = values.shape[2] - SIDE + 1, values.shape[3] - SIDE + 1
    # The mean needs no patches: sums over 15 x 15 pixels, as sums of 15 shifts in each direction.
    scaled = jnp.where(valid[..., None], scale(values), 0)
    sums = box_sum(scaled, height, width)
    counts = box_sum(valid.astype(jnp.int32)[..., None], height, width)[..., 0]
    complete = counts == SIDE * SIDE

    def acquisition(one: tuple[Array, Array]) -> Array:
        stored, needed = one

        def patch(index: Array) -> Array:
            return scale(cut(stored, index // width, index % width))

        return encode_where(needed.reshape(-1), patch, encode).reshape(height, width, WIDTH)

    flat = (values.reshape(-1, *values.shape[2:]), complete.reshape(-1, height, width))
    vectors = jax.lax.map(acquisition, flat).reshape(*complete.shape, WIDTH)
    return {
        "rows": strips(values, height),
        "seen": strips(valid, height),
        "vectors": vectors,
        "complete": complete,
        "sums": sums,
        "counts": counts,
    }


def window_vectors(
    features: dict[str, Array],
    index: Int32[Array, "n 11"],
    exists: Bool[Array, "n 11"],
    *,
    scale: Scale,
    encode: Encode,
) -> Float[Array, "n x 11 256"]:
    """The numbers of every acquisition of every window along one row; 0 where a window never sees its own pixel.

    Args:
        features: leaves [t, …] of one sample and row.
        index: acquisitions of each target's window.
        exists: whether there is one at that place, and the target may see it.
        scale: stored values to the model's range.
        encode: scaled patches to their numbers.
    """
    targets, width = len(index), features["complete"].shape[1]
    counts = jnp.where(exists[..., None], features["counts"][index], 0)  # [n, 11, x]
    sums = jnp.where(exists[..., None, None], features["sums"][index], 0)
    mean = sums.sum(1) / jnp.maximum(counts.sum(1), 1)[..., None]  # [n, x, c]
    complete = exists[..., None] & features["complete"][index]
    blank = counts == 0
    middle = features["seen"][:, SIDE // 2, SIDE // 2 : SIDE // 2 + width]
    sees_itself = (exists[..., None] & middle[index]).any(1)  # [n, x]
    partly = jnp.concatenate([~complete & ~blank, blank.any(1, keepdims=True)], axis=1)  # [n, 12, x]
    partly &= sees_itself[:, None]

    def patch(which: Array) -> Array:
        n, slot, x = which // (width * (PLACES + 1)), which // width % (PLACES + 1), which % width
        t = index[n, jnp.minimum(slot, PLACES - 1)]
        seen = cut_along(features["seen"], t, x) & (slot != BLANK)[:, None, None]
        stored = cut_along(features["rows"], t, x)
        return jnp.where(seen[..., None], scale(stored), mean[n, x][:, None, None])

    own = encode_where(partly.reshape(-1), patch, encode).reshape(targets, PLACES + 1, width, WIDTH)
    again = jnp.where(blank[..., None], own[:, BLANK:], own[:, :BLANK])
    found = jnp.where(complete[..., None], features["vectors"][index], again)
    return jnp.where(sees_itself[..., None, None], jnp.moveaxis(found, 1, 2), 0)


def whole_windows(
    features: dict[str, Array], index: Int32[Array, "n 11"], exists: Bool[Array, "n 11"]
) -> tuple[Int[Array, "n 11 15 15 c"], Bool[Array, "n 11 15 15"]]:
    """Stored values and validity of every window of a crop of a single pixel; arguments as of `window_vectors`."""
    seen = features["seen"][:, 0][index] & exists[..., None, None]
    return features["rows"][:, 0][index], seen


def sees_target(seen: Bool[Array, "n 11 15 15"]) -> Bool[Array, " n"]:
    """Which windows see their own pixel at least once."""
    return seen[:, :, SIDE // 2, SIDE // 2].any(1)


def window_places(
    mask: Bool[Array, "n t"], targets: Int32[Array, " n"], day: Int32[Array, " t"]
) -> tuple[Int32[Array, "n 11"], Bool[Array, "n 11"], Int32[Array, "n 11"]]:
    """Acquisitions of each window in order of time, whether they exist, and days since the window's first.

    The target is at the centre, seen or not. Beyond an end of the series there is nothing, at the day of the
    nearest acquisition that exists.

    Args:
        mask: acquisitions that each window holds (`window_mask`).
        targets: indices into the time axis.
        day: of every acquisition.
    """
    time = jnp.arange(mask.shape[1])
    offset = time - targets[:, None]
    count = jnp.cumsum(mask, axis=1)
    at = jnp.take_along_axis(count, targets[:, None], axis=1)
    itself = jnp.take_along_axis(mask, targets[:, None], axis=1)
    before, after = CENTRE - 1 - (at - itself - count), CENTRE + count - at  # the place of an acquisition of the window
    place = jnp.where(offset < 0, before, jnp.where(offset > 0, after, CENTRE))
    here = (place[:, None] == jnp.arange(PLACES)[:, None]) & (mask | (offset == 0))[:, None]  # [n, 11, t]
    index = jnp.argmax(here, axis=-1).astype(jnp.int32)
    known = here.any(-1)
    days = day[index]
    first = jnp.where(known, days, jnp.iinfo(jnp.int32).max).min(1, keepdims=True)
    last = jnp.where(known, days, jnp.iinfo(jnp.int32).min).max(1, keepdims=True)
    days = jnp.where(known, days, jnp.where(jnp.arange(PLACES) < CENTRE, first, last))
    exists = known.at[:, CENTRE].set(itself[:, 0])
    return index, exists, days - first


def box_sum(x: Shaped[Array, "b t h w c"], height: int, width: int) -> Shaped[Array, "b t y x c"]:
    """Sum over the 15 x 15 pixels round each pixel inside the halo."""
    for axis, size in ((2, height), (3, width)):
        shifts = [jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(SIDE)]
        x = sum(shifts[1:], shifts[0])
    return x


def strips(x: Shaped[Array, "b t h ..."], height: int) -> Shaped[Array, "b t y 15 ..."]:
    """The 15 rows round each row inside the halo."""
    return jnp.stack([x[:, :, i : i + height] for i in range(SIDE)], axis=3)


@partial(jax.vmap, in_axes=(None, 0, 0))
def cut(x: Array, row: Array, col: Array) -> Array:
    """Patches [k, 15, 15, c] of one acquisition [h, w, c]."""
    return jax.lax.dynamic_slice(x, (row, col, 0), (SIDE, SIDE, x.shape[2]))


@partial(jax.vmap, in_axes=(None, 0, 0))
def cut_along(x: Array, at: Array, col: Array) -> Array:
    """Patches [k, 15, 15, …] of strips [t, 15, w, …]."""
    along = jax.lax.dynamic_index_in_dim(x, at, keepdims=False)
    return jax.lax.dynamic_slice_in_dim(along, col, SIDE, axis=1)
