"""What further closed-form numbers give in the place of what is learned, on places that choose.

    python -m experiments.shipped.blocks --data ../shared/data     # ten minutes on a core

Beside the thirty numbers of `closed`, of the same window and each as a block of the weight that what is learned has:
one-sided means over 45 days instead of 15, how much the window spreads, and what the date itself differs from the
state by. Places that report are never read. Expected: experiments/RESULTS.md, "The shipped model".
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from eomm.data.modality import SENTINEL2
from eomm.data.points import PointSeries
from eomm.evaluation.quality.closed import weigh
from eomm.evaluation.quality.learned import encoder_vectors, model_vectors
from eomm.evaluation.quality.vectors import Vectors, beside, following, per_series, remembered, scaled
from eomm.models.directory import load_model
from eomm.models.state import StateEncoder

from .ablations import COLUMNS, SHIPPED_WEIGHT, cell, drawn_scores
from .discriminant import linear
from .plan import sample_of, trials

SLOW_DAYS = 45.0  # of one-sided means and of the spread
OWN_WEIGHT = SHIPPED_WEIGHT / 2  # of the date itself, which is the noisiest
Block = Callable[[PointSeries, Int[np.ndarray, " n"]], Float[np.ndarray, "n k"]]


def methods(sample: Sequence[PointSeries]) -> list[Vectors]:
    """What is scored; the first is what all others are compared with."""
    closed, base = (model_vectors(load_model(name), name=name) for name in ("closed", "base"))
    encoder = load_model("closed").encoders["s2"]
    assert isinstance(encoder, StateEncoder)
    slower = dataclasses.replace(encoder, side_days=SLOW_DAYS)
    sides = encoder_vectors(slower, SENTINEL2, {"encoder": {}, "fusion": None}, name="slow sides")
    slow = following("slow sides", sides, encoder.components)
    spread = weighted(per_series("spread", encoder.components, spread_of(encoder)), sample, SHIPPED_WEIGHT)
    own = weighted(per_series("own", encoder.components, difference_of(encoder)), sample, OWN_WEIGHT)
    return [
        closed,
        base,
        beside("closed, slow sides", closed, slow),
        beside("closed, slow sides, spread", closed, slow, spread),
        beside("closed, slow sides, spread, own date", closed, slow, spread, own),
        beside("base, slow sides, spread", base, slow, spread),
    ]


def weighted(block: Vectors, sample: Sequence[PointSeries], weight: float) -> Vectors:
    """A block whose total variance over a sample is the weight's square."""
    return linear(block.name, scaled(block, sample), weight * np.eye(block.length))


def spread_of(encoder: StateEncoder) -> Block:
    """log(1 + weighted deviation) of each component over the window, by exp(-days / 45)."""

    def spread(series: PointSeries, at: np.ndarray) -> np.ndarray:
        y, apart = window_of(encoder, series, at)
        if not len(y):
            return np.zeros((len(at), encoder.components))
        weight = weigh(-apart / SLOW_DAYS)
        mean = weight @ y
        return np.log1p(np.sqrt(np.maximum(weight @ y**2 - mean**2, 0)))

    return spread


def difference_of(encoder: StateEncoder) -> Block:
    """The date's own components minus their mean over the window by exp(-days / tau); 0 where the date is hidden."""

    def difference(series: PointSeries, at: np.ndarray) -> np.ndarray:
        y, apart = window_of(encoder, series, at)
        if not len(y):
            return np.zeros((len(at), encoder.components))
        mean = weigh(-apart / encoder.tau_days) @ y
        return np.where((apart.min(1) == 0)[:, None], y[apart.argmin(1)] - mean, 0.0)

    return difference


def window_of(
    encoder: StateEncoder, series: PointSeries, at: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "t k"], Float[np.ndarray, "n t"]]:
    """Components of the valid dates, days between them and the targets, far where not seen."""
    y = (series.values[series.valid].astype(np.float64) - np.asarray(encoder.mean)) @ np.asarray(encoder.whiten).T
    day, target = series.day[series.valid].astype(np.float64), series.day[at].astype(np.float64)
    first = np.searchsorted(day, target, "left") - encoder.frames[0]
    last = np.searchsorted(day, target, "right") + encoder.frames[1]
    index = np.arange(len(day))
    seen = (index >= first[:, None]) & (index < last[:, None])
    return y, np.where(seen, np.abs(day - target[:, None]), 1e9)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row of Markdown for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    a = parser.parse_args(argv)
    asked = [t for t in trials(a.data, "choose") if {task.name for task in t.tasks} & set(COLUMNS)]
    print("| | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|", sep="\n")
    first: dict[str, np.ndarray] = {}
    with threadpool_limits(1):
        for vectors in map(remembered, methods(sample_of(a.data))):
            drawn = drawn_scores(vectors, asked)
            print(f"| {vectors.name} | " + " | ".join(cell(drawn[n], first.get(n)) for n in COLUMNS) + " |", flush=True)
            first = first or drawn


if __name__ == "__main__":
    main()
