"""Repeatability of radar: the same orbit some days apart beside other orbits, in dB and in an encoder's embedding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eomm.data.cube import Cube
from eomm.evaluation.coherence.time import FAR_DAYS, FAR_PAIRS, distances, pairs_apart
from eomm.evaluation.features import Features
from eomm.evaluation.representations import scaled

KINDS = {  # days apart, and whether of the same orbit
    "same orbit, 6 days": (5, 7, True),
    "same orbit, 12 days": (11, 13, True),
    "other orbit, 1 to 6 days": (1, 6, False),
    f"same orbit, {FAR_DAYS} days or more": (FAR_DAYS, None, True),
}


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Median distances of pixels to themselves by KINDS of pairs of dates.

    Attributes:
        distances: by representation (scaled as in `representations.scaled`) and kind, of every pair.
        db: by kind, absolute change of the first band.
        orbits: how many.
        dates: how many.
    """

    distances: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]]
    db: Mapping[str, Float[np.ndarray, " _"]]
    orbits: int
    dates: int


def measure_radar(cube: Cube, name: str, features: Mapping[str, Features], *, seed: int) -> Repeats:
    """How far radar moves between dates; pairs far apart are drawn by `seed`.

    Args:
        cube: the site.
        name: the radar modality.
        features: of every usable acquisition, "raw dB" among them.
        seed: of the pairs.
    """
    group = cube[name]
    usable = np.flatnonzero(group.usable)
    orbit, day = group.meta()["orbit"][usable], group.day[usable]
    chosen = {}
    for kind, (low, high, same) in KINDS.items():
        first, second = pairs_apart(day, low, high)
        keep = (orbit[first] == orbit[second]) == same
        keep &= (orbit[first] > 0) & (orbit[second] > 0)
        first, second = first[keep], second[keep]
        at = np.sort(np.random.default_rng(seed).permutation(len(first))[:FAR_PAIRS])
        chosen[kind] = first[at], second[at]
    found = {
        label: {kind: distances(f, *pair).distance for kind, pair in chosen.items()}
        for label, f in {k: scaled(v) for k, v in features.items()}.items()
    }
    band = features["raw dB"]
    one = Features(band.values[..., :1], band.valid, band.day)
    db = {kind: distances(one, *pair).distance for kind, pair in chosen.items()}
    return Repeats(distances=found, db=db, orbits=len(np.unique(orbit[orbit > 0])), dates=len(day))
