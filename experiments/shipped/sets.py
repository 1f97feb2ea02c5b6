"""The sets that train the shipped models, as record sets of single pixels and parcel means; roles are places.py's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.records.points import PointOptions, build_point_records
from eomm.data.points import PointSeries

from .bavaria import read_bavaria
from .flanders import read_flanders
from .korea import read_korea
from .places import FLANDERS_TEST_DATES, FLANDERS_VALIDATION_DATES
from .unlabelled_sets import read_berlin, read_forest, read_swiss, read_towers

ACQUISITIONS = 48  # of a record: a window of 17 and dates up to 75 days away on both sides, where dates are dense
MOST_GROUPS = 200  # beyond which more groups of a set no longer weigh more
FEWEST_PARCELS = 5  # of a crop that the head learns to tell
EPOCH = np.datetime64("1970-01-01")


def training_series(data: Path) -> dict[str, list[PointSeries]]:
    """Every set's series that train, by the set's name; clear dates alone."""
    sets = {
        "swiss": read_swiss(data),
        "towers": read_towers(data),
        "forest": read_forest(data),
        "berlin": read_berlin(data),
        "bavaria": [s for s in read_bavaria(data) if s.labels["role"] == "train"],
        "korea": [s for s in read_korea(data) if s.labels["role"] == "train"],
        "flanders": [_training_dates(s) for s in read_flanders(data) if s.labels["part"] == "train"],
    }
    return {name: [s.keep(s.valid) for s in series] for name, series in sets.items()}


def set_weights(sets: Mapping[str, Sequence[PointSeries]]) -> dict[str, float]:
    """How often a batch comes from each set: by the root of its groups (fields, parcels, plots), at most 200."""
    return {name: min(MOST_GROUPS, len({s.group for s in series})) ** 0.5 for name, series in sets.items()}


def crops_of(series: Sequence[PointSeries], *, permuted: bool = False) -> list[str]:
    """The crop that a head may learn of each Korean parcel that trains; "" of rare ones, and of every other series.

    Args:
        series: of one set; crops of the Bavarian fields and of Flanders are tasks of the bench, and not told.
        permuted: the same crops dealt out anew among these parcels: what labels alone, and not the crops, do.
    """
    crops = [
        str(s.labels["crop"]) if s.labels["set"] == "korea" and s.labels["role"] == "train" else "" for s in series
    ]
    counts = Counter(crops)
    told = [c if counts[c] >= FEWEST_PARCELS else "" for c in crops]
    return np.random.default_rng(0).permutation(told).tolist() if permuted else told


def build_records(data: Path, out: Path, *, permuted: bool = False) -> dict[str, float]:
    """Record sets below `out`, one per set; what is complete is kept. Returns the weight of each by name.

    Args:
        data: folder of the data sets.
        out: of the record sets.
        permuted: see `crops_of`.
    """
    sets = training_series(data)
    for name, series in sets.items():
        named = [
            replace(s, id=f"{s.labels['region']} {s.group} {i}", split="train", label=crop)
            for i, (s, crop) in enumerate(zip(series, crops_of(series, permuted=permuted), strict=True))
        ]
        build_point_records(out / name, named, PointOptions(acquisitions=ACQUISITIONS, min_dates=10, source=name))
    return set_weights(sets)


def _training_dates(s: PointSeries) -> PointSeries:
    kept = [*FLANDERS_TEST_DATES, *FLANDERS_VALIDATION_DATES]
    days = (np.array(kept, dtype="datetime64[D]") - EPOCH).astype(int)
    return s.keep(~np.isin(s.day, days))
