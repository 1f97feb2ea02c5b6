"""Coherence in space, date by date: fields told apart, edges kept, Moran's I. Distances, no pictures."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32
from scipy.stats import rankdata

from eomm.evaluation.features import Features, apart

SEPARATIONS = (3, 4, 5, 6)  # px between the pixels of a pair: within and between fields alike
FEWEST_PAIRS = 30
MEASURES = {
    "told apart": "probability that two pixels of neighbouring fields are farther apart than two of one field, both "
    "pairs 3 to 6 px apart on the ground; 0.5 is chance",
    "between / within": "mean distance of the former pairs to that of the latter",
    "border / inside": "step between adjacent pixels across a field border to that inside fields",
    "edges kept": "step across a border from one pixel to the next, to the step from 2 px before to 2 px behind; 1 is "
    "a sharp edge (or noise), blur lowers it",
    "Moran's I": "correlation of adjacent pixels, of all dimensions together; blur raises it",
}

Pair = tuple[slice, slice]
Numbers = Float[np.ndarray, " t"]


def measure_space(features: Features, fields: Int32[np.ndarray, "y x"]) -> dict[str, Numbers]:
    """Each of MEASURES at every date; NaN where a date has too few pairs.

    Args:
        features: scaled (`representations.scaled`).
        fields: numbers from 1, 0 for none.
    """
    out: dict[str, Numbers] = {name: np.full(len(features.values), np.nan) for name in MEASURES}
    for t, (values, valid) in enumerate(zip(features.values, features.valid, strict=True)):
        told, ratio = _fields_apart(values, valid, fields)
        across, inside = _steps(values, valid, fields)
        out["told apart"][t], out["between / within"][t] = told, ratio
        out["border / inside"][t] = across / inside if inside else np.nan
        out["edges kept"][t] = _sharpness(values, valid, fields)
        out["Moran's I"][t] = moran(values, valid)
    return out


def pairs(separation: int) -> Iterator[tuple[Pair, Pair]]:
    """Windows of the first and the second pixel of all pairs along rows, then along columns."""
    near, far, whole = slice(None, -separation), slice(separation, None), slice(None)
    yield (whole, near), (whole, far)
    yield (near, whole), (far, whole)


def _fields_apart(
    values: Float32[np.ndarray, "y x k"], valid: Bool[np.ndarray, "y x"], fields: Int32[np.ndarray, "y x"]
) -> tuple[float, float]:
    found = []
    for separation in SEPARATIONS:
        one, two = _distances(values, valid, fields, separation)
        if min(len(one), len(two)) >= FEWEST_PAIRS:
            found.append((_greater(two, one), two.mean() / max(one.mean(), 1e-12)))
    if not found:
        return np.nan, np.nan
    told, ratio = np.mean(found, axis=0)
    return float(told), float(ratio)


def _distances(
    values: Float32[np.ndarray, "y x k"], valid: Bool[np.ndarray, "y x"], fields: Int32[np.ndarray, "y x"], px: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Of all pairs so many pixels apart: within fields, and between them."""
    within, between = [], []
    for a, b in pairs(px):
        both, same = valid[a] & valid[b] & (fields[a] > 0) & (fields[b] > 0), fields[a] == fields[b]
        distance = apart(values[a], values[b])
        within.append(distance[both & same])
        between.append(distance[both & ~same])
    return np.concatenate(within), np.concatenate(between)


def _greater(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    """Probability that a number of `a` is greater than one of `b`; ties count half."""
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.mean() - (len(a) + 1) / 2) / len(b))


def _steps(
    values: Float32[np.ndarray, "y x k"], valid: Bool[np.ndarray, "y x"], fields: Int32[np.ndarray, "y x"]
) -> tuple[float, float]:
    """Mean distance of adjacent pixels across borders and inside fields."""
    inside, across = _distances(values, valid, fields, 1)
    if min(len(inside), len(across)) < FEWEST_PAIRS:
        return np.nan, np.nan
    return float(across.mean()), float(inside.mean())


def _sharpness(
    values: Float32[np.ndarray, "y x k"], valid: Bool[np.ndarray, "y x"], fields: Int32[np.ndarray, "y x"]
) -> float:
    """Step of 1 px across a border to that of 5 px round the same place, where three pixels on each side are fields."""
    steps, wholes = [], []
    for swap in (False, True):
        v, m, f = (np.swapaxes(x, 0, 1) if swap else x for x in (values, valid, fields))
        a, b, before, after = f[:, 2:-3], f[:, 3:-2], f[:, :-5], f[:, 5:]
        border = (a != b) & (a > 0) & (b > 0) & (before == a) & (f[:, 1:-4] == a) & (f[:, 4:-1] == b) & (after == b)
        border &= m[:, 2:-3] & m[:, 3:-2] & m[:, :-5] & m[:, 5:]
        steps.append(apart(v[:, 2:-3], v[:, 3:-2])[border])
        wholes.append(apart(v[:, :-5], v[:, 5:])[border])
    step, whole = np.concatenate(steps), np.concatenate(wholes)
    return float(step.mean() / max(whole.mean(), 1e-12)) if len(step) >= FEWEST_PAIRS else np.nan


def moran(values: Float32[np.ndarray, "y x k"], valid: Bool[np.ndarray, "y x"]) -> float:
    """Moran's I of vectors with rook neighbours: inner products of centred neighbours to those with themselves."""
    if valid.sum() < FEWEST_PAIRS:
        return np.nan
    centred = np.where(valid[..., None], values - values[valid].mean(0), 0)
    total, count = 0.0, 0
    for a, b in pairs(1):
        both = valid[a] & valid[b]
        total += float((centred[a] * centred[b]).sum(-1)[both].sum())
        count += int(both.sum())
    own = float(np.square(centred).sum()) / int(valid.sum())
    return total / count / own if count and own > 0 else np.nan
