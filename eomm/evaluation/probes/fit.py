"""The probes themselves: k nearest neighbours, a linear model, a small convolutional head. Folds are tables.py.

Each chooses its one number (k, a penalty) on groups left out of the training rows; test rows are not given here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from eomm.errors import UsageError
from eomm.evaluation.baselines import fit_pca, fit_ridge
from eomm.evaluation.folds import Fold, group_folds

PROBES = {
    "knn": "k nearest neighbours (k of 1, 5, 15 chosen within the training folds)",
    "linear": "multinomial logistic regression, or ridge regression (penalty chosen within the training folds)",
    "segmentation": "two 3 x 3 convolutions on the feature maps (fixed width and steps, nothing chosen)",
}
NEIGHBOURS = (1, 5, 15)
PENALTIES = (1.0, 0.1, 0.01, 1e-3)  # strongest first: each starts from the one before
INNER_FOLDS = 3
SIDE = 5  # px; what the segmentation head sees
WIDTH, STEPS, BATCH, COMPONENTS = 32, 150, 256, 32  # of the segmentation head

Rows = Float32[np.ndarray, "n f"]
Outputs = Float[np.ndarray, "n c"]  # a score per class, or one column of values
Predict = Callable[[Rows], Outputs]
F = TypeVar("F", bound=Predict)


@dataclass(frozen=True)
class ProbeTask:
    """What a probe learns.

    Attributes:
        classes: how many; 0 for regression.
    """

    classes: int

    def decide(self, outputs: Outputs) -> np.ndarray:
        """Class numbers, or values."""
        return np.argmax(outputs, axis=1) if self.classes else outputs[:, 0]

    def loss(self, outputs: Outputs, y: np.ndarray) -> float:
        """What choices are made by: 1 - balanced accuracy, or the mean squared error."""
        guess = self.decide(outputs)
        if not self.classes:
            return float(np.mean((guess - y) ** 2))
        return 1 - float(np.mean([np.mean(guess[y == c] == c) for c in np.unique(y)]))


@dataclass(frozen=True)
class Scaler:
    """Columns to mean 0 and a scale; and, where there are more columns than training rows, onto those rows' span.

    The latter loses nothing that a linear model or distances to training rows can use.
    """

    mean: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    basis: Float[np.ndarray, "f r"] | None

    def __call__(self, x: Rows) -> Float32[np.ndarray, "n _"]:
        """Rows to what probes see."""
        z = (x - self.mean) / self.scale
        return (z if self.basis is None else z @ self.basis).astype(np.float32)


def fit_scaler(x: Rows, *, by_column: bool = True) -> Scaler:
    """Of training rows alone: each column to variance 1, or all by one number so that their mean variance is 1."""
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    if not by_column:
        scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
    scale = np.where(scale > 1e-9, scale, 1.0)
    basis = None
    if x.shape[1] > len(x):
        z = (x - mean) / scale
        values, vectors = np.linalg.eigh(z @ z.T)
        keep = values > 1e-9 * values[-1]
        basis = z.T @ (vectors[:, keep] / np.sqrt(values[keep]))
    return Scaler(mean, scale, basis)


def reduce(x: Rows, count: int) -> Callable[[Rows], Rows]:
    """PCA of standardised training rows to `count` numbers, as a function of rows."""
    first = fit_scaler(x)
    if first.basis is not None:  # in the span of the rows components are the same, and cheap
        pca = fit_pca(first(x), min(count, len(x) - 1))
        return lambda rows: pca.transform(first(rows)).astype(np.float32)
    pca = fit_pca(first(x), min(count, x.shape[1]))
    return lambda rows: pca.transform(first(rows)).astype(np.float32)


def fit_probe(
    kind: str, x: Rows, y: np.ndarray, group: Int[np.ndarray, " n"], task: ProbeTask, *, by_column: bool = True
) -> tuple[Predict, float]:
    """Fit a "knn" or "linear" probe.

    Args:
        kind: of the two.
        x: training rows.
        y: class numbers or values.
        group: of every row; choices are made on groups left out.
        task: what is learned.
        by_column: give every column the same variance. Not for principal components, whose last are mostly noise.

    Returns:
        The fitted function, and what was chosen: k, or the penalty.
    """
    scaler = fit_scaler(x, by_column=by_column)
    z = scaler(x)
    if kind == "linear" and not task.classes:
        ridge = fit_ridge(z, y[:, None].astype(np.float64), group)
        return lambda rows: ridge.predict(scaler(rows)), ridge.penalty
    choices = NEIGHBOURS if kind == "knn" else PENALTIES
    final, choice = _chosen(_FITS[kind], choices, z, y, group, task)
    return lambda rows: final(scaler(rows)), choice


def fit_logistic(
    x: Rows, y: np.ndarray, group: Int[np.ndarray, " n"], task: ProbeTask
) -> tuple[Scaler, "Logits", float]:
    """The "linear" probe of classes in its parts: what brings rows to its scale, scores of those, and the penalty."""
    scaler = fit_scaler(x)
    return scaler, *_chosen(_fit_logistic, PENALTIES, scaler(x), y, group, task)


def _chosen(
    fit: Callable[..., list[F]],
    choices: Sequence[float],
    z: Rows,
    y: np.ndarray,
    group: Int[np.ndarray, " n"],
    task: ProbeTask,
) -> tuple[F, float]:
    """Of what `fit` gives for each choice, that with the least loss on groups left out, and the choice."""
    folds = inner_folds(group)
    losses = np.zeros(len(choices))
    for fold in folds:
        fitted = fit(z[fold.train], y[fold.train], task=task)
        losses += [task.loss(predict(z[fold.test]), y[fold.test]) for predict in fitted]
    best = int(np.argmin(losses)) if folds else len(choices) // 2
    return fit(z, y, task=task)[best], float(choices[best])


def inner_folds(group: Int[np.ndarray, " n"]) -> list[Fold]:
    """Folds by group within training rows; none where there is one group, which then decides nothing."""
    try:
        return group_folds(group, count=INNER_FOLDS)
    except UsageError:
        return []


def _fit_knn(x: Rows, y: np.ndarray, *, task: ProbeTask) -> list[Predict]:
    """One for each of NEIGHBOURS; scikit-learn finds them, in a third of the time of a product of matrices here."""
    near = NearestNeighbors(algorithm="brute", metric="sqeuclidean").fit(x)

    def predict(rows: Rows, k: int) -> Outputs:
        distance, index = near.kneighbors(rows, min(k, len(x)))
        if not task.classes:
            return np.asarray(y[index].mean(axis=1, keepdims=True))
        # ties between classes go to the nearer neighbours
        weight = 1 + 1e-3 * (distance[:, -1:] - distance) / (np.ptp(distance, axis=1)[:, None] + 1e-12)
        return np.stack([np.where(y[index] == c, weight, 0).sum(axis=1) for c in range(task.classes)], axis=1)

    return [partial(predict, k=k) for k in NEIGHBOURS]


@dataclass(frozen=True)
class Logits:
    """Scores of classes: `rows @ weights + bias`, -inf for those that no training row had."""

    weights: Float[np.ndarray, "f c"]
    bias: Float[np.ndarray, " c"]
    absent: Bool[np.ndarray, " c"]

    def __call__(self, rows: Rows) -> Outputs:
        """Of rows."""
        return np.where(self.absent, -np.inf, rows @ self.weights + self.bias)


def _fit_logistic(x: Rows, y: np.ndarray, *, task: ProbeTask) -> list[Logits]:
    """One for each of PENALTIES; classes count equally, however many rows they have.

    scikit-learn's has the same optimum and takes four to six times as long (2,000 rows of 64 numbers). Weights are
    sought along the principal axes of the rows, each scaled by its curvature: a fifth of the steps.
    """
    counts = np.bincount(y, minlength=task.classes)
    weight = (1 / np.maximum(counts, 1))[y] / (counts > 0).sum()
    target = np.eye(task.classes)[y]
    x64 = x.astype(np.float64)
    spread, axes = np.linalg.eigh(x64.T @ (weight[:, None] * x64))
    turned = np.concatenate([x64 @ axes, np.ones((len(x), 1))], axis=1)
    spread = np.append(np.maximum(spread, 0), 1.0)
    absent = counts == 0

    def loss(flat: np.ndarray, penalty: Float[np.ndarray, " f"], step: Float[np.ndarray, " f"]) -> Any:
        w = step[:, None] * flat.reshape(-1, task.classes)
        logits = np.where(absent, -1e9, turned @ w)
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(axis=1, keepdims=True)
        value = -np.sum(weight * (np.sum(target * logits, axis=1) - np.log(total[:, 0])))
        gradient = turned.T @ (weight[:, None] * (p / total - target)) + penalty[:, None] * w
        return value + 0.5 * np.sum(penalty[:, None] * w**2), (step[:, None] * gradient).ravel()

    found: list[Logits] = []
    w = np.zeros((turned.shape[1], task.classes))
    for strength in PENALTIES:
        penalty = np.append(np.full(len(axes), strength), 0.0)  # the last is the bias
        step = 1 / np.sqrt(0.25 * spread + penalty)
        start, limits = (w / step[:, None]).ravel(), {"maxiter": 100, "ftol": 1e-7}
        flat = minimize(loss, start, args=(penalty, step), jac=True, method="L-BFGS-B", options=limits).x
        w = step[:, None] * flat.reshape(-1, task.classes)
        found.append(Logits(axes @ w[:-1], w[-1], absent))
    return found


_FITS: Mapping[str, Callable[..., list[Any]]] = {"knn": _fit_knn, "linear": _fit_logistic}


class Head(nn.Module):
    """Two 3 x 3 convolutions on the 5 x 5 px round a pixel, as matrix products."""

    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "n 5 5 k"]) -> Float[Array, "n c"]:
        """Of the middle pixel."""
        for width in (WIDTH, self.outputs):
            side = x.shape[1] - 2
            shifts = [x[:, i : i + side, j : j + side] for i in range(3) for j in range(3)]
            x = nn.Dense(width)(jnp.concatenate(shifts, axis=-1))
            x = nn.relu(x) if side > 1 else x
        return x[:, 0, 0]


@partial(jax.jit, static_argnames=("outputs", "regression"))
def _train_head(
    patches: Float[Array, "n 5 5 k"],
    y: Array,
    weight: Float[Array, " n"],
    rng: Array,
    *,
    outputs: int,
    regression: bool,
) -> Any:
    head, optimiser = Head(outputs), optax.adamw(optax.cosine_decay_schedule(3e-3, STEPS), weight_decay=1e-2)
    params = head.init(rng, patches[:1])

    def loss(params: Any, rows: Array) -> Array:
        out, w = jnp.asarray(head.apply(params, patches[rows])), weight[rows]
        if regression:
            errors = (out[:, 0] - y[rows]) ** 2
        else:
            errors = optax.softmax_cross_entropy_with_integer_labels(out, y[rows])
        return jnp.sum(w * errors) / jnp.maximum(jnp.sum(w), 1e-9)

    def step(carry: Any, rng: Array) -> tuple[Any, None]:
        params, state = carry
        rows = jax.random.randint(rng, (min(BATCH, len(weight)),), 0, len(weight))
        updates, state = optimiser.update(jax.grad(loss)(params, rows), state, params)
        return (optax.apply_updates(params, updates), state), None

    carry, _ = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(rng, STEPS))
    return carry[0]


@partial(jax.jit, static_argnames="outputs")
def _apply_head(params: Any, patches: Float[Array, "n 5 5 k"], *, outputs: int) -> Float[Array, "n c"]:
    return Head(outputs).apply(params, patches)  # type: ignore[return-value]


def fit_head(
    maps: Sequence[Float32[np.ndarray, "_ _ f"]],
    at: Int[np.ndarray, "n 3"],
    y: np.ndarray,
    task: ProbeTask,
    *,
    seed: int,
) -> Callable[[Int[np.ndarray, "m 3"]], Outputs]:
    """Fit the segmentation head on the surroundings of training pixels.

    Maps are standardised and reduced to at most 32 principal components, both fitted on training pixels.

    Args:
        maps: features of every site; zero where there are none.
        at: (site, row, column) of the training pixels.
        y: class numbers or values.
        task: what is learned.
        seed: of the initial parameters and batches.

    Returns:
        A function from pixels to outputs.
    """
    own = np.stack([maps[s][r, c] for s, r, c in at])
    shorten = reduce(own, COMPONENTS)
    spread = np.maximum(shorten(own).std(), 1e-6)
    half = SIDE // 2
    short = []
    for m in maps:
        flat = shorten(m.reshape(-1, m.shape[-1])) / spread
        short.append(np.pad(flat.reshape(*m.shape[:2], -1), ((half, half), (half, half), (0, 0))))

    def cut(where: np.ndarray) -> np.ndarray:
        found = np.zeros((len(where), SIDE, SIDE, short[0].shape[-1]), np.float32)
        step = np.arange(SIDE)
        for s in np.unique(where[:, 0]):
            mine = where[:, 0] == s
            row, col = where[mine, 1], where[mine, 2]
            found[mine] = short[s][row[:, None, None] + step[:, None], col[:, None, None] + step]
        return found

    outputs, centre, width = max(1, task.classes), 0.0, 1.0
    if task.classes:
        counts = np.bincount(y, minlength=task.classes)
        weight = (1 / np.maximum(counts, 1))[y]
    else:
        weight, centre, width = np.ones(len(y)), float(y.mean()), float(y.std()) or 1.0
    # few shapes, so that little is compiled: training sets are filled up with rows of no weight
    size = 2 ** int(np.ceil(np.log2(max(len(y), 16))))
    more = np.zeros(size - len(y), np.int64)
    patches = jnp.asarray(np.concatenate([cut(at), cut(at)[more]]).astype(np.float32))
    target = np.concatenate([y, y[more]])
    target = ((target - centre) / width).astype(np.float32) if not task.classes else target.astype(np.int32)
    weight = np.concatenate([weight, np.zeros(len(more))]).astype(np.float32)
    params = _train_head(
        patches,
        jnp.asarray(target),
        jnp.asarray(weight),
        jax.random.key(seed),
        outputs=outputs,
        regression=not task.classes,
    )

    def predict(where: Int[np.ndarray, "m 3"]) -> Outputs:
        parts = []
        for start in range(0, len(where), 1024):
            part = cut(where[start : start + 1024])
            filled = np.pad(part, ((0, 1024 - len(part)), (0, 0), (0, 0), (0, 0))).astype(np.float32)
            parts.append(np.asarray(_apply_head(params, jnp.asarray(filled), outputs=outputs))[: len(part)])
        return np.concatenate(parts) * width + centre

    return predict
