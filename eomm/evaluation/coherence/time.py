"""Coherence in time: dates a few days apart alike, seasons not, and a harvest seen when it happens."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from eomm.evaluation.features import Features, apart

NEAR_DAYS = (2, 3)
FAR_DAYS = 60
FAR_PAIRS = 200
FEWEST_PIXELS = 30
DROP = 0.25  # of NDVI from one clear date to the next
GAP_DAYS = 15  # between these at most
STEADY, STAYS = 0.15, 0.2  # before: NDVI within so much; after: at least so much lower still
MAX_PIXELS = 16_384  # in which events are looked for


@dataclass(frozen=True)
class Pairs:
    """Distances of a pixel to itself at two dates: the median over pixels, for each pair of dates.

    Attributes:
        first: position of the earlier date of each pair.
        second: of the later one.
        distance: NaN where fewer than 30 pixels are valid at both.
    """

    first: Int[np.ndarray, " n"]
    second: Int[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]


def pairs_apart(
    day: Int32[np.ndarray, " t"], low: int, high: int | None, *, limit: int | None = None, seed: int = 0
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Positions of all pairs of dates `low` to `high` days apart, or `limit` of them by seed."""
    days = day[None].astype(np.int64) - day[:, None]
    first, second = np.nonzero((days >= low) & (days <= (high if high is not None else days.max(initial=0))))
    if limit is not None and len(first) > limit:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(first))[:limit])
        first, second = first[chosen], second[chosen]
    return first, second


def distances(features: Features, first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]) -> Pairs:
    """How far pixels move between the dates of each pair."""
    found = np.full(len(first), np.nan)
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        both = features.valid[a] & features.valid[b]
        if both.sum() >= FEWEST_PIXELS:
            found[i] = np.median(apart(features.values[a][both], features.values[b][both]))
    return Pairs(first, second, found)


@dataclass(frozen=True)
class Events:
    """Drops of NDVI that stay: positions of pixel and of the four valid dates round each, [before, last, first, after].

    Attributes:
        row: of the pixel.
        col: of the pixel.
        at: dates' positions.
    """

    row: Int[np.ndarray, " n"]
    col: Int[np.ndarray, " n"]
    at: Int[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.row)


def find_events(
    ndvi: Float32[np.ndarray, "t y x"], valid: Bool[np.ndarray, "t y x"], day: Int32[np.ndarray, " t"], *, seed: int = 0
) -> Events:
    """Sudden drops of NDVI between two clear dates of a pixel, such as harvest or mowing.

    By 0.25 or more within 15 days, after a steady date (within 0.15), and 0.2 lower still at the date after.
    """
    rows, cols = np.divmod(np.arange(valid[0].size), valid.shape[2])
    if len(rows) > MAX_PIXELS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MAX_PIXELS])
        rows, cols = rows[chosen], cols[chosen]
    found: list[tuple[int, int, Int[np.ndarray, " 4"]]] = []
    for row, col in zip(rows, cols, strict=True):
        at = np.flatnonzero(valid[:, row, col] & np.isfinite(ndvi[:, row, col]))
        if len(at) < 4:
            continue
        n, d = ndvi[at, row, col], day[at]
        drop = n[1:-2] - n[2:-1] >= DROP
        steady = np.abs(n[:-3] - n[1:-2]) <= STEADY
        quick = d[2:-1] - d[1:-2] <= GAP_DAYS
        stays = n[1:-2] - n[3:] >= STAYS
        found += [(int(row), int(col), at[i : i + 4]) for i in np.flatnonzero(drop & steady & quick & stays)]
    if not found:
        return Events(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4), int))
    row, col, four = zip(*found, strict=True)
    return Events(np.array(row), np.array(col), np.stack(four))


def responses(features: Features, events: Events) -> Mapping[str, Float[np.ndarray, " n"]]:
    """Of every event the `step` between the dates round it, and the `whole` change from a date earlier to one later."""
    a, b, c, d = (features.values[events.at[:, i], events.row, events.col] for i in range(4))
    return {"step": apart(b, c), "whole": apart(a, d)}
