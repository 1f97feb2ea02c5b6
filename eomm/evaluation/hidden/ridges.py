"""Linear probes of the hidden-target task: what can be read from an embedding, or from the raw series it stands for.

A random encoder's decoder was never trained, so that trained and random encoders are compared by the same ridge
regression from the embedding of a hidden target to its bands, fitted on training dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from eomm.evaluation.baselines import Pca, Ridge, fit_pca, fit_ridge

INPUTS: dict[str, str] = {
    "ridge_trained": "ridge regression from the trained encoder's embedding",
    "ridge_random": "the same from an encoder with random parameters",
    "ridge_pca": "the same from the first principal components of the raw series, as many as the embedding has",
    "ridge_raw": "the same from the raw series round the target: interpolations and three observations on each side",
}
PROBED = ("trained", "random", "raw")  # what these are given; components are the raw series'
Rows = Mapping[str, Float32[np.ndarray, "n _"]]  # by input, such as "trained" or "raw": one row per target pixel


@dataclass(frozen=True)
class Ridges:
    """Fitted ridges of one case; `pca` of raw rows over their `scale`, None without these."""

    pca: Pca | None
    scale: Float32[np.ndarray, " f"]
    models: Mapping[str, Ridge]

    def predict(self, rows: Rows) -> dict[str, Float32[np.ndarray, "n c"]]:
        """Predictions of each."""
        x = {**rows, **({"pca": self.pca.transform(rows["raw"] / self.scale)} if self.pca else {})}
        return {name: model.predict(x[name.removeprefix("ridge_")]) for name, model in self.models.items()}


class Sample:
    """Rows of training targets, collected block by block, for one case."""

    def __init__(self) -> None:
        self.rows: list[Rows] = []
        self.truth: list[np.ndarray] = []
        self.group: list[np.ndarray] = []

    def add(self, rows: Rows, truth: Float32[np.ndarray, "n c"], group: Int[np.ndarray, " n"]) -> None:
        """Rows with what was observed and the date they belong to."""
        self.rows.append(rows)
        self.truth.append(truth)
        self.group.append(group)

    @property
    def count(self) -> int:
        """Rows so far."""
        return sum(map(len, self.truth))

    def fit(self, inputs: Sequence[str], components: int) -> Ridges:
        """Fit a ridge from each of `inputs` on the same rows; where "raw" is one, from its components too."""
        x = {name: np.concatenate([r[name] for r in self.rows]) for name in inputs}
        y, group = np.concatenate(self.truth), np.concatenate(self.group)
        pca, scale = None, np.ones(1, np.float32)
        if "raw" in x:
            spread = x["raw"].std(0)
            scale = np.where(spread > 1e-9, spread, 1).astype(np.float32)
            pca = fit_pca(x["raw"] / scale, components)
            x["pca"] = pca.transform(x["raw"] / scale)
        return Ridges(pca, scale, {f"ridge_{name}": fit_ridge(rows, y, group) for name, rows in x.items()})


def draw_rows(candidates: np.ndarray, count: int, *, seed: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """At most `count` indices where `candidates` is true, drawn by seed."""
    found = np.flatnonzero(candidates)
    return np.sort(np.random.default_rng(seed).permutation(found)[:count])
