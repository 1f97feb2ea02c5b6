"""What is compiled: the pure training step of a stage. Not the loop (loop.py), not validation (judge.py)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from eomm.errors import UsageError
from eomm.models.interface import Tree
from eomm.training.optimiser import make_optimiser, make_plateau, make_schedule

if TYPE_CHECKING:
    from eomm.training.stage import Stage

Differentiate = Callable[[Tree, Tree, Tree, jax.Array], tuple[tuple[jax.Array, Tree], Tree]]
NORMS = ("gradient_norm", "parameter_norm", "update_norm")


def make_step(
    stage: "Stage",
    config: ConfigDict,
    abstract_batch: Tree,
    *,
    differentiate: Differentiate | None = None,
    whole: jax.sharding.NamedSharding | None = None,
) -> tuple[Callable[..., tuple[Tree, Tree]], Callable[[jax.Array], Tree]]:
    """The pure functions (step, init) of a run; the caller compiles them.

    `init(rng) -> state`. `step(state, root, frozen, batch) -> (state, report)` draws from `fold_in(root, step)`; one
    whose loss or gradient is not finite keeps parameters and optimiser state and is counted. `report["sums"]` are
    the metrics since the last multiple of log_every. They live in the state, so that a resumed run logs what an
    uninterrupted one does. `report["last"]` are this step's own, finite or not.

    `differentiate(params, frozen, batch, rng) -> ((loss, metrics), gradient)` is `accumulated` by default. On a mesh
    `whole` is `replicated(mesh)`: parameters split over devices are gathered once per step. Left to itself the compiler
    splits activations instead: 94 MB exchanged among two devices where 1 MB will do (benchmarks/scaling.py, jax 0.10).

    Raises:
        UsageError: config.accumulate does not divide the batch.
    """
    optimiser = make_optimiser(config.optimiser, config.steps)
    schedule = make_schedule(config.optimiser, config.steps)
    plateau = make_plateau(config.optimiser)
    if differentiate is None:
        batch_size = jax.tree.leaves(abstract_batch)[0].shape[0]
        differentiate = accumulated(stage, config.get("accumulate", 1), batch_size)

    def init(rng: jax.Array) -> Tree:
        params = stage.init(rng)
        _, metrics = jax.eval_shape(stage.loss, params, stage.frozen, abstract_batch, rng)
        zero, nothing = jnp.zeros((), jnp.int32), (jnp.zeros(()), jnp.zeros(()))
        return {
            "params": params,
            "opt_state": optimiser.init(params),
            "step": zero,
            "skipped": zero,
            "bad_in_row": zero,
            "sums": {name: nothing for name in sorted({"loss", *NORMS, *metrics})},
            **({"plateau": plateau.start()} if plateau else {}),
        }

    def step(state: Tree, root: jax.Array, frozen: Tree, batch: Tree) -> tuple[Tree, Tree]:
        old = (state["params"], state["opt_state"])
        rng = jax.random.fold_in(root, state["step"])
        used = jax.lax.with_sharding_constraint(old[0], whole) if whole else old[0]
        if stage.scheduled:
            frozen = {**frozen, "progress": state["step"] / config.steps}
        (loss, metrics), gradient = differentiate(used, frozen, batch, rng)
        norm = optax.tree.norm(gradient)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimiser.update(gradient, old[1], old[0])
        kept = {"plateau": state["plateau"]} if plateau else {}  # moved by validation, in the loop
        scale = kept["plateau"]["scale"] if plateau else 1.0
        if plateau:
            updates = jax.tree.map(lambda u: u * scale, updates)
        new = (optax.apply_updates(old[0], updates), opt_state)
        params, opt_state = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)
        norms = dict(zip(NORMS, (norm, optax.tree.norm(params), optax.tree.norm(updates)), strict=True))
        metrics = {"loss": (loss, 1.0), **metrics, **{name: (value, 1.0) for name, value in norms.items()}}
        first = state["step"] % config.log_every == 0
        sums = jax.tree.map(
            lambda total, m: jnp.where(first, 0.0, total) + jnp.where(good, m, 0.0), state["sums"], metrics
        )
        bad = jnp.where(good, 0, 1)
        counts = {
            "step": state["step"] + 1,
            "skipped": state["skipped"] + bad,
            "bad_in_row": (state["bad_in_row"] + 1) * bad,
            "sums": sums,
        }
        rate = scale * schedule(state["step"] - state["skipped"])
        report = {**counts, "last": metrics, "learning_rate": rate}
        return {"params": params, "opt_state": opt_state, **counts, **kept}, report

    return step, init


def accumulated(stage: "Stage", parts: int, batch_size: int) -> Differentiate:
    """`value_and_grad` of a stage's loss over a batch in `parts` pieces, one after the other, to save memory.

    Piece i holds rows i, i + parts, … (each device keeps its own) and draws from `fold_in(rng, i)`. Loss and gradient
    are the means over pieces, weighted by the count of the metric "loss", which is what a piece's loss is a mean over.
    A loss that is one ratio of a sum to that count, and draws nothing, is thus that of the whole batch; where it is a
    sum of several ratios, the others are means over their own piece. With one piece it is `value_and_grad`.

    Raises:
        UsageError: the batch cannot be cut so, or the stage tells no such count.
    """
    if parts < 1 or batch_size % parts:
        raise UsageError(f"config.accumulate is {parts}; expected a divisor of config.data.batch_size, {batch_size}")
    whole = jax.value_and_grad(stage.loss, has_aux=True)
    if parts == 1:
        return whole

    def weighted(params: Tree, frozen: Tree, batch: Tree, rng: jax.Array, row: jax.Array) -> Tree:
        (loss, metrics), gradient = whole(params, frozen, batch, jax.random.fold_in(rng, row[0]))
        if "loss" not in metrics:
            raise UsageError(
                f"config.accumulate is {parts}; the loss of {stage.name} gives no metric 'loss' to weigh by"
            )
        weight = metrics["loss"][1]
        return weight, metrics, jax.tree.map(lambda x: x * weight, (loss, gradient))

    pieces = optax.microbatching.microbatch(weighted, argnums=(2, 4), microbatch_size=batch_size // parts)

    def mean(params: Tree, frozen: Tree, batch: Tree, rng: jax.Array) -> tuple[tuple[jax.Array, Tree], Tree]:
        weight, metrics, total = pieces(params, frozen, batch, rng, jnp.arange(batch_size))
        loss, gradient = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-6), total)
        return (loss, whole_step(metrics)), gradient

    return mean


def whole_step(metrics: Tree) -> Tree:
    """Metrics summed over the pieces of a step, with `targets` per step and not per piece."""
    return metrics | ({"targets": (metrics["targets"][0], jnp.ones(()))} if "targets" in metrics else {})


def means(sums: Mapping[str, Any]) -> dict[str, float]:
    """{name: (sum, count)} to {name: mean}, without what counts nothing."""
    return {name: float(total / count) for name, (total, count) in sums.items() if count > 0}
