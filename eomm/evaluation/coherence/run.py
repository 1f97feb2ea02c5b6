"""Coherence of an embedding in space and time, each measure beside raw bands, blurred raw bands and a random encoder.

A measure that blur alone improves proves nothing, so that no figure stands alone. Nothing here is skill: a map may be
coherent and wrong (evaluation/hidden and evaluation/probes ask whether it is right).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32

from eomm.data.attributes import attributes_of
from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import to_date
from eomm.embedding.store import open_embedding
from eomm.errors import UsageError
from eomm.evaluation.bootstrap import Resampling, mean_of
from eomm.evaluation.coherence.figures import Views, figures_of
from eomm.evaluation.coherence.radar import Repeats, measure_radar
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
from eomm.evaluation.coherence.vectors import Stores
from eomm.evaluation.coherence.words import conclude, tables
from eomm.evaluation.features import Features
from eomm.evaluation.features_model import stored
from eomm.evaluation.features_raw import bands
from eomm.evaluation.fields import fields_of_series
from eomm.evaluation.hidden.examples import greenness
from eomm.evaluation.representations import OURS, RANDOM, blurred, common, scaled
from eomm.evaluation.result import Better, Difference, Estimate, Result

CLEAR = 0.5  # of the site's pixels, for a date to be measured in space
FROM_SERIES = "segments found in the series' mean NDVI"


@dataclass(frozen=True, kw_only=True)
class Beside(Estimate):
    """A representation's measure; `against` is the embedding's minus this, paired, None of the embedding itself."""

    against: Difference | None = None


Estimates = Mapping[str, Beside]  # by representation


def evaluate_coherence(
    cube: Cube,
    stores: Stores,
    *,
    fields: Int32[np.ndarray, "y x"] | None = None,
    fields_from: str = "labels",
    seed: int = 0,
) -> Result:
    """Measure an embedding cube's coherence.

    Args:
        cube: that the embedding was made of.
        stores: the embedding, and what stands beside it (`vectors.make_stores`).
        fields: numbers from 1 of every pixel's field, 0 for none; segments of the mean NDVI when None.
        fields_from: what `fields` are, for the text.
        seed: of sampled pairs and intervals.

    Returns:
        Its numbers have, by representation, `space` {measure: Beside}, `time`, `events`, and `radar` or None, `seam`;
        intervals are over dates, pairs of dates, or dates of events.

    Raises:
        ContractError: the embedding is of another site or grid.
        UsageError: fields of another size than the site, or the reference modality has no series.
    """
    about = attributes_of(open_embedding(stores.embedding))
    name = str(about["provenance"]["reference"])
    group = cube[name]
    if fields is None:
        fields, fields_from = fields_of_series(group), FROM_SERIES
    if fields.shape != (shape := (group.grid.height, group.grid.width)):
        raise UsageError(f"fields have {fields.shape} pixels, {cube.path} has {shape}; bring them onto the cube's grid")
    own = stored(stores.embedding, cube, None, name=OURS)
    random = stored(stores.random, cube, None, name=RANDOM)
    every = common({OURS: own, **blurred(bands(cube, None, names=(name,))), RANDOM: random})
    features = {label: scaled(f) for label, f in every.items()}
    seam, seam_dates = seam_map(stores, cube)
    numbers: dict[str, Any] = {
        "site": cube.site,
        "modality": name,
        "model": str(about["eomm:model"]),
        "embedding": str(stores.embedding),
        "length": own.values.shape[-1],
        "dates": [str(to_date(int(d))) for d in every[OURS].days],
        "fields": {"from": fields_from, "count": int(fields.max()), "pixels": int((fields > 0).sum())},
        "space": space(features, fields, seed),
        "time": time(features, seed),
        "events": events(features, _index(group, every[OURS]), seed),
        "radar": radar_summary(measure_radar(cube, *stores.radar, seed=seed), seed) if stores.radar else None,
        "seam": {"dates": seam_dates, "largest": float(seam.max()), "unit": "standard deviations of a dimension"},
    }
    simulated = cube.simulated
    views = Views(numbers=numbers, simulated=simulated, features=features, fields=fields, group=group, seam=seam)
    return Result(
        kind="coherence",
        dataset=cube.site,
        simulated=simulated,
        conclusions=conclude(numbers),
        tables=tables(numbers),
        figures=figures_of(views),
        numbers=numbers,
    )


def space(features: Mapping[str, Features], fields: Int32[np.ndarray, "y x"], seed: int) -> Mapping[str, Any]:
    """Estimates over dates of every measure of coherence in space, by measure and representation."""
    clear = next(iter(features.values())).valid.mean((1, 2)) >= CLEAR
    found = {label: measure_space(f.take(clear), fields) for label, f in features.items()}
    rows = np.arange(int(clear.sum()))
    measures = {m: _estimates({k: v[m] for k, v in found.items()}, rows, seed) for m in MEASURES}
    return {"dates": len(rows), "measures": measures}


def time(features: Mapping[str, Features], seed: int) -> Mapping[str, Any]:
    """Distance of dates 2 to 3 days apart over that of dates far apart; estimates over the near pairs of dates."""
    day = next(iter(features.values())).days
    near, far = pairs_apart(day, *NEAR_DAYS), pairs_apart(day, FAR_DAYS, None, limit=FAR_PAIRS, seed=seed)
    ratios = {k: distances(f, *near).distance / _mean(distances(f, *far).distance) for k, f in features.items()}
    return {"pairs": len(near[0]), "near / far": _estimates(ratios, np.arange(len(near[0])), seed, better="lower")}


def events(features: Mapping[str, Features], ndvi: Float32[np.ndarray, "t y x"], seed: int) -> Mapping[str, Any]:
    """What happens to a pixel's vector when NDVI drops and stays low; estimates over the dates of the drops."""
    lead = next(iter(features.values()))
    day = lead.days
    found = find_events(ndvi, lead.valid, day, seed=seed)
    near = pairs_apart(day, *NEAR_DAYS)
    response, kept = {}, {}
    for label, f in features.items():
        of = responses(f, found)
        response[label] = of["step"] / _mean(distances(f, *near).distance)
        kept[label] = np.minimum(of["step"] / np.maximum(of["whole"], 1e-9), 2)
    date = found.at[:, 2]
    return {
        "pixels": len(np.unique(found.row * ndvi.shape[2] + found.col)),
        "events": len(found),
        "dates": len(np.unique(date)),
        "response / noise": _estimates(response, date, seed),
        "at once": _estimates(kept, date, seed),
    }


