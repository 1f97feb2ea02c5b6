"""Fluxes by a temporal transformer from the observations of the last 90 days to the flux of the last one, in Flax.

    python -m eomm.experiments.flux_transformer --table towers.csv --site SITE_ID … --out gpp.json

takes the options of `eomm evaluate gpp` and scores two variants beside its methods, minutes a fold: `transformer` takes
observations as they came, with their real distances in days; `published` is the head of arXiv 2511.11706 as released:
features filled to every day by straight lines, 90 tokens without positions, the last one read. To expect: where a
window holds two observations, no more than ridge (RESULTS.md).
"""

import dataclasses
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from eomm.cli.gpp import evaluate_with
from eomm.cli.parser import build_parser
from eomm.evaluation.folds import Fold, inner
from eomm.evaluation.gpp.models import Method, Model, feature_sets, features_of
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.text import format_result

WINDOW_DAYS = 90
MAX_OBSERVATIONS = 32  # the last ones of a window
BATCH = 64
STEPS = 600
CHECK_EVERY = 100
VARIANTS = ("transformer", "published")
OPTIMISER = optax.adamw(optax.linear_schedule(0, 1e-3, 30), weight_decay=1e-2)  # the same however long it trains


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
    """What is known of the days before each target, the target's day included.

    Attributes:
        values: of observations, oldest first, padded at the front with zeros.
        age: days before the target's day.
        present: not padding.
    """

    values: Float[np.ndarray, "n t k"]
    age: Int[np.ndarray, "n t"]
    present: Bool[np.ndarray, "n t"]


def irregular_windows(table: Table, x: Float[np.ndarray, "n k"]) -> Windows:
    """Of every row the site's observations of the last WINDOW_DAYS days, as they came; nothing is filled."""
    count, width = len(table), x.shape[1]
    values = np.zeros((count, MAX_OBSERVATIONS, width), np.float32)
    age = np.zeros((count, MAX_OBSERVATIONS), np.int32)
    present = np.zeros((count, MAX_OBSERVATIONS), bool)
    for row in range(count):
        first = row
        while first > 0 and table.site[first - 1] == table.site[row] and _days(table, first - 1, row) < WINDOW_DAYS:
            first -= 1
        seen = np.arange(max(first, row + 1 - MAX_OBSERVATIONS), row + 1)
        values[row, -len(seen) :], present[row, -len(seen) :] = x[seen], True
        age[row, -len(seen) :] = table.day[row] - table.day[seen]
    return Windows(values=values, age=age, present=present)


def filled_windows(table: Table, x: Float[np.ndarray, "n k"]) -> Windows:
    """Of every row the last WINDOW_DAYS days, features on straight lines between observations; before the first, it."""
    count, width = len(table), x.shape[1]
    values = np.zeros((count, WINDOW_DAYS, width), np.float32)
    back = np.arange(WINDOW_DAYS)[::-1]
    for site in np.unique(table.site):
        rows = np.flatnonzero(table.site == site)
        days = table.day[rows][:, None] - back
        for k in range(width):
            values[rows, :, k] = np.interp(days, table.day[rows], x[rows, k])
    everywhere = np.ones((count, WINDOW_DAYS), bool)
    return Windows(values=values, age=np.tile(back.astype(np.int32), (count, 1)), present=everywhere)


def _days(table: Table, first: int, last: int) -> int:
    return int(table.day[last] - table.day[first])


