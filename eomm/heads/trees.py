"""A boosted head: scikit-learn's histogram gradient boosting, its trees as plain arrays. No pickle.

What scikit-learn saves is a pickle, which runs code when it is opened. Its trees are thresholds and values: they are
taken out once, after fitting, and checked against scikit-learn's own predictions before anything is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int32
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from eomm.evaluation.gpp.models import BOOSTER, BOOSTING
from eomm.evaluation.probes.fit import ProbeTask, inner_folds

ROWS = 16_384  # predicted at a time, so that the places in the trees stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Trees:
    """The nodes of all trees, one after the other; a leaf is its own child.

    Attributes:
        feature: of each node, the number of the vector that it looks at.
        threshold: values up to it go left.
        left: node to go to.
        right: the other.
        value: what a leaf adds.
        root: first node of each tree.
        output: to which output each tree adds.
        start: of each output, before any tree.
        depth: steps after which every row is in a leaf.
    """

    feature: Int32[np.ndarray, " m"]
    threshold: Float64[np.ndarray, " m"]
    left: Int32[np.ndarray, " m"]
    right: Int32[np.ndarray, " m"]
    value: Float64[np.ndarray, " m"]
    root: Int32[np.ndarray, " t"]
    output: Int32[np.ndarray, " t"]
    start: Float64[np.ndarray, " c"]
    depth: int

    def outputs(self, x: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n c"]:
        """A number, or a score of each class."""
        out = np.tile(self.start, (len(x), 1))
        for first in range(0, len(x), ROWS):
            part = x[first : first + ROWS].astype(np.float64)
            rows = np.arange(len(part))
            for root, output in zip(self.root, self.output, strict=True):
                at = np.full(len(part), root)
                for _ in range(self.depth):
                    goes_left = part[rows, self.feature[at]] <= self.threshold[at]
                    at = np.where(goes_left, self.left[at], self.right[at])
                out[first : first + ROWS, output] += self.value[at]
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved."""
        found = {k: v for k, v in vars(self).items() if k != "depth"}
        return {**found, "depth": np.array([self.depth], np.int32)}

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> "Trees":
        """Inverse of `arrays`."""
        return Trees(**{**arrays, "depth": int(arrays["depth"][0])})  # type: ignore[arg-type]


def boosting(
    x: Float[np.ndarray, "n k"], y: np.ndarray, group: Int[np.ndarray, " n"], classes: int, *, seed: int = 0
) -> tuple[Trees, float]:
    """Fit numbers or classes; the leaves of a tree are as many as was best on groups left out.

    Returns:
        The trees, and the leaves of each.
    """
    task, errors = ProbeTask(classes), np.zeros(len(BOOSTING))
    for fold in inner_folds(group):
        for i, options in enumerate(BOOSTING):
            found = trees_of(_fit(x[fold.train], y[fold.train], options, classes, seed), classes)
            errors[i] += task.loss(found.outputs(x[fold.test]), y[fold.test]) * len(fold.test)
    best = BOOSTING[int(np.argmin(errors))]
    model = _fit(x, y, best, classes, seed)
    found = trees_of(model, classes)
    _check_same(model, found, x[:1000], classes)
    return found, float(best["max_leaf_nodes"])


def _fit(x: np.ndarray, y: np.ndarray, options: Mapping[str, int], classes: int, seed: int) -> Any:
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    more = {"class_weight": "balanced"} if classes else {}
    return kind(**BOOSTER, **options, **more, random_state=seed).fit(x, y)


def trees_of(model: Any, classes: int) -> Trees:
    """The trees of a fitted scikit-learn model; classes that it never saw get the score -inf."""
    stages: Sequence[Sequence[Any]] = model._predictors
    known = np.asarray(model.classes_, int) if classes else np.zeros(1, int)
    start = np.full(max(1, classes), -np.inf)
    start[known] = 0.0
    # Of two classes scikit-learn has one score, for the second.
    at = known[1:] if classes and len(known) == 2 else known
    start[at] = np.ravel(model._baseline_prediction)
    columns: dict[str, list[np.ndarray]] = {n: [] for n in ("feature", "threshold", "left", "right", "value")}
    roots, outputs, count, depth = [], [], 0, 0
    for stage in stages:
        for output, tree in zip(at, stage, strict=True):
            nodes = tree.nodes
            own, leaf = np.arange(len(nodes)) + count, nodes["is_leaf"].astype(bool)
            columns["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
            columns["threshold"].append(np.where(leaf, 0.0, nodes["num_threshold"]))
            columns["left"].append(np.where(leaf, own, nodes["left"].astype(int) + count))
            columns["right"].append(np.where(leaf, own, nodes["right"].astype(int) + count))
            columns["value"].append(np.where(leaf, nodes["value"], 0.0))
            roots.append(count)
            outputs.append(output)
            count, depth = count + len(nodes), max(depth, int(nodes["depth"].max()))
    whole = {n: np.concatenate(parts) for n, parts in columns.items()}
    return Trees(
        feature=whole["feature"].astype(np.int32),
        threshold=whole["threshold"].astype(np.float64),
        left=whole["left"].astype(np.int32),
        right=whole["right"].astype(np.int32),
        value=whole["value"].astype(np.float64),
        root=np.array(roots, np.int32),
        output=np.array(outputs, np.int32),
        start=start,
        depth=depth,
    )


def _check_same(model: Any, found: Trees, x: np.ndarray, classes: int) -> None:
    """The trees taken out give what scikit-learn gives; its arrays are private and may change their meaning."""
    ours = found.outputs(x)
    theirs = model.predict(x)
    same = np.argmax(ours, axis=1) == theirs if classes else np.isclose(ours[:, 0], theirs, rtol=1e-6, atol=1e-9)
    if not same.all():
        raise RuntimeError("scikit-learn's trees are laid out differently from what eomm.heads.trees reads")
