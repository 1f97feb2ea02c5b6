"""Data parallelism by `jax.pmap`: the baseline that training on a mesh (eomm/training/mesh.py) is compared with.

pmap is in maintenance mode, and cannot spread parameters over devices. tests/eomm/training/test_mesh.py holds that both
give the same; nothing else uses this.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from eomm.models.interface import Tree
from eomm.training.stage import Stage
from eomm.training.step import make_step, whole_step

AXIS = "devices"


def make_pmap_step(
    stage: Stage, config: ConfigDict, abstract_batch: Tree
) -> tuple[Callable[..., tuple[Tree, Tree]], Callable[[jax.Array], Tree]]:
    """As `eomm.training.step.make_step`, compiled for all devices of this process.

    The two are `step(state, root, frozen, batch)` and `init(rng)`.

    State and report have a leading axis of devices, all the same; a batch is cut by `cut`. Loss and gradient are the
    means over devices, weighted by the count of the metric "loss", as in `eomm.training.step.accumulated`; each device
    draws from `fold_in(rng, device)`, so that a stage that draws differs from one on a mesh.
    """

    def differentiate(params: Tree, frozen: Tree, batch: Tree, rng: jax.Array) -> tuple[tuple[jax.Array, Tree], Tree]:
        rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))
        (loss, metrics), gradient = jax.value_and_grad(stage.loss, has_aux=True)(params, frozen, batch, rng)
        weight = metrics["loss"][1]
        total = jax.lax.psum((weight, jax.tree.map(lambda x: x * weight, (loss, gradient))), AXIS)
        loss, gradient = jax.tree.map(lambda x: x / jnp.maximum(total[0], 1e-6), total[1])
        return (loss, whole_step(jax.lax.psum(metrics, AXIS))), gradient

    step, init = make_step(stage, config, abstract_batch, differentiate=differentiate)
    count = jax.local_device_count()

    def replicate(rng: jax.Array) -> Tree:
        return jax.tree.map(lambda x: jnp.stack([x] * count), init(rng))

    return jax.pmap(step, axis_name=AXIS, in_axes=(0, None, None, 0), donate_argnums=0), jax.jit(replicate)


def cut(batch: Tree) -> Tree:
    """A batch [b, …] as [device, b / devices, …]."""
    count = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(count, len(x) // count, *x.shape[1:]), batch)