class Block(nn.Module):
    """Attention over tokens, then an MLP; normalised before (ours) or after (published) each."""

    heads: int
    hidden: int
    after: bool
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"], mask: Bool[Array, "n 1 1 t"], train: bool) -> Float[Array, "n t d"]:
        """Tokens to tokens."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        attend = nn.MultiHeadDotProductAttention(num_heads=self.heads)
        first, second, up, down = nn.LayerNorm(), nn.LayerNorm(), nn.Dense(self.hidden), nn.Dense(x.shape[-1])
        if self.after:
            x = first(x + drop(attend(x, mask=mask)))
            return second(x + drop(down(nn.relu(up(x)))))
        x = x + drop(attend(first(x), mask=mask))
        return x + drop(down(nn.silu(up(second(x)))))


class Irregular(nn.Module):
    """Tokens of observations with their age in days; the last, the target's own day, is read.

    Ages enter as sines and cosines of periods from 4 to 360 days, so that distances, not ranks, count.
    """

    width: int = 32
    layers: int = 2

    @nn.compact
    def __call__(
        self, values: Float[Array, "n t k"], age: Int[Array, "n t"], present: Bool[Array, "n t"], train: bool
    ) -> Float[Array, " n"]:
        """Fluxes, standardised."""
        period = jnp.asarray(np.geomspace(4, 4 * WINDOW_DAYS, self.width // 2), jnp.float32)
        angle = 2 * math.pi * age[..., None].astype(jnp.float32) / period
        x = nn.Dense(self.width)(values) + jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        for _ in range(self.layers):
            x = Block(heads=4, hidden=2 * self.width, after=False, dropout=0.1)(x, present[:, None, None], train)
        return nn.Dense(1)(nn.LayerNorm()(x[:, -1]))[:, 0]


class Published(nn.Module):
    """The released head: Linear to 96, three post-norm layers, no positions, last token, LayerNorm, 48 GELU, 1."""

    width: int = 96

    @nn.compact
    def __call__(
        self, values: Float[Array, "n t k"], age: Int[Array, "n t"], present: Bool[Array, "n t"], train: bool
    ) -> Float[Array, " n"]:
        """Fluxes, standardised. Ages are not used."""
        x = nn.Dense(self.width)(values)
        for _ in range(3):
            x = Block(heads=4, hidden=1024, after=True, dropout=0.05)(x, present[:, None, None], train)
        return nn.Dense(1)(nn.gelu(nn.Dense(48)(nn.LayerNorm()(x[:, -1]))))[:, 0]


def transformers_for(table: Table, plan: GppPlan) -> list[Method]:
    """A method for each features, alone and with weather, and each of VARIANTS; see `methods_for`."""
    return [
        Method(
            name=f"{' + '.join(names)}, {variant}",
            features=names,
            model=transformer(names, variant=variant, seed=plan.seed),
            baseline=not set(names) & {*plan.tested, *plan.checks},
        )
        for variant in VARIANTS
        for names in feature_sets(table, plan.checks)
    ]


def transformer(
    names: Sequence[str],
    *,
    variant: str = "transformer",
    network: nn.Module | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> Model:
    """Train on a fold's training rows; how long is chosen on one inner fold of groups, then fitted on all of them.

    Windows of training rows may hold features of other days, never targets: those enter only as what is predicted.
    """
    chosen: nn.Module = network or (Irregular() if variant == "transformer" else Published())
    windows_of = irregular_windows if variant == "transformer" else filled_windows

    def predict(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
        x = features_of(table, names)
        mean, scale = x[fold.train].mean(0), x[fold.train].std(0)
        windows = windows_of(table, (x - mean) / np.where(scale > 1e-9, scale, 1))
        centre, spread = table.gpp[fold.train].mean(), max(table.gpp[fold.train].std(), 1e-9)
        target = np.where(table.scored, (table.gpp - centre) / spread, 0).astype(np.float32)
        label = table.group if len(np.unique(table.group[fold.train])) > 1 else table.year
        length, nobody = steps, np.zeros(0, int)
        if len(np.unique(label[fold.train])) > 1:
            choice = inner(fold, label, count=4, seed=seed)[0]
            length, _ = fit(chosen, windows, target, choice, steps=steps, seed=seed)
        _, params = fit(chosen, windows, target, dataclasses.replace(fold, test=nobody), steps=length, seed=seed)
        return np.asarray(_apply(chosen, params, windows, fold.test) * spread + centre, np.float64)

    return predict


def fit(
    network: nn.Module, windows: Windows, target: Float[np.ndarray, " n"], fold: Fold, *, steps: int, seed: int
) -> tuple[int, Any]:
    """Train on a fold's training rows; with rows to test, how many steps were best there.

    Returns:
        The number of steps with the least error on the tested rows (`steps` without), and the last parameters.
    """
    rows, check = fold.train, fold.test
    rng = np.random.default_rng(seed)
    first = _batch(windows, rows[:1])
    params = _init(network, seed, first)
    state, best, length = OPTIMISER.init(params), math.inf, steps
    for i in range(steps):
        drawn = rng.choice(rows, BATCH)
        batch = _batch(windows, drawn)
        params, state = _step(network, params, state, batch, target[drawn], (seed, i))
        if len(check) and (i + 1) % CHECK_EVERY == 0:
            error = float(np.abs(_apply(network, params, windows, check) - target[check]).mean())
            best, length = min((best, length), (error, i + 1))
    return length, params


@partial(jax.jit, static_argnums=0)
def _step(
    network: nn.Module, params: Any, state: Any, batch: Mapping[str, Any], target: Any, when: tuple[int, int]
) -> tuple[Any, Any]:
    def loss(params: Any) -> Any:
        rngs: Any = {"dropout": jax.random.fold_in(jax.random.key(when[0]), when[1])}
        return jnp.mean(jnp.abs(_run(network, params, batch, train=True, rngs=rngs) - target))

    gradient = jax.grad(loss)(params)
    updates, state = OPTIMISER.update(gradient, state, params)
    return optax.apply_updates(params, updates), state


@partial(jax.jit, static_argnums=0)
def _init(network: nn.Module, seed: int, batch: Mapping[str, Any]) -> Any:
    return network.init(jax.random.key(seed), batch["values"], batch["age"], batch["present"], False)


@partial(jax.jit, static_argnums=0)
def _forward(network: nn.Module, params: Any, batch: Mapping[str, Any]) -> Any:
    return _run(network, params, batch, train=False)


def _run(network: nn.Module, params: Any, batch: Mapping[str, Any], *, train: bool, rngs: Any = None) -> Any:
    return network.apply(params, batch["values"], batch["age"], batch["present"], train, rngs=rngs)


def _apply(network: nn.Module, params: Any, windows: Windows, rows: np.ndarray) -> Float[np.ndarray, " m"]:
    """Predictions in batches of one shape, so that there is one program."""
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        full = np.resize(part, BATCH)
        found.append(np.asarray(_forward(network, params, _batch(windows, full)))[: len(part)])
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _batch(windows: Windows, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f.name: getattr(windows, f.name)[rows] for f in dataclasses.fields(windows)}


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate and print."""
    words = list(sys.argv[1:] if argv is None else argv)
    a = build_parser().parse_args(["evaluate", "gpp", *words])
    a.typed = shlex.join(["python", "-m", "eomm.experiments.flux_transformer", *words])
    print(format_result(evaluate_with(a, transformers_for)))


if __name__ == "__main__":
    main()
