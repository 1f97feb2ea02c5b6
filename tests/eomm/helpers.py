"""Small random inputs that several tests share."""

import numpy as np

from data_prep.mappings.mapping import load_mapping
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.records import PatchShape

MODALITIES = {"s2": SENTINEL2, "s1": SENTINEL1, "weather": load_mapping("worldcereal_agera5").contract}
MODALITIES["elevation"] = load_mapping("elevation").contract


def random_group(rng, modality, *, batch=1, time=10, size=19, valid=0.8, revisit_days=(1, 9)):
    """One modality of a batch, as records give it."""
    low, high = (100, 4000) if modality.unit == "reflectance" else (-2000, -500)
    mask = rng.random((batch, time, size, size)) < valid
    values = rng.integers(low, high, (*mask.shape, len(modality.bands))).astype(np.int16)
    day = 17500 + np.cumsum(rng.integers(*revisit_days, (batch, time)), axis=1).astype(np.int32)
    return {
        "values": np.where(mask[..., None], values, 0).astype(np.int16),
        "valid": mask.astype(np.uint8),
        "day": day,
        "present": np.ones((batch, time), np.uint8),
        "orbit": rng.integers(0, 3, (batch, time)).astype(np.int32),
        "direction": rng.integers(-1, 2, (batch, time)).astype(np.int8),
        "incidence": rng.choice([0.0, 35.0, 41.0], (batch, time)).astype(np.float32),
    }


def random_batch(rng, *, batch=2, size=19, times=None):
    times = times or {"s2": 10, "s1": 14}
    return {n: random_group(rng, MODALITIES[n], batch=batch, time=t, size=size) for n, t in times.items()}


def shapes_of(batch):
    return {
        n: PatchShape(
            modality=MODALITIES[n],
            acquisitions=g["day"].shape[1],
            height=g["valid"].shape[2],
            width=g["valid"].shape[3],
        )
        for n, g in batch.items()
    }