def radar_summary(measured: Repeats, seed: int) -> Mapping[str, Any]:
    """Mean distances by kind of pair, over that of the same orbit far apart; estimates over pairs of dates."""
    *kinds, far = measured.db
    scale = {label: _mean(of[far]) for label, of in measured.distances.items()}
    table = {}
    for kind in kinds:
        ratios = {label: of[kind] / scale[label] for label, of in measured.distances.items()}
        table[kind] = _estimates(ratios, np.arange(len(measured.db[kind])), seed, better="lower")
    db = {k: _mean(v) if np.isfinite(v).any() else None for k, v in measured.db.items()}
    return {"orbits": measured.orbits, "dates": measured.dates, "ratio to far": table, "first band, dB": db}


def seam_map(stores: Stores, cube: Cube) -> tuple[Float32[np.ndarray, "y x"], list[str]]:
    """The largest difference of each pixel between some dates embedded in small blocks and whole, and the dates."""
    small, whole = (stored(path, cube, None, name="seam") for path in stores.seam)
    if not small.valid.any():
        return np.zeros(small.valid.shape[1:], np.float32), []
    spread = np.maximum(whole.values[small.valid].std(0), 1e-9)
    apart = np.where(small.valid[..., None], np.abs(small.values - whole.values) / spread, 0)
    return apart.max((0, 3)).astype(np.float32), [str(to_date(int(d))) for d in small.days]


def _estimates(
    values: Mapping[str, Float[np.ndarray, " n"]], groups: np.ndarray, seed: int, *, better: Better = "higher"
) -> Estimates:
    """Means over rows that every representation has, with intervals over groups, and paired differences to OURS."""
    ok = np.all([np.isfinite(v) for v in values.values()], axis=0)
    if not ok.any():
        return {label: Beside(value=None) for label in values}
    draws = Resampling(groups[ok], seed=seed)
    moments = {label: np.stack([v[ok], np.ones(int(ok.sum()))], axis=1) for label, v in values.items()}
    found = {}
    for label, m in moments.items():
        gap = None if label == OURS else draws.difference(mean_of, moments[OURS], m, better=better)
        found[label] = Beside(**vars(draws.estimate(mean_of, m)), against=gap)
    return found


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _index(group: CubeGroup, at: Features) -> Float32[np.ndarray, "t y x"]:
    """NDVI (of other sensors the first band) at the features' dates."""
    usable = np.flatnonzero(group.usable)
    position = usable[np.searchsorted(group.day[usable], at.days)]
    return greenness(group, group.read(position)[0])
