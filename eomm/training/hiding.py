"""Decoding only what is hidden: which acquisitions a target loses besides its gap, what it is asked, bands it loses.

Pure functions of a batch and a key, beside those of objective.py.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Int32

from eomm.models.interface import MISSING_BAND, nearest_seen
from eomm.training.objective import PATTERNS, Objective, make_queries

FLOOR = 0.04  # of a far query's weight beside a near one's
LOST = 0.4  # of the bands, in a sample that loses some


def hide_others(
    rng: Array, day: Int32[Array, "b t"], targets: Int32[Array, "b n"], hidden: Bool[Array, "b n t"], o: Objective
) -> Bool[Array, "b n t"]:
    """Besides what is hidden already, a share of the other acquisitions; never the target itself.

    A target's share is drawn between `hidden_others`, and one of `patterns`:
        scattered: each acquisition by itself.
        run: all within a stretch of that share of the days that queries reach, anywhere in them.
        side: all after the target, or all before it, as at the ends of a series; of whatever share.
        alternate: every second acquisition, of whatever share.
    """
    low, high = o.hidden_others
    if not high:
        return hidden
    how, what, where, each, which = jax.random.split(rng, 5)
    draw = (*targets.shape, 1)
    share = jax.random.uniform(how, draw, minval=low, maxval=high)
    side = jax.random.bernoulli(what, 0.5, draw)
    apart = day[:, None] - jnp.take_along_axis(day, targets, axis=1)[..., None]
    index = jnp.arange(day.shape[1])
    begin = o.reach_days * (2 * (1 - share) * jax.random.uniform(where, draw) - 1)
    lost = {
        "scattered": jax.random.uniform(each, hidden.shape) < share,
        "run": (apart >= begin) & (apart < begin + 2 * o.reach_days * share),
        "side": jnp.where(side, apart > 0, apart < 0),
        "alternate": (index + side) % 2 == 0,
    }
    assert set(lost) == set(PATTERNS)
    chosen = jax.random.randint(which, draw, 0, len(o.patterns))
    drawn = jnp.select([chosen == i for i in range(len(o.patterns))], [lost[name] for name in o.patterns], False)
    return hidden | (drawn & (index != targets[..., None]))


def draw_hidden_queries(
    rng: Array, batch: Mapping[str, Array], targets: Int32[Array, "b n"], hidden: Bool[Array, "b n t"], o: Objective
) -> tuple[Int32[Array, "b n j"], dict[str, Array], Bool[Array, "b n j"]]:
    """As `objective.draw_queries`, but only what is hidden exists; the target comes first, where it is hidden itself.

    The others are drawn among hidden acquisitions within `reach_days`, the target among them, near ones more.
    """
    when, dy_rng, dx_rng = jax.random.split(rng, 3)
    day, shape = batch["day"], (*targets.shape, o.queries)
    apart = jnp.abs(day[:, None] - jnp.take_along_axis(day, targets, axis=1)[..., None])
    may = hidden & batch["present"].astype(bool)[:, None] & (apart <= o.reach_days)
    weight = (1 - FLOOR) * jnp.exp(-apart / o.near_days) + FLOOR if o.near_days else jnp.ones(apart.shape)
    logits = jnp.where(may, jnp.log(weight), -1e9)[..., None, :]
    index = jax.random.categorical(when, jnp.broadcast_to(logits, (*shape, day.shape[1]))).astype(jnp.int32)
    index = index.at[..., 0].set(targets)
    exists = jnp.take_along_axis(may, index, axis=-1)
    offset = lambda key: jax.random.randint(key, shape, -o.reach_px, o.reach_px + 1).at[..., 0].set(0)  # noqa: E731
    queries = make_queries(batch, targets, index, offset(dy_rng), offset(dx_rng))
    gone = hidden | ~batch["present"].astype(bool)[:, None]
    return index, queries | nearest_seen(day, targets, gone), exists


def hide_bands(rng: Array, values: Int[Array, "b t h w c"], share: float) -> Int[Array, "b t h w c"]:
    """Of a share of samples, take bands away at all dates, one band at least staying (`interface.MISSING_BAND`)."""
    which, what = jax.random.split(rng)
    batch, bands = values.shape[0], values.shape[-1]
    drawn = jax.random.uniform(what, (batch, bands))
    lost = (drawn < LOST) & (drawn < drawn.max(-1, keepdims=True))
    lost &= jax.random.bernoulli(which, share, (batch, 1))
    return jnp.where(lost[:, None, None, None], jnp.asarray(MISSING_BAND, values.dtype), values)
