"""When a score counts: the trained encoder beats a random one and PCA of equal length on hidden targets.

Apart from reconstruction.py, so that the rule by which scores count can be read by itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.tally import Tally

OPPONENTS = {"random encoder": "ridge_random", "PCA of the raw series": "ridge_pca"}


def judge(tally: Tally, gaps: Sequence[int], main: str, *, probed: bool, unseen: bool | None) -> dict[str, Any]:
    """Whether the score counts, why, and the figures; differences are means over gaps, paired by date.

    `counts` is None where nobody can tell: the probes were not run. A difference is resolved when its interval does
    not hold 0.
    """

    def over_gaps(method: str) -> np.ndarray:
        return np.mean([tally.per_date("all", str(g), method).mean(1) for g in gaps], axis=0)

    beats = {}
    if probed:
        for name, method in OPPONENTS.items():
            beats[name] = tally.estimate(over_gaps("ridge_trained") - over_gaps(method))
    simple = {m: tally.estimate(over_gaps(m)) for m in SIMPLE}
    best = min(simple, key=lambda m: simple[m]["mean"])
    counts: bool | None = None
    if beats:
        counts = all(b["interval"] is not None and b["interval"][1] < 0 for b in beats.values())
    reasons = [
        f"under the same linear probe, the trained encoder {_compare(b, name)}" for name, b in beats.items()
    ] or ["linear probes were not run"]
    if unseen is False:
        counts = False
        reasons.insert(0, "training has seen the test dates at this site")
    return {
        "counts": counts,
        "reasons": reasons,
        "difference_of_probes": beats,
        "best_interpolation": best,
        "difference_to_best_interpolation": tally.estimate(over_gaps(main) - over_gaps(best)),
    }


def _compare(estimate: dict[str, Any], name: str) -> str:
    mean, interval = estimate["mean"], estimate["interval"]
    if interval is None:
        return f"differs from the {name} by {mean:+.4f}, over too few dates for an interval"
    figures = f"difference {mean:+.4f}, {interval[0]:+.4f} to {interval[1]:+.4f}"
    if interval[0] <= 0 <= interval[1]:
        return f"is not told apart from the {name} ({figures})"
    return f"{'beats' if mean < 0 else 'is beaten by'} the {name} ({figures})"
