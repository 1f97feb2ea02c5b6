"""Labelled pixels of all sites as rows: their groups, which every method has, folds, and draws of training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int32

from eomm.errors import UsageError
from eomm.evaluation.features import Map
from eomm.evaluation.folds import Buffer, Fold, group_folds
from eomm.evaluation.labels import block_groups
from eomm.evaluation.probes.plan import Labelled, ProbePlan

MAX_PIXELS = 20_000  # of all sites, drawn in turns from the groups
MAX_TRAIN = 2000  # rows of a fold, drawn by seed; more tell a probe little, since pixels of a field are alike


@dataclass(frozen=True)
class Rows:
    """Labelled pixels of all sites.

    Attributes:
        at: (site, row, column).
        y: class number or value.
        group: number of what is held out together, from 0.
        names: of the groups.
    """

    at: Int[np.ndarray, "n 3"]
    y: np.ndarray
    group: Int[np.ndarray, " n"]
    names: tuple[str, ...]

    def only(self, keep: Bool[np.ndarray, " n"]) -> "Rows":
        """Some rows; groups keep their numbers where they keep a row, in order."""
        left, group = np.unique(self.group[keep], return_inverse=True)
        return Rows(self.at[keep], self.y[keep], group, tuple(self.names[i] for i in left))

    def take(self, maps: Sequence[Map]) -> np.ndarray:
        """Features of the rows."""
        out = np.empty((len(self.at), maps[0].values.shape[-1]), np.float32)
        for s, m in enumerate(maps):
            mine = self.at[:, 0] == s
            out[mine] = m.values[self.at[mine, 1], self.at[mine, 2]]
        return out


def joint_classes(sites: Sequence[Labelled]) -> tuple[str, ...]:
    """Classes of all sites by name. Raises UsageError for one class, or where only some are for regression."""
    if len({s.labels.regression for s in sites}) > 1:
        raise UsageError("some labels are classes and some are values; probe them apart")
    if sites[0].labels.regression:
        return ()
    names = tuple(dict.fromkeys(c for s in sites for c in s.labels.classes))
    if len(names) < 2:
        raise UsageError(f"one class ({', '.join(names)}) is nothing to tell apart; expected at least two")
    return names


def labelled(sites: Sequence[Labelled], classes: tuple[str, ...], plan: ProbePlan) -> Rows:
    """All labelled pixels, each with what is held out together with it."""
    parts: list[tuple[np.ndarray, ...]] = []
    names: list[str] = []
    for i, site in enumerate(sites):
        labels = site.labels
        row, col = np.nonzero(labels.known)
        local, called = _groups(site, plan)
        y = labels.values[row, col]
        if classes:
            y = np.array([classes.index(c) for c in labels.classes])[y]
        parts.append((np.stack([np.full(len(row), i), row, col], axis=1), y, local[row, col] + len(names)))
        names += [f"{site.site} {c}" if len(sites) > 1 and plan.groups != "sites" else c for c in called]
    at, y, group = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Rows(at, y, group, tuple(names)).only(even(group, MAX_PIXELS))


def _groups(site: Labelled, plan: ProbePlan) -> tuple[Int32[np.ndarray, "y x"], tuple[str, ...]]:
    """Every pixel's group in the site, and the groups' names by number."""
    labels, shape = site.labels, site.labels.known.shape
    if plan.groups == "fields":
        return labels.group, labels.names
    if plan.groups == "sites":
        return np.ones(shape, np.int32), ("", site.site)
    blocks = block_groups(shape, plan.block_px)
    return blocks, ("", *(f"block {b}" for b in range(1, int(blocks.max()) + 1)))


def even(group: Int[np.ndarray, " n"], most: int) -> Bool[np.ndarray, " n"]:
    """All rows, or so many drawn in turns from the groups."""
    order = np.random.default_rng(0).permutation(len(group))
    by_group = order[np.argsort(group[order], kind="stable")]
    _, first, size = np.unique(group[by_group], return_index=True, return_counts=True)
    turn = np.arange(len(group)) - np.repeat(first, size)
    keep = np.zeros(len(group), bool)
    keep[by_group[np.argsort(turn, kind="stable")[:most]]] = True
    return keep


def common(rows: Rows, maps: Mapping[str, Sequence[Map]]) -> tuple[Rows, dict[str, int]]:
    """Rows that every source has, and how many of all rows each lacks."""
    keep, lost = np.ones(len(rows.at), bool), {}
    for name, own in maps.items():
        valid = np.empty(len(rows.at), bool)
        for s, m in enumerate(own):
            mine = rows.at[:, 0] == s
            valid[mine] = m.valid[rows.at[mine, 1], rows.at[mine, 2]]
        lost[name] = int((~valid).sum())
        keep &= valid
    if not keep.any():
        raise UsageError(f"no labelled pixel has all features; lacking of {len(keep)}: {lost}")
    return rows.only(keep), lost


def make_folds(rows: Rows, plan: ProbePlan) -> tuple[list[Fold], Buffer | None]:
    """Folds by group with the buffer between them. Raises UsageError where there is one group; names it."""
    if len(rows.names) < 2:
        raise UsageError(f"one group ({rows.names[0]}) cannot be divided into folds; give more groups, or others")
    buffer = None
    if plan.groups != "sites" and plan.buffer_px:
        buffer = Buffer(position=rows.at[:, 1:].astype(float), distance=plan.buffer_px, within=rows.at[:, 0])
    return group_folds(rows.group, count=plan.folds, seed=plan.seed, buffer=buffer), buffer


def draw(fold: Fold, y: np.ndarray, share: float, seed: int, *, classes: int) -> Int[np.ndarray, " n"]:
    """A share of the training rows of every class, at least one of each; no more than MAX_TRAIN in all."""
    rng = np.random.default_rng([seed, round(share * 1e6)])
    kinds = [fold.train[y[fold.train] == c] for c in range(classes)] if classes else [fold.train]
    kept = [rng.permutation(k)[: max(1 if classes else 8, round(share * len(k)))] for k in kinds]
    rows = np.concatenate(kept)
    return np.sort(rng.permutation(rows)[:MAX_TRAIN])
