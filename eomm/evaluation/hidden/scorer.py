"""One model on one cube, block by block, under any case: probes fitted, hidden targets predicted, errors tallied.

A case says what targets may not see: of their own modality, and of another. Memory holds a block.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float32, Int

from eomm.data.modality import Modality
from eomm.errors import DataError
from eomm.evaluation.baselines import SIMPLE, Observations, Pca, fit_pca, window_features
from eomm.evaluation.hidden.examples import Example
from eomm.evaluation.hidden.ridges import Ridges, Sample, draw_rows
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.hidden.task import HiddenTask
from eomm.evaluation.result import rounded
from eomm.models.forward import Part
from eomm.models.interface import Params
from eomm.models.predict import Batch, Predictor, Seen, read_batch

ROWS_PER_DATE = 256  # of a block, to fit linear baselines on
VISIBLE = "visible"  # the case in which the target itself is seen: compression

Vectors = Mapping[str, Float32[np.ndarray, "n p d"]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What targets may not see.

    Attributes:
        gap_days: of their own modality, everything within so many days on both sides.
        share: of the other modality, this share of all acquisitions; larger shares hold smaller ones.
        age_days: of the other modality, everything less than so many days away.
    """

    gap_days: int
    share: float = 0.0
    age_days: int = 0

    @property
    def without(self) -> "Case":
        """The same without the other modality."""
        return Case(gap_days=self.gap_days, share=1.0)

    def missing(
        self, day: Int[np.ndarray, " t"], order: Int[np.ndarray, " t"], target_days: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n t"]:
        """Which of the other modality's acquisitions each target loses; `order` tells which go first."""
        near = np.abs(day[None].astype(np.int64) - target_days[:, None]) < self.age_days
        return near | (order < round(self.share * len(day)))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is scored.

    Attributes:
        cases: each on the pixels that it leaves a visible observation, or all on those of the widest gap (`paired`).
        inputs: of linear probes (`ridges.INPUTS`), fitted under each case.
        simple: score what learns nothing, and the visible centre beside PCA.
        decoded: score the decoder from every embedding; else from the fused alone.
        other: modality that shares and ages of cases take from.
        paired: see `cases`.
        seed: of rows, of the random encoder and of which acquisitions go first.
    """

    cases: tuple[Case, ...]
    inputs: tuple[str, ...] = ()
    simple: bool = True
    decoded: bool = True
    other: str = ""
    paired: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Look:
    """A block as the model sees it with every test acquisition emptied, and what was really there."""

    batch: Batch
    series: Observations
    seen: Seen
    random: Seen | None
    others: Mapping[str, Seen]
    kept: dict[Any, Any] = field(default_factory=dict)  # embeddings that several cases share


class Scorer:
    """One model on the hidden targets of a cube, under several cases."""

    def __init__(self, predictor: Predictor, task: HiddenTask, wanted: Wanted):
        self.predictor, self.task, self.wanted = predictor, task, wanted
        self.cube, self.size = task.cube, task.size
        self.encoder = predictor.model.encoders[predictor.reference]
        self.tally = Tally(len(self.task.targets), len(self.modality.bands), seed=wanted.seed)
        self.pca: Pca | None = None
        self._random: Params = self.encoder.init(jax.random.key(wanted.seed + 1)) if "random" in wanted.inputs else None
        self._ridges: dict[Case, Ridges] = {}
        self._there: dict[tuple[str, Case], np.ndarray] = defaultdict(lambda: np.zeros(3))

    @property
    def modality(self) -> Modality:
        """The contract of what is hidden."""
        return self.task.group.modality

    @property
    def counted(self) -> int:
        """Targets scored in all cases."""
        return sum(int(self.tally.count("all", case).sum()) for case in self.wanted.cases)

    def run(
        self,
        *,
        points: Sequence[Example] = (),
        classes: Mapping[str, Bool[np.ndarray, "y x"]] | None = None,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        """Fit, then tally every block, as `score`; `tick` is called after each."""
        self.fit(tick=tick)
        for corner in self.task.corners:
            self.score(corner, points=points, classes=classes)
            tick()

    def fit(self, *, tick: Callable[[], object]) -> None:
        """Fit PCA of the bands, and the probes of every case, on training dates away from the unseen block."""
        at, spectra = self.task.fit_dates, list[np.ndarray]()
        samples = {case: Sample() for case in self.wanted.cases} if self.wanted.inputs else {}
        for corner in self.task.fit_corners:
            self._fit_block(corner, at, samples, spectra)
            tick()
        if not sum(map(len, spectra)) or (samples and not any(s.count for s in samples.values())):
            raise DataError(
                f"{self.cube.path}: no valid pixel of a training date to fit baselines and probes on; the unseen block "
                "and its buffer must leave some, and some dates must not be test dates"
            )
        bands = len(self.modality.bands)
        self.pca = fit_pca(np.concatenate(spectra), max(1, min(self.encoder.dim, bands - 1)))
        components = self.encoder.dim if self.predictor.model.fusion else self.predictor.length
        self._ridges = {c: s.fit(self.wanted.inputs, components) for c, s in samples.items() if s.count}

    def score(
        self,
        corner: tuple[int, int],
        *,
        points: Sequence[Example] = (),
        classes: Mapping[str, Bool[np.ndarray, "y x"]] | None = None,
    ) -> None:
        """Tally every method under every case on one block; `classes` are further regions of the site."""
        task, (_, unit) = self.task, self.modality.error_unit
        look = self.look(corner)
        series, targets = look.series, task.targets
        truth = series.values[targets] / unit
        regions = task.regions(corner)
        within = regions | {k: regions["all"] & self._block_of(m, corner) for k, m in (classes or {}).items()}
        for case in self.wanted.cases:
            predicted = {k: v / unit for k, v in self._predict(look, case).items()}
            scored = self._scorable(series, targets, case)
            masks = {r: scored & m for r, m in within.items()}
            self.tally.add(case, truth, predicted, masks)
            if self.wanted.other:
                self._count_there(look, case, masks)
            for point in points:
                point.take(corner, self.size, case.gap_days, truth, scored, predicted)
        if self.wanted.simple and self.pca:
            seen = self.predictor.see(self.predictor.reference, look.batch)
            shown = self.predictor.predict(seen, targets, task.hidden_but_itself(), self._parts(look, targets, None))
            both = {"encoder": shown["encoder"] / unit, "pca": self.pca.reconstruct(series.values[targets]) / unit}
            self.tally.add(VISIBLE, truth, both, {r: series.valid[targets] & m for r, m in regions.items()})

    def there(self, region: str, case: Case) -> dict[str, float | None]:
        """For which share of targets the other modality was there, and how many days away it was."""
        targets, present, days = self._there[region, case]
        return {
            "there": rounded(present / targets) if targets else None,
            "days_away": rounded(days / present) if present else None,
        }

    def look(self, corner: tuple[int, int]) -> Look:
        """Read a block, every test acquisition of the reference emptied."""
        name, blank = self.predictor.reference, self.task.is_test
        batch = self._read(name, corner)
        random = None if self._random is None else self.predictor.see(name, batch, blank, params=self._random)
        return Look(
            batch=batch,
            series=self._series(batch),
            seen=self.predictor.see(name, batch, blank),
            random=random,
            others={n: self.predictor.see(n, self._read(n, corner)) for n in self.predictor.others},
        )

    def _fit_block(
        self,
        corner: tuple[int, int],
        dates: Int[np.ndarray, " m"],
        samples: Mapping[Case, Sample],
        spectra: list[np.ndarray],
    ) -> None:
        may = self.task.may_fit(corner)
        look = self.look(corner) if samples else None
        series = look.series if look else self._series(self._read(self.predictor.reference, corner))
        spectra += [series.values[t][series.valid[t] & may] for t in dates]
        for case, sample in samples.items():
            assert look is not None
            vectors = self._vectors(look, dates, case)
            for i, (t, able) in enumerate(zip(dates, self._scorable(series, dates, case) & may, strict=True)):
                rows = draw_rows(able, ROWS_PER_DATE, seed=(self.wanted.seed, *corner, int(t)))
                sample.add({k: v[i, rows] for k, v in vectors.items()}, series.values[t][rows], np.full(len(rows), t))

    def _predict(self, look: Look, case: Case) -> dict[str, Float32[np.ndarray, "n p c"]]:
        """Physical values at the targets by every method."""
        predictor, targets = self.predictor, self.task.targets
        hidden = self.task.hidden(targets, case.gap_days)
        if self.wanted.decoded:
            found = dict(predictor.predict(look.seen, targets, hidden, self._parts(look, targets, case)))
        else:
            projected = predictor.project(self._fused(look, targets, case))
            found = {"fused": predictor.decode(projected, look.seen, targets, hidden)}
        if self.wanted.simple:
            days = self.task.day[targets]
            for name, method in SIMPLE.items():
                given = (method(look.series.without(h), int(d)) for h, d in zip(hidden, days, strict=True))
                found[name] = np.stack(list(given))
        if case in self._ridges:
            vectors, ridges = self._vectors(look, targets, case), self._ridges[case]
            rows = [ridges.predict({k: v[i] for k, v in vectors.items()}) for i in range(len(targets))]
            found |= {name: np.stack([r[name] for r in rows]) for name in rows[0]}
        return found

    def _vectors(self, look: Look, targets: Int[np.ndarray, " n"], case: Case) -> Vectors:
        """What each probe is given of the targets' pixels under a case."""
        hidden, found = self.task.hidden(targets, case.gap_days), dict[str, Any]()
        for name in self.wanted.inputs:
            if name == "trained":
                found[name] = self.predictor.embed(look.seen, targets, hidden)
            elif name == "random" and look.random is not None:
                found[name] = self.predictor.embed(look.random, targets, hidden, params=self._random)
            elif name == "fused":
                found[name] = self._fused(look, targets, case)
            elif name == "raw":
                days = self.task.day[targets]
                rows = (window_features(look.series.without(h), int(d)) for h, d in zip(hidden, days, strict=True))
                found[name] = np.stack(list(rows))
        return {k: np.asarray(v).reshape(len(targets), self.size**2, -1) for k, v in found.items()}

    def _fused(self, look: Look, targets: Int[np.ndarray, " n"], case: Case) -> Array:
        main = (case.gap_days, targets.tobytes())
        if main not in look.kept:
            look.kept[main] = self.predictor.embed(look.seen, targets, self.task.hidden(targets, case.gap_days))
        return self.predictor.fuse(look.kept[main], self._parts(look, targets, case))

    def _parts(self, look: Look, targets: Int[np.ndarray, " n"], case: Case | None) -> dict[str, Part]:
        """What the other modalities bring to targets; all of them where no case is given."""
        days, found = self.task.day[targets], dict[str, Part]()
        for name, seen in look.others.items():
            takes = case if name == self.wanted.other else None
            key = (name, takes and (takes.share, takes.age_days), targets.tobytes())
            if key not in look.kept:
                day = seen.batch["day"][0]
                order = np.random.default_rng(self.wanted.seed).permutation(len(day))
                missing = takes.missing(day, order, days) if takes else None
                look.kept[key] = self.predictor.embed_other(name, seen, days, missing)
            found[name] = look.kept[key]
        return found

    def _count_there(self, look: Look, case: Case, masks: Mapping[str, Bool[np.ndarray, "n p"]]) -> None:
        part = self._parts(look, self.task.targets, case)[self.wanted.other]
        square = (len(self.task.targets), self.size, self.size)
        present, days = (
            np.broadcast_to(np.asarray(x)[0], square).reshape(square[0], -1)
            for x in (part.present, np.abs(part.offset_days))
        )
        for region, mask in masks.items():
            both = mask & present
            self._there[region, case] += (mask.sum(), both.sum(), days[both].sum())

    def _scorable(self, series: Observations, targets: Int[np.ndarray, " n"], case: Case) -> Bool[np.ndarray, "n p"]:
        """Valid pixels that are seen at another date under the case's gap, or under the widest."""
        gap = max(self.task.gaps) if self.wanted.paired else case.gap_days
        hidden = self.task.hidden(targets, gap)
        return series.valid[targets] & np.stack([series.valid[~h].any(0) for h in hidden])

    def _block_of(self, mask: Bool[np.ndarray, "y x"], corner: tuple[int, int]) -> Bool[np.ndarray, " p"]:
        """A block of a map of the site; false beyond it."""
        block = np.zeros((self.size, self.size), bool)
        part = mask[corner[0] : corner[0] + self.size, corner[1] : corner[1] + self.size]
        block[: part.shape[0], : part.shape[1]] = part
        return block.ravel()

    def _read(self, name: str, corner: tuple[int, int]) -> Batch:
        """One modality of a block and its halo; of a modality of a single pixel that pixel."""
        halo, size = self.predictor.model.encoders[name].halo, self.size
        if self.cube.site_wide(name, self.predictor.reference):
            corner, size = (0, 0), 1
        return read_batch(self.cube, name, row=corner[0], col=corner[1], size=size, halo=halo)

    def _series(self, batch: Batch) -> Observations:
        """What was observed of the reference modality inside the block, in physical units."""
        inner = slice(self.encoder.halo, self.encoder.halo + self.size)
        values = self.modality.decode(batch["values"][0, :, inner, inner])
        return Observations.of_map(values, batch["valid"][0, :, inner, inner], batch["day"][0])
