"""From a configuration to the optax chain: clip, AdamW with decay by parameter path, warm-up, cosine or plateau."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from eomm.errors import UsageError
from eomm.models.interface import path_name

DECAY = r"kernel$|depthwise_\d+$"  # weights of layers; not biases, norms or learned tokens


def make_schedule(options: ConfigDict, steps: int) -> optax.Schedule:
    """Learning rate by number of updates: linear warm-up, then "cosine" to zero at `steps`, "constant" or "plateau".

    "plateau" is constant here; what validation makes of it is `Plateau`.

    Raises:
        UsageError: another schedule, or a warm-up that does not end before `steps`.
    """
    peak, warmup = options.learning_rate, options.warmup_steps
    if not 0 <= warmup < max(steps, 1):
        raise UsageError(f"config.optimiser.warmup_steps is {warmup}, expected fewer than config.steps, {steps}")
    if options.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, steps - warmup)
    elif options.schedule in ("constant", "plateau"):
        after = optax.constant_schedule(peak)
    else:
        raise UsageError(
            f"config.optimiser.schedule is {options.schedule!r}, expected 'cosine', 'constant' or 'plateau'"
        )
    # The first update already moves: at 0 a warm-up step would be spent on nothing.
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rise, after], [warmup]) if warmup else after


def make_optimiser(options: ConfigDict, steps: int) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Args:
        options: learning_rate, warmup_steps, schedule, weight_decay, clip (0: none), and optionally `decay`, a regex
            over parameter paths: what it is found in is decayed (default `DECAY`), and `b2`. The values of `Plateau`
            for the schedule "plateau".
        steps: of the whole run.

    Raises:
        UsageError: see `make_schedule`; or, on init, weight decay that matches no parameter.
    """
    pattern = options.get("decay", DECAY)

    def decayed(params: Any) -> Any:
        mask = jax.tree_util.tree_map_with_path(lambda path, _: bool(re.search(pattern, path_name(path))), params)
        if options.weight_decay and not any(jax.tree.leaves(mask)):
            names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
            raise UsageError(f"config.optimiser.decay {pattern!r} matches no parameter; they are {', '.join(names)}")
        return mask

    adamw = optax.adamw(
        make_schedule(options, steps), b2=options.get("b2", 0.999), weight_decay=options.weight_decay, mask=decayed
    )
    return optax.chain(optax.clip_by_global_norm(options.clip), adamw) if options.clip else adamw


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Lower the learning rate when a metric of validation no longer falls; when to stop is judge.py.

    As PyTorch's ReduceLROnPlateau; optax's counts updates, not validations.

    Attributes:
        metric: of validation; less is better.
        factor: of the learning rate after each plateau.
        patience: validations without a new best that change nothing; the next one ends the plateau.
    """

    metric: str
    factor: float
    patience: int

    def start(self) -> dict[str, jax.Array]:
        """The state before the first validation: `best`, `stale` validations since, `scale` of the learning rate."""
        return {"best": jnp.asarray(jnp.inf), "stale": jnp.zeros((), jnp.int32), "scale": jnp.ones(())}

    def after(self, state: Mapping[str, jax.Array], value: jax.Array) -> dict[str, jax.Array]:
        """The state after a validation; a new best is one lower by 1e-4 of itself, NaN is none."""
        best, stale, scale = state["best"], state["stale"], state["scale"]
        better = value < jnp.where(jnp.isinf(best), best, best - 1e-4 * jnp.abs(best))
        stale = jnp.where(better, 0, stale + 1)
        ended = (stale > 0) & (stale % (self.patience + 1) == 0)
        return {
            "best": jnp.where(better, value, best),
            "stale": stale,
            "scale": jnp.where(ended, scale * self.factor, scale),
        }


def make_plateau(options: ConfigDict) -> Plateau | None:
    """The plateau that a configuration asks for with `schedule="plateau"` and `plateau.*`, or None.

    Raises:
        UsageError: its values are not those of `Plateau`.
    """
    if options.schedule != "plateau":
        return None
    given, wanted = dict(options.get("plateau", {})), sorted(Plateau.__dataclass_fields__)
    if sorted(given) != wanted or given["patience"] < 0:
        raise UsageError(f"config.optimiser.plateau is {given}; expected {', '.join(wanted)}")
    return Plateau(**given)
