"""What reads hidden targets from vectors: one small network, the same for every method, on top of the state.

Hidden dates of training places teach it, others are scored, and a large network learns the places: strong decay, few
steps and a mean of two seeds keep it from that. Added to the state in bands, it spends nothing on what is told already.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from eomm.errors import UsageError

WIDTH, STEPS, BATCH, SEEDS = 128, 500, 384, 2
RATE, LAST_RATE, WARM_UP, DECAY = 2e-3, 1e-5, 50, 1.0  # the decay is decoupled: of rate x decay a step
LIMIT = 5.0  # deviations beyond which an input says no more
TEXT = (
    f"two layers of {WIDTH} added to the state in bands, from vector, day of year, days to the nearest dates; AdamW, "
    f"decay {DECAY:g}, {STEPS} steps, mean of {SEEDS} seeds"
)
"""For plans."""

Rows = Float[np.ndarray, "n f"]
Bands = Float[np.ndarray, "n c"]
Params = dict[str, Array]


def fit_reader(x: Rows, base: Bands, truth: Bands, *, seed: int = 0) -> Callable[[Rows, Bands], Bands]:
    """A network of x whose output is added to `base`, fitted by mean absolute error over the deviation of each band.

    Args:
        x: inputs; each column is brought to mean 0 and deviation 1 of these rows.
        base: reflectance that is told without learning.
        truth: reflectance.
        seed: of the first start and its batches.

    Returns:
        Inputs and bases of other rows to reflectance, the same for the same arguments.

    Raises:
        UsageError: fewer than two rows to learn from.
    """
    if len(x) < 2:
        raise UsageError(f"{len(x)} hidden dates to learn from; give more or longer series")
    mean, scale = x.mean(0), np.where(x.std(0) > 1e-6, x.std(0), 1.0)
    unit = truth.std(0) + 1e-6
    shown: Callable[[Rows], Rows] = lambda rows: np.clip((rows - mean) / scale, -LIMIT, LIMIT).astype(np.float32)  # noqa: E731
    keys = jax.vmap(jax.random.key)(jnp.arange(seed, seed + SEEDS))
    fitted = _fit_each(keys, shown(x), ((truth - base) / unit).astype(np.float32), STEPS)
    params = {name: np.asarray(p, np.float64) for name, p in fitted.items()}

    def read(rows: Rows, told: Bands) -> Bands:
        starts = [_network({k: p[s] for k, p in params.items()}, shown(rows)) for s in range(SEEDS)]
        return np.asarray(told + unit * np.mean(starts, axis=0))

    return read


def _start(key: Array, inputs: int, outputs: int) -> Params:
    first, second, last = jax.random.split(key, 3)
    draw = jax.nn.initializers.lecun_normal()
    weights = {"w0": draw(first, (inputs, WIDTH)), "w1": draw(second, (WIDTH, WIDTH))}
    weights["w2"] = 0.1 * draw(last, (WIDTH, outputs))  # nearly the base at first
    return weights | {"b0": jnp.zeros(WIDTH), "b1": jnp.zeros(WIDTH), "b2": jnp.zeros(outputs)}


def _network(p: Mapping[str, Any], x: Any) -> Any:
    """Of arrays of JAX or of NumPy."""
    for k in "01":
        x = (x @ p[f"w{k}"] + p[f"b{k}"]).clip(min=0)
    return x @ p["w2"] + p["b2"]


@partial(jax.jit, static_argnames="steps")
@partial(jax.vmap, in_axes=(0, None, None, None))
def _fit_each(key: Array, x: Float[Array, "n f"], y: Float[Array, "n c"], steps: int) -> Params:
    rate = optax.warmup_cosine_decay_schedule(0.0, RATE, min(WARM_UP, steps // 2), steps, LAST_RATE)
    optimiser = optax.adamw(rate, weight_decay=DECAY)
    start, batches = jax.random.split(key)
    params = _start(start, x.shape[1], y.shape[1])

    def loss(p: Params, rows: Array) -> Array:
        return jnp.abs(_network(p, x[rows]) - y[rows]).mean()

    def step(carry: tuple[Params, optax.OptState], number: Array) -> tuple[tuple[Params, optax.OptState], None]:
        p, state = carry
        rows = jax.random.randint(jax.random.fold_in(batches, number), (BATCH,), 0, len(x))
        updates, state = optimiser.update(jax.grad(loss)(p, rows), state, p)
        return (optax.apply_updates(p, updates), state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(steps))[0][0]
