"""Coherence of an embedding in space and time, each measure beside raw bands, blurred raw bands and a random encoder.

A measure that blur alone improves proves nothing, so that no figure stands alone. Nothing here is skill: a map may be
coherent and wrong (evaluation/hidden/reconstruction.py and evaluation/probes/tables.py ask whether it is right).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32

from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import to_date
from eomm.embedding.run import embed
from eomm.errors import UsageError
from eomm.evaluation.bootstrap import Resampling, mean_of
from eomm.evaluation.coherence.radar import measure_radar
from eomm.evaluation.coherence.space import MEASURES, measure_space
from eomm.evaluation.coherence.time import (
    FAR_DAYS,
    FAR_PAIRS,
    NEAR_DAYS,
    distances,
    find_events,
    pairs_apart,
    responses,
)
from eomm.evaluation.coherence.words import conclude, tables
from eomm.evaluation.features import Features
from eomm.evaluation.features_model import embedded, randomised, stored
from eomm.evaluation.features_raw import bands
from eomm.evaluation.fields import fields_of_series
from eomm.evaluation.hidden.examples import greenness
from eomm.evaluation.representations import OURS, RANDOM, blurred, common, scaled
from eomm.models.directory import Model

CLEAR = 0.5  # of the site's pixels, for a date to be measured in space
SEAM_DATES = 3
SEAM_BLOCK_PX = 16
RADAR_PIXELS = 4096
Estimates = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Coherence:
    """What was measured, and the arrays that its figures show.

    Attributes:
        result: JSON types.
        features: by representation, scaled, at common dates and pixels.
        fields: numbers from 1; 0 for none.
        group: of the cube.
        seam: largest difference per pixel of an embedding made in blocks from one made whole, in standard deviations.
    """

    result: dict[str, Any]
    features: Mapping[str, Features]
    fields: Int32[np.ndarray, "y x"]
    group: CubeGroup
    seam: Float32[np.ndarray, "y x"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def evaluate_coherence(
    model: Model,
    cube: Cube,
    embedding: Path | str,
    *,
    fields: Int32[np.ndarray, "y x"] | None = None,
    fields_from: str = "labels",
    radar: str = "s1",
    seed: int = 0,
) -> Coherence:
    """Measure an embedding cube's coherence.

    Args:
        model: that made the embedding; a random encoder of the same networks stands beside it.
        cube: that it was made of.
        embedding: its store.
        fields: numbers from 1 of every pixel's field, 0 for none; segments of the mean NDVI when None.
        fields_from: what `fields` are, for the text.
        radar: modality whose orbits are compared; left out where model or cube have none.
        seed: of the random encoder, sampled pairs and intervals.

    Returns:
        `result` has, by representation, `space` {measure: estimate}, `time`, `events`, and `radar` or None, `seam`; an
        estimate is `value`, `interval` (95 %, over dates, pairs of dates, or dates of events) and, paired, `against`
        the embedding: the embedding's minus this.

    Raises:
        ContractError: the embedding is of another site or grid.
        UsageError: fields of another size than the site, or the reference modality has no series.
    """
    name = "s2" if "s2" in model.encoders else next(iter(model.encoders))
    group = cube[name]
    shape = (group.grid.height, group.grid.width)
    if fields is None:
        fields, fields_from = fields_of_series(group), "segments found in the series' mean NDVI"
    if fields.shape != shape:
        raise UsageError(f"fields have {fields.shape} pixels, {cube.path} has {shape}; bring them onto the cube's grid")
    own = stored(Path(embedding), cube, None, name="embedding")
    length = own.values.shape[-1]
    raw = bands(cube, None, names=(name,))
    random = embedded(randomised(model, seed + 1), cube, None, length=length, name=RANDOM)
    every = common({OURS: own, **blurred(raw), RANDOM: random})
    features = {label: scaled(f) for label, f in every.items()}
    ndvi = _index(group, every[OURS])
    seam, seam_dates = seam_map(model, cube, every[OURS], length)
    has_radar = radar in model.encoders and radar in cube.groups and radar != name
    result: dict[str, Any] = {
        "eomm:kind": "evaluation of coherence",
        "kind": "coherence",
        "site": cube.site,
        "simulated": bool(cube.provenance.get("simulated", False)),
        "modality": name,
        "model": model.hash,
        "embedding": str(embedding),
        "length": length,
        "dates": [str(to_date(int(d))) for d in _days(every[OURS])],
        "fields": {"from": fields_from, "count": int(fields.max()), "pixels": int((fields > 0).sum())},
        "space": space(features, fields, seed),
        "time": time(features, seed),
        "events": events(features, ndvi, seed),
        "radar": radar_summary(measure_radar(model, cube, radar, pixels=RADAR_PIXELS, seed=seed), seed)
        if has_radar
        else None,
        "seam": {"dates": seam_dates, "largest": float(seam.max()), "unit": "standard deviations of a dimension"},
    }
    result |= {"conclusions": conclude(result), "tables": tables(result), "figures": [], "commands": []}
    return Coherence(result, features, fields, group, seam)


def space(features: Mapping[str, Features], fields: Int32[np.ndarray, "y x"], seed: int) -> dict[str, Any]:
    """Estimates over dates of every measure of coherence in space, by measure and representation."""
    clear = next(iter(features.values())).valid.mean((1, 2)) >= CLEAR
    found = {label: measure_space(_at(f, clear), fields) for label, f in features.items()}
    rows = np.arange(int(clear.sum()))
    return {
        "dates": len(rows),
        "measures": {m: _estimates({k: v[m] for k, v in found.items()}, rows, seed) for m in MEASURES},
    }


def time(features: Mapping[str, Features], seed: int) -> dict[str, Any]:
    """Distance of dates 2 to 3 days apart over that of dates far apart; estimates over the near pairs of dates."""
    day = _days(next(iter(features.values())))
    near, far = pairs_apart(day, *NEAR_DAYS), pairs_apart(day, FAR_DAYS, None, limit=FAR_PAIRS, seed=seed)
    ratios = {}
    for label, f in features.items():
        apart = distances(f, *far).distance
        ratios[label] = distances(f, *near).distance / (np.nanmean(apart) if np.isfinite(apart).any() else np.nan)
    return {"pairs": len(near[0]), "near / far": _estimates(ratios, np.arange(len(near[0])), seed)}


def events(features: Mapping[str, Features], ndvi: Float32[np.ndarray, "t y x"], seed: int) -> dict[str, Any]:
    """What happens to a pixel's vector when NDVI drops and stays low; estimates over the dates of the drops."""
    lead = next(iter(features.values()))
    day = _days(lead)
    found = find_events(ndvi, lead.valid, day, seed=seed)
    near = pairs_apart(day, *NEAR_DAYS)
    response: dict[str, Float[np.ndarray, " n"]] = {}
    kept: dict[str, Float[np.ndarray, " n"]] = {}
    for label, f in features.items():
        apart = distances(f, *near).distance
        noise = np.nanmean(apart) if np.isfinite(apart).any() else np.nan
        of = responses(f, found)
        response[label] = of["step"] / noise
        kept[label] = of["step"] / np.maximum(of["whole"], 1e-9)
    date = found.at[:, 2]
    return {
        "pixels": len(np.unique(found.row * ndvi.shape[2] + found.col)),
        "events": len(found),
        "dates": len(np.unique(date)),
        "response / noise": _estimates(response, date, seed),
        "at once": _estimates({k: np.minimum(v, 2) for k, v in kept.items()}, date, seed),
    }


