"""What an embedding's coherence is held against: raw bands, the same blurred in space and in time, a random encoder.

Whatever is blurred looks coherent, so that no measure of coherence means anything without them. All are brought to the
same unit: every dimension divided by its standard deviation over the site and its dates.
"""

import functools
from collections.abc import Mapping

import numpy as np
from scipy.ndimage import uniform_filter

from eomm.evaluation.baselines import Observations, gaussian
from eomm.evaluation.features import Features

BOX_PX = 5
SIGMA_DAYS = 12.0
OURS, RANDOM = "embedding", "random encoder"
RAW, BOX = "raw bands", f"box mean ({BOX_PX} px)"
TIME, BOTH = f"time mean ({SIGMA_DAYS:g} days)", "box and time mean"


def blurred(raw: Features) -> dict[str, Features]:
    """Raw bands, and the same smoothed by a box, in time, and by both."""
    in_time = smooth_time(raw, SIGMA_DAYS)
    return {RAW: raw, BOX: smooth_box(raw, BOX_PX), TIME: in_time, BOTH: smooth_box(in_time, BOX_PX)}


def smooth_box(features: Features, size: int) -> Features:
    """Means of the valid pixels in a box of `size` px; valid where the pixel itself is."""
    seen = features.valid.astype(np.float32)
    window = (0, size, size)
    weight = uniform_filter(seen, window[1:], axes=(1, 2), mode="constant")
    total = np.stack(
        [
            uniform_filter(features.values[..., k] * seen, window[1:], axes=(1, 2), mode="constant")
            for k in range(features.values.shape[-1])
        ],
        axis=-1,
    )
    return Features.masked(total / np.maximum(weight, 1e-6)[..., None], features.valid, features.day)


def smooth_time(features: Features, sigma_days: float) -> Features:
    """Means of a pixel's valid dates weighted by a Gaussian of their distance in time, its own included."""
    series = Observations.of_map(features.values, features.valid, features.days)
    smooth = np.stack([gaussian(series, int(d), sigma_days) for d in features.days]).reshape(features.values.shape)
    return Features.masked(smooth, features.valid, features.day)


def scaled(features: Features) -> Features:
    """Every dimension centred and divided by its standard deviation; those that do not vary are dropped.

    Divided besides by the root of how many there are, so that a distance is a root mean square over dimensions. (An
    embedding in its own units gives the same on Flanders, to 0.04 in every measure.)
    """
    rows = features.values[features.valid]
    mean, spread = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    varies = spread > 1e-6 * max(float(spread.max(initial=0)), 1e-12)
    unit = ((features.values[..., varies] - mean[varies]) / (spread[varies] * np.sqrt(varies.sum()))).astype(np.float32)
    return Features.masked(unit, features.valid, features.day)


def common(representations: Mapping[str, Features]) -> dict[str, Features]:
    """All at the dates and pixels that every one has, so that comparisons are paired."""
    days = functools.reduce(np.intersect1d, [f.days for f in representations.values()])
    # the first acquisition of each of these days
    at = {name: f.take(np.searchsorted(f.days, days)) for name, f in representations.items()}
    valid = np.all([f.valid for f in at.values()], axis=0)
    return {name: Features.masked(f.values, valid, f.day) for name, f in at.items()}
