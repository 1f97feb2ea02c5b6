"""Which places train, which choose, which report: fixed before anything was trained, and never changed to a score.

A set that trains never reports, and the reverse. Rules that need a table stand as functions of it; what they gave is
written out where it is short, and a test says that rule and list agree.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

ROLES = ("train", "choose", "report")

WHOLE = {
    "swiss": "train",
    "towers": "train",
    "forest": "train",
    "berlin": "train",
    "korea nh": "train",
    "korea nj": "report",
    "plots LR": "choose",
    "plots NB": "report",
}
"""Sets, and regions of sets, of one role. Slovak plots and polygons are for evaluation only: none of them trains."""

FARMS = {
    "Viehhausen": ("Viehhausen1", "Viehhausen11", "Viehhausen3", "Viehhausen5"),
    "Heng and Holzacker": ("Heng", "Holzacker"),
    "Thalhausen": ("Grafenfeld", "Krohberg", "Sieblerfeld", "Thalhausen138", "Thalhausen141"),
    "Radarstation": ("Radarstation", "Striegelfeld"),
    "Feldhof": ("Feldhof1", "Feldhof1a", "Feldhof2"),
    "Itzling": ("Baumacker", "Itzling2", "Itzling4", "Itzling5", "Itzling6"),
}
"""Bavarian fields by what lies together: a farm's land as far as names and positions tell."""

REPORTED_FARMS = ("Itzling", "Radarstation")
"""Seven fields, whole farms, wheat and barley on both sides; the nearest field that trains is 1.2 km away."""

LOCALITY_KM = 3.5  # mowing localities of one role nearer than this are one group (0.4 to 3.2 km; the next pair 4.4 km)
PLOT_KM = 0.5  # grassland plots nearer than this are one locality; they stand as near as 110 m
LARGE_M2 = 1000.0  # a Korean parcel of at least this holds whole pixels
DRAWN_BY = 14  # seed of both halves

CHOSEN_LOCALITIES = (
    *("cechy", "cicmany", "drozdovo", "faklovka", "giraltovce", "haj", "hrusov", "jahodna"),
    *("klastorisko", "kokava", "kraliky", "krpacovo", "kubhola", "makovica", "malinobrdo", "mnisek"),
    *("panskydiel", "pavcialehota", "rencisov", "rohace", "sachticky", "zdiar"),
)
"""Half of the 44 localities of the mowing polygons, by `halve_localities`."""

FLANDERS_TRAIN_COLUMNS = (0, 41)  # of 64; the halo of 7 px and the reach of resampling lie between
FLANDERS_TEST_COLUMNS = (50, 64)
# Of the 30 dates at least 90 % clear (SCL 4, 5, 6) numbers 1, 4, 7, ... and 3, 9, 15, 21, 27.
_TEST = "02-28 04-19 05-06 05-26 06-30 07-13 07-23 08-07 09-21 10-13"
_VALIDATION = "03-25 05-11 07-08 08-02 10-08"
FLANDERS_TEST_DATES = tuple(date.fromisoformat(f"2018-{d}") for d in _TEST.split())
FLANDERS_VALIDATION_DATES = tuple(date.fromisoformat(f"2018-{d}") for d in _VALIDATION.split())


def farm_of(field: str) -> str:
    """The farm of a Bavarian field."""
    return next(farm for farm, fields in FARMS.items() if field in fields)


def bavarian_role(field: str) -> str:
    """Report for the seven fields of the farms that report, else train."""
    return "report" if farm_of(field) in REPORTED_FARMS else "train"


def korean_roles(crops: Mapping[str, int]) -> dict[str, str]:
    """Train or choose for the parcels of us: every second one of a crop's, drawn by seed.

    Args:
        crops: crop numbers by parcel.
    """
    rng, out = np.random.default_rng(DRAWN_BY), dict[str, str]()
    for crop in sorted(set(crops.values())):
        drawn = rng.permutation(sorted(p for p, c in crops.items() if c == crop))
        turn = int(rng.integers(2))
        out |= {str(p): "train" if (i + turn) % 2 else "choose" for i, p in enumerate(drawn)}
    return out


def mowing_role(locality: str) -> str:
    """Choose for half of the localities of the mowing polygons, else report."""
    return "choose" if locality in CHOSEN_LOCALITIES else "report"


def halve_localities(names: Sequence[str]) -> tuple[str, ...]:
    """The half that chooses, drawn by seed from all names."""
    names = sorted(names)
    return tuple(sorted(np.random.default_rng(DRAWN_BY).permutation(names)[: len(names) // 2].tolist()))