def radar_summary(measured: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Mean distances by kind of pair, over that of the same orbit far apart; estimates over pairs of dates."""
    kinds = list(next(iter(measured["distances"].values())))
    far = kinds[-1]
    scale = {
        label: np.nanmean(of[far]) if np.isfinite(of[far]).any() else np.nan
        for label, of in measured["distances"].items()
    }
    table = {
        kind: _estimates(
            {label: of[kind] / scale[label] for label, of in measured["distances"].items()},
            np.arange(len(measured["db"][kind])),
            seed,
        )
        for kind in kinds[:-1]
    }
    db = {k: float(np.nanmean(v)) if np.isfinite(v).any() else None for k, v in measured["db"].items()}
    return {"orbits": measured["orbits"], "dates": measured["dates"], "ratio to far": table, "first band, dB": db}


def seam_map(model: Model, cube: Cube, features: Features, length: int) -> tuple[Float32[np.ndarray, "y x"], list[str]]:
    """Embed some dates in blocks of 16 px and whole, as `eomm embed` does; the largest difference of each pixel."""
    clear = features.valid.mean((1, 2))
    days = _days(features)
    best = np.argsort(-clear, kind="stable")[0]
    chosen = slice(max(0, best - SEAM_DATES // 2), best + SEAM_DATES // 2 + 1)
    dates = to_date(int(days[chosen][0])), to_date(int(days[chosen][-1]))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for block in (SEAM_BLOCK_PX, 256):
            store = Path(folder) / f"{block}.zarr"
            embed(model, cube, store, block=block, dates=dates, length=length, dtype="float32")
            made.append(stored(store, cube, None, name="seam"))
    valid = made[0].valid
    if not valid.any():
        return np.zeros(valid.shape[1:], np.float32), []
    spread = np.maximum(made[1].values[valid].std(0), 1e-9)
    apart = np.where(valid[..., None], np.abs(made[0].values - made[1].values) / spread, 0)
    return apart.max((0, 3)).astype(np.float32), [str(to_date(int(d))) for d in _days(made[0])]


def _estimates(values: Mapping[str, Float[np.ndarray, " n"]], groups: np.ndarray, seed: int) -> Estimates:
    """Means over rows that every representation has, with intervals over groups, and paired differences to OURS."""
    ok = np.all([np.isfinite(v) for v in values.values()], axis=0)
    if not ok.any():
        return {label: {"value": None, "interval": None, "against": None} for label in values}
    resampling = Resampling(groups[ok], seed=seed)
    moments = {label: np.stack([v[ok], np.ones(int(ok.sum()))], axis=1) for label, v in values.items()}
    return {
        label: resampling.estimate(mean_of, m)
        | {"against": None if label == OURS else resampling.difference(mean_of, moments[OURS], m)}
        for label, m in moments.items()
    }


def _index(group: CubeGroup, at: Features) -> Float32[np.ndarray, "t y x"]:
    """NDVI (of other sensors the first band) at the features' dates."""
    usable = np.flatnonzero(group.usable)
    position = usable[np.searchsorted(group.day[usable], _days(at))]
    return greenness(group, group.read(position)[0])


def _at(features: Features, keep: np.ndarray) -> Features:
    return Features(features.values[keep], features.valid[keep], _days(features)[keep])


def _days(features: Features) -> Int32[np.ndarray, " t"]:
    assert features.day is not None
    return features.day
