"""Which rows a model may learn from and on which it is scored: folds by group, by year, by both, and a leakage guard.

A row is whatever is predicted once: a tower-day, a pixel, a polygon. A group is what must not be divided: towers near
each other, a field, a block, a year. Folds hold row numbers. They never look at targets or features.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.metrics.pairwise import haversine_distances

from eomm.errors import ContractError, UsageError

EARTH_KM = 6371.0088


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Row numbers, ascending.

    Attributes:
        name: what is tested, such as the groups' names.
        train: rows that may be fitted on, and within which every choice is made (`inner`).
        test: rows that are scored.
    """

    name: str
    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Training rows nearer to a test row than this are left out.

    Attributes:
        position: of every row, [row, axis], such as the day or (y, x) in metres; not degrees.
        distance: least distance that is kept, in the unit of `position`.
        within: label of every row; only rows of one label can be near each other (days of the same site). None: all.
    """

    position: Float[np.ndarray, "n k"]
    distance: float
    within: Shaped[np.ndarray, " n"] | None = None

    def near(self, train: Int[np.ndarray, " a"], test: Int[np.ndarray, " b"]) -> Bool[np.ndarray, " a"]:
        """Which training rows are nearer than `distance` to a test row."""
        found = np.zeros(len(train), bool)
        label = np.zeros(len(self.position), np.int8) if self.within is None else self.within
        for one in np.unique(label[test]):
            mine, other = label[train] == one, test[label[test] == one]
            if mine.any():
                gap = cKDTree(self.position[other]).query(self.position[train[mine]])[0]
                found[mine] = gap < self.distance
        return found


def days_apart(day: Int[np.ndarray, " n"], distance: float, site: Shaped[np.ndarray, " n"]) -> Buffer:
    """The buffer in time: rows of one site whose windows of `distance` days would overlap."""
    return Buffer(position=np.asarray(day, float)[:, None], distance=distance, within=np.asarray(site))


def group_folds(
    group: Shaped[np.ndarray, " n"], *, count: int | None = None, seed: int = 0, buffer: Buffer | None = None
) -> list[Fold]:
    """Folds that test whole groups on models that saw none of their rows.

    Args:
        group: of every row, such as a tower's neighbourhood, a field or a year.
        count: folds to divide the groups among, about equally many rows each; None: a fold for each group.
        seed: of ties between groups of equal size.
        buffer: training rows to leave out because they are near test rows of another group.

    Raises:
        UsageError: fewer than two groups, or a fold without training rows.
    """
    names, index, size = np.unique(np.asarray(group), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise UsageError(f"one group ({', '.join(map(str, names))}) cannot be divided into folds; give more groups")
    if count is not None and count < 2:
        raise UsageError(f"{count} folds: expected at least 2")
    if count is None or count >= len(names):
        fold_of = np.arange(len(names))
    else:
        fold_of, load = np.empty(len(names), int), np.zeros(count)
        shuffled = np.random.default_rng(seed).permutation(len(names))
        for i in shuffled[np.argsort(-size[shuffled], kind="stable")]:
            fold_of[i] = np.argmin(load)
            load[fold_of[i]] += size[i]
    rows = np.arange(len(index))
    folds = []
    for k in np.unique(fold_of):
        inside = fold_of[index] == k
        folds.append(_fold(_name(names[fold_of == k]), rows[~inside], rows[inside], buffer))
    return folds


def cross_folds(
    group: Shaped[np.ndarray, " n"],
    year: Shaped[np.ndarray, " n"],
    *,
    count: int | None = None,
    seed: int = 0,
    buffer: Buffer | None = None,
) -> list[Fold]:
    """Folds that test groups in a year when the model saw neither the groups nor the year.

    Each fold of `group_folds(group)` is divided by year; rows that share only one of the two with the test are neither
    trained on nor scored. Raises UsageError as `group_folds`.
    """
    year = np.asarray(year)
    folds = []
    for fold in group_folds(group, count=count, seed=seed):
        for one in np.unique(year[fold.test]):
            train, test = fold.train[year[fold.train] != one], fold.test[year[fold.test] == one]
            if len(train):
                folds.append(_fold(f"{fold.name}, {one}", train, test, buffer))
    if not folds:
        raise UsageError("no fold has training rows in other years; folds by both need at least two years")
    return folds


def last_year_fold(
    site: Shaped[np.ndarray, " n"], year: Shaped[np.ndarray, " n"], *, buffer: Buffer | None = None
) -> Fold:
    """One fold that tests the last year of every site on the years before it; sites of one year are left out."""
    site, year = np.asarray(site), np.asarray(year)
    last, first = np.empty(len(site), year.dtype), np.empty(len(site), year.dtype)
    for one in np.unique(site):
        mine = site == one
        last[mine], first[mine] = year[mine].max(), year[mine].min()
    rows = np.arange(len(site))[first < last]
    if not len(rows):
        raise UsageError("no site has two years; the last year cannot be tested")
    test = (year == last)[rows]
    return _fold("last year of each site", rows[~test], rows[test], buffer)


def inner(fold: Fold, group: Shaped[np.ndarray, " n"], *, count: int = 5, seed: int = 0) -> list[Fold]:
    """Folds by group within a fold's training rows, for choices such as a penalty; its test rows occur in none.

    Row numbers are those of the whole. Raises UsageError as `group_folds`.
    """
    folds = group_folds(np.asarray(group)[fold.train], count=count, seed=seed)
    return [Fold(name=f.name, train=fold.train[f.train], test=fold.train[f.test]) for f in folds]


def check_no_leak(
    fold: Fold, *, groups: Mapping[str, Shaped[np.ndarray, " n"]] | None = None, buffer: Buffer | None = None
) -> Fold:
    """The fold itself, when nothing that is tested was trained on.

    Args:
        fold: to check; made by whatever means.
        groups: by what they are called ("site", "year", "field"): labels of every row that training and test must not
            share.
        buffer: of which no training row may be within the distance of a test row.

    Raises:
        ContractError: a row, a label or a window is on both sides; names it.
    """
    if len(both := np.intersect1d(fold.train, fold.test)):
        raise ContractError(f"leak in fold {fold.name!r}: row {both[0]} is trained on and tested ({len(both)} rows)")
    for what, label in (groups or {}).items():
        label = np.asarray(label)
        shared = np.intersect1d(label[fold.train], label[fold.test])
        if len(shared):
            raise ContractError(
                f"leak in fold {fold.name!r}: {what} {shared[0]} is trained on and tested; expected no {what} on both "
                "sides, make the folds by it"
            )
    if buffer is not None and len(fold.train) and len(fold.test):
        near = buffer.near(fold.train, fold.test)
        if near.any():
            row = fold.train[np.flatnonzero(near)[0]]
            where = "" if buffer.within is None else f" of {buffer.within[row]}"
            raise ContractError(
                f"leak in fold {fold.name!r}: training row {row}{where} at {_place(buffer.position[row])} is within "
                f"{buffer.distance:g} of a test row ({int(near.sum())} such rows); leave a buffer between them"
            )
    return fold


def near_groups(
    names: Sequence[str],
    lat: Float[np.ndarray, " n"],
    lon: Float[np.ndarray, " n"],
    *,
    within_km: float = 20.0,
    known: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """The group of every site: sites closer than `within_km` to one another, directly or through others, share one.

    Args:
        names: of the sites, each once.
        lat: degrees north; NaN where unknown.
        lon: degrees east.
        within_km: great-circle distance.
        known: sites that belong together whatever their coordinates, such as those without any; names that do not
            occur are allowed.

    Returns:
        site to the group's name: its sites, joined by "+".

    Raises:
        UsageError: a site has no coordinates and is in no list of `known`, or a name occurs twice.
    """
    if len(set(names)) != len(names):
        raise UsageError("a site is listed twice; expected each once")
    lost = [n for n, a, o in zip(names, lat, lon, strict=True) if not (math.isfinite(a) and math.isfinite(o))]
    if lost := [n for n in lost if not any(n in group for group in known)]:
        raise UsageError(
            f"no coordinates for {', '.join(lost)}: give latitude and longitude, or say which sites lie together "
            "(a list of one is enough)"
        )
    place = np.radians(np.nan_to_num(np.stack([lat, lon], axis=1)))
    known_place = np.isfinite(lat) & np.isfinite(lon)
    near = (EARTH_KM * haversine_distances(place) < within_km) & known_place & known_place[:, None]
    for group in known:
        together = [i for i, name in enumerate(names) if name in group]
        near[np.ix_(together, together)] = True
    _, number = connected_components(near, directed=False)
    joined = ["+".join(sorted(np.array(names)[number == k])) for k in range(number.max() + 1)]
    return {name: joined[k] for name, k in zip(names, number, strict=True)}


def _fold(name: str, train: np.ndarray, test: np.ndarray, buffer: Buffer | None) -> Fold:
    if buffer is not None:
        train = train[~buffer.near(train, test)]
    if not len(train):
        raise UsageError(f"fold {name!r} has no training rows left; choose fewer test rows or a smaller buffer")
    return Fold(name=name, train=train, test=test)


def _name(names: Sequence[Any]) -> str:
    text = [str(n) for n in names]
    return ", ".join(text) if len(text) <= 3 else f"{text[0]} and {len(text) - 1} more"


def _place(position: Float[np.ndarray, " k"]) -> str:
    return ", ".join(f"{p:g}" for p in position)
