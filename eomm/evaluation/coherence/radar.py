"""Repeatability of radar: the same orbit some days apart beside other orbits, in dB and in an encoder's embedding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from eomm.data.cube import Cube
from eomm.evaluation.coherence.time import FAR_DAYS, FAR_PAIRS, distances, pairs_apart
from eomm.evaluation.features import Features
from eomm.evaluation.features_model import randomised
from eomm.evaluation.representations import BOX_PX, OURS, RANDOM, scaled, smooth_box, smooth_time
from eomm.models.directory import Model
from eomm.models.predict import Predictor, read_batch

BLOCK_PX = 32
SMOOTH_DAYS = 12.0
KINDS = {  # days apart, and whether of the same orbit
    "same orbit, 6 days": (5, 7, True),
    "same orbit, 12 days": (11, 13, True),
    "other orbit, 1 to 6 days": (1, 6, False),
    f"same orbit, {FAR_DAYS} days or more": (FAR_DAYS, None, True),
}


def measure_radar(model: Model, cube: Cube, name: str, *, pixels: int, seed: int) -> dict[str, Any]:
    """Median distances of pixels to themselves by KINDS of pairs of dates, for each representation.

    Args:
        model: with an encoder of `name`.
        cube: its site.
        name: the radar modality.
        pixels: of the site that are read, in blocks of 32 x 32.
        seed: of the blocks, the pairs far apart and the random encoder.

    Returns:
        `distances` {representation: {kind: [median of every pair]}}, scaled as in `representations.scaled`; `db` the
        same of the first band as absolute change; `orbits` and `dates`.
    """
    group = cube[name]
    usable = np.flatnonzero(group.usable)
    orbit = group.meta()["orbit"][usable]
    day = group.day[usable]
    whole = radar_features(model, cube, name, pixels=pixels, seed=seed)
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
        for label, f in {k: scaled(v) for k, v in whole.items()}.items()
    }
    band = whole["raw dB"]
    one = Features(band.values[..., :1], band.valid, band.day)
    db = {kind: distances(one, *pair).distance for kind, pair in chosen.items()}
    return {"distances": found, "db": db, "orbits": len(np.unique(orbit[orbit > 0])), "dates": len(day)}


def radar_features(model: Model, cube: Cube, name: str, *, pixels: int, seed: int) -> Mapping[str, Features]:
    """Embeddings of every acquisition by the trained and by a random encoder, and raw dB with its smoothed forms.

    The blocks stand side by side along x; smoothing by a box does not cross them.
    """
    grid = cube[name].grid
    corners = [(r, c) for r in range(0, grid.height, BLOCK_PX) for c in range(0, grid.width, BLOCK_PX)]
    order = np.random.default_rng(seed).permutation(len(corners))
    parts: dict[str, list[np.ndarray]] = {}
    masks: list[Bool[np.ndarray, "t y x"]] = []
    predictors = {OURS: Predictor(model, name), RANDOM: Predictor(randomised(model, seed), name)}
    day = np.zeros(0, np.int32)
    for i in order[: max(1, pixels // BLOCK_PX**2)]:
        halo = model.encoders[name].halo
        batch = read_batch(cube, name, row=corners[i][0], col=corners[i][1], size=BLOCK_PX, halo=halo)
        inner = slice(halo, halo + BLOCK_PX)
        valid, day = batch["valid"][0, :, inner, inner].astype(bool), batch["day"][0]
        everything = np.arange(len(day))
        nothing = np.zeros((len(day), len(day)), bool)
        for label, predictor in predictors.items():
            seen = predictor.see(name, batch)
            z = np.asarray(predictor.embed(seen, everything, nothing))[0]
            parts.setdefault(label, []).append(np.where(valid[..., None], z, 0).astype(np.float32))
        raw = cube[name].modality.decode(batch["values"][0, :, inner, inner])
        raw_features = Features(np.where(valid[..., None], raw, 0).astype(np.float32), valid, day)
        forms = {
            "raw dB": raw_features,
            f"dB, box mean ({BOX_PX} px)": smooth_box(raw_features, BOX_PX),
            f"dB, time mean ({SMOOTH_DAYS:g} days)": smooth_time(raw_features, SMOOTH_DAYS),
        }
        for label, form in forms.items():
            parts.setdefault(label, []).append(form.values)
        masks.append(valid)
    valid = np.concatenate(masks, axis=2)
    return {label: Features(np.concatenate(of, axis=2), valid, day) for label, of in parts.items()}
