"""The sets that train the shipped models, as record sets of single pixels and parcel means; roles are places.py's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.records.points import build_point_records
from eomm.data.points import PointSeries
from eomm.evaluation.quality.series import Series, keep

from .bavaria import read_bavaria
from .flanders import read_flanders
from .korea import read_korea
from .places import FLANDERS_TEST_DATES, FLANDERS_VALIDATION_DATES
from .unlabelled_sets import read_berlin, read_forest, read_swiss, read_towers

ACQUISITIONS = 48  # of a record: a window of 17 and dates up to 75 days away on both sides, where dates are dense
MOST_GROUPS = 200  # beyond which more groups of a set no longer weigh more
EPOCH = np.datetime64("1970-01-01")


def training_series(data: Path) -> dict[str, list[Series]]:
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
    return {name: [keep(s, s.valid) for s in series] for name, series in sets.items()}


def set_weights(sets: Mapping[str, Sequence[Series]]) -> dict[str, float]:
    """How often a batch comes from each set: by the root of its groups (fields, parcels, plots), at most 200."""
    return {name: min(MOST_GROUPS, len({s.group for s in series})) ** 0.5 for name, series in sets.items()}


def build_records(data: Path, out: Path) -> dict[str, float]:
    """Record sets below `out`, one per set; what is complete is kept. Returns the weight of each by name."""
    sets = training_series(data)
    for name, series in sets.items():
        named = [
            PointSeries(
                id=f"{s.region} {s.group} {i}", group=s.group, day=s.day, values=s.values, valid=s.valid, split="train"
            )
            for i, s in enumerate(series)
        ]
        build_point_records(out / name, named, acquisitions=ACQUISITIONS, min_dates=10, source=name)
    return set_weights(sets)


def _training_dates(s: Series) -> Series:
    kept = [*FLANDERS_TEST_DATES, *FLANDERS_VALIDATION_DATES]
    days = (np.array(kept, dtype="datetime64[D]") - EPOCH).astype(int)
    return keep(s, ~np.isin(s.day, days))
