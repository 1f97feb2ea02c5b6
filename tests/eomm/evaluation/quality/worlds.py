"""Tiny made-up series for the tests of the quality bench."""

import numpy as np

from eomm.data.modality import SENTINEL2
from eomm.data.points import PointSeries
from eomm.evaluation.quality.learned import encoder_vectors


def one(rng, *, group="a", level=0.2, labels=None, dates=40, every=5, name="made up", step_at=None):
    """A series with a yearly wave, noise, and a fall at a date."""
    day = (17_600 + np.cumsum(rng.integers(2, 2 * every - 1, dates))).astype(np.int32)
    wave = 0.1 * np.cos(2 * np.pi * day[:, None] / 365.2425) * np.linspace(0.2, 1, 10)
    values = level + wave + 0.01 * rng.normal(size=(dates, 10))
    if step_at is not None:
        values[day >= step_at] += 0.1
    return PointSeries(
        id=name,
        group=group,
        values=values.astype(np.float32),
        day=day,
        valid=np.ones(dates, bool),
        labels=labels or {},
    )


def whitened(encoder, bands):
    """Bands in the noise units of a closed form."""
    return (bands - np.array(encoder.mean)) @ np.array(encoder.whiten).T


def closed_vectors(encoder):
    """The vectors of a closed form, [state | past | future]."""
    return encoder_vectors(encoder, SENTINEL2, {"encoder": {}, "fusion": None}, name="closed form")


def many(count=24, *, groups=12, seed=0, classes=2, told=True, **options):
    """Series of several groups; where `told`, level tells the class."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        label = i % classes
        level = 0.15 + 0.1 * label if told else 0.2
        out.append(one(rng, group=f"g{i // max(1, count // groups)}", level=level, labels={"kind": label}, **options))
    return out
