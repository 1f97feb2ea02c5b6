"""Vectors: a function from series to a vector per date, and how several are scaled and put beside each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eomm.data.points import PointSeries
from eomm.errors import DataError
from eomm.evaluation.quality.series import every

Made = list[Float[np.ndarray, "_ d"]]
Make = Callable[[Sequence[PointSeries], Sequence[Int[np.ndarray, " _"]]], Made]
One = Callable[[PointSeries, Int[np.ndarray, " n"]], Float[np.ndarray, "n d"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """One way to say in numbers what a pixel was at a date.

    Attributes:
        name: for tables.
        length: of a vector.
        make: series and positions of dates in each -> a vector per position; also at dates that are not valid.
        state: how many leading numbers are the denoised state; 0 where there is none.
        learned_from: places whose series were learned from, which a task may forbid. None:
            not known; () for what learns nothing from places.
        seed: of a method that is trained several times; methods of one name are averaged over it.
    """

    name: str
    length: int
    make: Make
    state: int = 0
    learned_from: tuple[str, ...] | None = ()
    seed: int = 0

    def __call__(self, series: Sequence[PointSeries], at: Sequence[Int[np.ndarray, " _"]] | None = None) -> Made:
        """Vectors at positions of each series; at all where None.

        Raises:
            DataError: the function gave another shape, or numbers that are not finite.
        """
        places = every(series) if at is None else at
        made = self.make(series, places)
        for one, s, where in zip(made, series, places, strict=True):
            if one.shape != (len(where), self.length):
                raise DataError(
                    f"vectors {self.name!r}: {one.shape} for {len(where)} dates of {s.name}; expected "
                    f"({len(where)}, {self.length})"
                )
            if not np.isfinite(one).all():
                raise DataError(f"vectors {self.name!r}: NaN or infinity for {s.name}; expected numbers")
        return made

    def mapped(self, change: Callable[[np.ndarray], np.ndarray], **changes: Any) -> "Vectors":
        """The same with `change` made to the vectors of every series; `changes` are of fields, such as the length."""

        def make(series: Sequence[PointSeries], at: Sequence[np.ndarray]) -> Made:
            return [np.asarray(change(v), np.float32) for v in self.make(series, at)]

        return replace(self, make=make, **changes)


def per_series(name: str, length: int, one: One, *, state: int = 0) -> Vectors:
    """Vectors of a function of one series and positions in it."""

    def make(series: Sequence[PointSeries], at: Sequence[np.ndarray]) -> Made:
        return [np.asarray(one(s, where), np.float32) for s, where in zip(series, at, strict=True)]

    return Vectors(name=name, length=length, make=make, state=state)


def remembered(vectors: Vectors) -> Vectors:
    """The same, computing the vectors at all dates of a series only once while that series lives."""
    known: dict[int, tuple[PointSeries, np.ndarray]] = {}

    def make(series: Sequence[PointSeries], at: Sequence[np.ndarray]) -> Made:
        whole = [len(where) == len(s) for s, where in zip(series, at, strict=True)]
        missing = [i for i, s in enumerate(series) if not (whole[i] and id(s) in known)]
        found = dict(zip(missing, vectors.make([series[i] for i in missing], [at[i] for i in missing]), strict=True))
        for i in missing:
            if whole[i]:
                known[id(series[i])] = (series[i], found[i])
        return [found[i] if i in found else known[id(s)][1] for i, s in enumerate(series)]

    return replace(vectors, make=make)


def scaled(vectors: Vectors, sample: Sequence[PointSeries], *, by_column: bool = False) -> Vectors:
    """Vectors with mean 0 and a total variance of 1 over the valid dates of a sample, never of what is scored.

    Args:
        vectors: to scale.
        sample: series of training places.
        by_column: first bring every number to the same variance.
    """
    rows = valid_rows(vectors, sample)
    mean, spread = rows.mean(0), np.sqrt(rows.var(0))
    if by_column:
        scale = np.where(spread > 1e-9, spread, 1.0) * np.sqrt(max(1, (spread > 1e-9).sum()))
    else:
        scale = np.full(vectors.length, max(float(np.sqrt((spread**2).sum())), 1e-9))
    return vectors.mapped(lambda v: (v - mean) / scale)


def principal(name: str, vectors: Vectors, length: int, sample: Sequence[PointSeries]) -> Vectors:
    """The leading principal components of other vectors, measured on a sample."""
    rows = valid_rows(vectors, sample)
    mean = rows.mean(0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2][:length].T
    return vectors.mapped(lambda v: (v - mean) @ basis, name=name, length=basis.shape[1], state=0)


def beside(name: str, *parts: Vectors) -> Vectors:
    """Several vectors one after the other; the state is the first one's."""

    def make(series: Sequence[PointSeries], at: Sequence[np.ndarray]) -> Made:
        made = [p.make(series, at) for p in parts]
        return [np.concatenate(rows, axis=1) for rows in zip(*made, strict=True)]

    known = [p.learned_from for p in parts]
    learned_from = None if None in known else tuple(sorted({place for one in known if one for place in one}))
    length, seed = sum(p.length for p in parts), max(p.seed for p in parts)
    return Vectors(name=name, length=length, make=make, state=parts[0].state, learned_from=learned_from, seed=seed)


def leading(name: str, vectors: Vectors, length: int) -> Vectors:
    """The first numbers of each vector."""
    return vectors.mapped(lambda v: v[:, :length], name=name, length=length, state=min(vectors.state, length))


def following(name: str, vectors: Vectors, skipped: int) -> Vectors:
    """The numbers of each vector behind the first ones, which hold the state."""
    return vectors.mapped(lambda v: v[:, skipped:], name=name, length=vectors.length - skipped, state=0)


def valid_rows(vectors: Vectors, sample: Sequence[PointSeries], *, most: int = 20_000) -> Float[np.ndarray, "n d"]:
    """Vectors of the valid dates of a sample, float64; at most so many, evenly taken."""
    rows = np.concatenate(vectors(sample, [np.flatnonzero(s.valid) for s in sample])).astype(np.float64)
    if len(rows) < 2:
        raise DataError(f"vectors {vectors.name!r}: {len(rows)} valid dates to measure scales on; give more series")
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
