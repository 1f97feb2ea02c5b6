"""One fused model on one cube, block by block, with more and less of another modality; see fusion.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from eomm.errors import DataError
from eomm.evaluation.baselines import Observations, Ridge
from eomm.evaluation.hidden.ridges import Sample, draw_rows
from eomm.evaluation.hidden.scoring import ROWS_PER_DATE, ScoredSite
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.hidden.task import HiddenTask
from eomm.evaluation.rounding import rounded
from eomm.models.forward import Part
from eomm.models.predict import Seen


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


class Scored:
    """One model on one cube under every case: probes fitted, errors tallied."""

    def __init__(self, site: ScoredSite, other: str, cases: Sequence[Case], seed: int):
        self.site, self.other, self.cases, self.seed = site, other, cases, seed
        self.tally = Tally(len(self.task.targets), len(site.modality.bands), seed=seed)
        self.counted = 0
        self._probes: dict[Case, Ridge] = {}
        self._there = {(r, c): np.zeros(3) for r in ("all", "unseen block") for c in cases}

    @property
    def task(self) -> HiddenTask:
        """Which targets, and what they may see of their own modality."""
        return self.site.task

    def run(self, corners: Sequence[tuple[int, int]], fit_dates: int, tick: Callable[[], object]) -> None:
        """Fit the probes, then tally every block."""
        samples = {case: Sample() for case in self.cases}
        for corner in self.task.fit_blocks(corners, self.site.size):
            self._fit_block(corner, self.task.fit_dates(fit_dates), samples)
            tick()
        if not samples[self.cases[0]].count:
            raise DataError(
                f"{self.site.cube.path}: no valid pixel of a training date to fit probes on; the unseen block and "
                "its buffer must leave some, and some dates must not be test dates"
            )
        self._probes = {case: sample.fit_one("fused") for case, sample in samples.items()}
        for corner in corners:
            self._score_block(corner)
            tick()

    def at(self, region: str, case: Case, readout: str) -> Float[np.ndarray, " n"]:
        """Error of every date."""
        return self.tally.per_date(region, str(case), readout).mean(1)

    def there(self, region: str, case: Case) -> dict[str, float | None]:
        """For which share of targets the other modality was there, and how many days away it was."""
        targets, present, days = self._there[region, case]
        return {
            "there": rounded(present / targets) if targets else None,
            "days_away": rounded(days / present) if present else None,
        }

    def _fit_block(self, corner: tuple[int, int], dates: Int[np.ndarray, " m"], samples: Mapping[Case, Sample]) -> None:
        seen, series = self._look(corner)
        may = self._scorable(series, dates) & self.task.may_fit(*corner, self.site.size)
        rows = [draw_rows(m, ROWS_PER_DATE, seed=(self.seed, *corner, int(t))) for m, t in zip(may, dates, strict=True)]
        for case, fused, _ in self._embed(seen, dates):
            z = np.asarray(fused)[0].reshape(len(dates), self.site.size**2, -1)
            for i, (t, chosen) in enumerate(zip(dates, rows, strict=True)):
                samples[case].add({"fused": z[i, chosen]}, series.values[t][chosen], np.full(len(chosen), t))

    def _score_block(self, corner: tuple[int, int]) -> None:
        seen, series = self._look(corner)
        predictor, targets = self.site.predictor, self.task.targets
        shape, (_, unit) = (len(targets), self.site.size**2), self.site.modality.error_unit
        truth = series.values[targets] / unit
        scorable = self._scorable(series, targets)
        masks = {r: scorable & m for r, m in self.task.regions(*corner, self.site.size).items()}
        self.counted += int(masks["all"].sum())
        for case, fused, other in self._embed(seen, targets):
            probed = self._probes[case].predict(np.asarray(fused).reshape(shape[0] * shape[1], -1))
            projected, hidden = predictor.project(fused), self.task.hidden(targets, case.gap_days)
            predicted = {
                "decoded": predictor.decode(projected, seen[predictor.reference], targets, hidden) / unit,
                "probe": probed.reshape(*shape, -1) / unit,
            }
            self.tally.add(str(case), truth, predicted, masks)
            present, days = (
                np.broadcast_to(np.asarray(x)[0], (len(targets), self.site.size, self.site.size)).reshape(shape)
                for x in (other.present, np.abs(other.offset_days))
            )
            for region, mask in masks.items():
                self._there[region, case] += (mask.sum(), (mask & present).sum(), days[mask & present].sum())

    def _look(self, corner: tuple[int, int]) -> tuple[dict[str, Seen], Observations]:
        """Every modality of a block, test dates of the reference emptied, and what was really there."""
        predictor = self.site.predictor
        names = (predictor.reference, *predictor.others)
        batches = {name: self.site.read(name, corner) for name in names}
        blank = {predictor.reference: self.task.is_test}
        seen = {name: predictor.see(name, batch, blank.get(name)) for name, batch in batches.items()}
        return seen, self.site.series(batches[predictor.reference])

    def _embed(self, seen: Mapping[str, Seen], targets: Int[np.ndarray, " n"]) -> Iterator[tuple[Case, Array, Part]]:
        """Fused embeddings of the targets under each case, and what was taken of the other modality."""
        predictor, days = self.site.predictor, self.task.day[targets]
        main = {
            gap: predictor.embed(seen[predictor.reference], targets, self.task.hidden(targets, gap))
            for gap in {case.gap_days for case in self.cases}
        }
        stays = {n: predictor.embed_other(n, seen[n], days) for n in predictor.others if n != self.other}
        day = seen[self.other].batch["day"][0]
        order = np.random.default_rng(self.seed).permutation(len(day))
        taken: dict[tuple[float, int], Part] = {}
        for case in self.cases:
            key = (case.share, case.age_days)
            if key not in taken:
                missing = case.missing(day, order, days)
                taken[key] = predictor.embed_other(self.other, seen[self.other], days, missing)
            yield case, predictor.fuse(main[case.gap_days], {**stays, self.other: taken[key]}), taken[key]

    def _scorable(self, series: Observations, targets: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n p"]:
        """Valid pixels that are seen at another date under the widest gap: the same for every case."""
        hidden = self.task.hidden(targets, max(self.task.gaps))
        return series.valid[targets] & np.stack([series.valid[~h].any(0) for h in hidden])
