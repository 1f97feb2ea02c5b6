"""Parameters for the networks of tests, without compiling what draws them."""

import functools
import zlib
from typing import Any

import jax
import numpy as np


def parameters(network: Any, *seed: int | str) -> Any:
    """Parameters of an encoder, decoder or fusion head, distributed as its `init` draws them, but drawn by NumPy.

    Tracing `init` costs 0.1 s and compiling it 1 to 4 s; only the tests that check `init` itself compile it.
    """
    return drawn(_shapes(network), *seed)


@functools.cache
def _shapes(network: Any) -> Any:
    return jax.eval_shape(network.init, jax.random.key(0))


def drawn(shapes: Any, *seed: int | str) -> Any:
    """As `parameters`, for a tree of shapes; leaves of one path, shape and seed are the same in every process."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    return jax.tree.unflatten(tree, [_leaf(p, x, seed) for p, x in leaves])


def _leaf(path: Any, like: jax.ShapeDtypeStruct, seed: tuple[int | str, ...]) -> np.ndarray:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    rng, last = np.random.default_rng(zlib.crc32(f"{seed}{name}".encode())), name.split("/")[-1]
    if "bias" in last or last.startswith("null_") or last == "same_orbit":
        drawn = np.zeros(like.shape)
    elif last == "scale":
        drawn = np.ones(like.shape)
    elif last in ("positions", "types", "days", "empty_token"):
        drawn = rng.standard_normal(like.shape)
    elif last in ("type", "absent"):
        drawn = 0.02 * rng.standard_normal(like.shape)
    else:  # as lecun_normal: what comes out of a matrix or of a kernel has the variance of what goes in
        drawn = rng.standard_normal(like.shape) / np.sqrt(np.prod(like.shape[:-1]))
    return drawn.astype(like.dtype)
