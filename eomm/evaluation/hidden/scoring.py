"""One cube under one task, block by block: fit the linear baselines, then predict and tally. Memory holds a block."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int

from eomm.data.cube import Cube, CubeGroup
from eomm.data.modality import Modality
from eomm.errors import DataError
from eomm.evaluation.baselines import SIMPLE, Observations, Pca, fit_pca, window_features
from eomm.evaluation.hidden.examples import Example
from eomm.evaluation.hidden.ridges import Ridges, Sample, draw_rows
from eomm.evaluation.hidden.tally import Tally
from eomm.evaluation.hidden.task import HiddenTask
from eomm.models.forward import Part
from eomm.models.interface import Params
from eomm.models.predict import Batch, Predictor, Seen, read_batch

ROWS_PER_DATE = 256  # of a block, to fit linear baselines on


class Fitted:
    """What was fitted on training dates: PCA of the bands, and the ridges of every gap."""

    def __init__(self, pca: Pca, ridges: Mapping[int, Ridges]):
        self.pca, self.ridges = pca, ridges


@dataclass(frozen=True, kw_only=True)
class Look:
    """A block as the model sees it: the reference's fields, series and features, and the other modalities."""

    batch: Batch
    series: Observations
    seen: Seen
    others: Mapping[str, Part]


class ScoredSite:
    """One cube under one task; what `evaluate` does block by block."""

    def __init__(self, predictor: Predictor, cube: Cube, task: HiddenTask, size: int, seed: int):
        self.predictor, self.cube, self.task, self.size, self.seed = predictor, cube, task, size, seed
        self.encoder = predictor.model.encoders[predictor.reference]
        self.random: Params = self.encoder.init(jax.random.key(seed + 1))

    @property
    def modality(self) -> Modality:
        """The contract of what is hidden."""
        return self.group.modality

    @property
    def components(self) -> int:
        """Numbers that a probe of the encoder is given, and PCA beside it."""
        return self.encoder.dim if self.predictor.model.fusion else self.predictor.length

    @property
    def group(self) -> CubeGroup:
        """The cube's series of what is hidden."""
        return self.cube[self.predictor.reference]

    def fit(
        self, corners: Sequence[tuple[int, int]], *, fit_dates: int, probes: bool, tick: Callable[[], object]
    ) -> Fitted:
        """Fit PCA, and the linear probes of every gap, on training dates away from the unseen block."""
        dates = self.task.fit_dates(fit_dates)
        samples = {gap: Sample() for gap in self.task.gaps} if probes else {}
        spectra: list[np.ndarray] = []
        for corner in self.task.fit_blocks(corners, self.size):
            self._fit_block(corner, dates, samples, spectra)
            tick()
        if not sum(map(len, spectra)):
            raise DataError(
                f"{self.cube.path}: no valid pixel of a training date to fit baselines on; the unseen block and "
                "its buffer must leave some, and some dates must not be test dates"
            )
        bands = len(self.modality.bands)
        pca = fit_pca(np.concatenate(spectra), max(1, min(self.encoder.dim, bands - 1)))
        ridges = {gap: s.fit(self.components) for gap, s in samples.items() if s.truth}
        return Fitted(pca, ridges)

    def _fit_block(
        self, corner: tuple[int, int], dates: Int[np.ndarray, " m"], samples: Mapping[int, Sample], spectra: list[Any]
    ) -> None:
        batch = self.read(self.predictor.reference, corner)
        series = self.series(batch)
        may = self.task.may_fit(*corner, self.size)
        spectra += [series.values[t][series.valid[t] & may] for t in dates]
        if not samples:
            return
        seen = self.predictor.see(self.predictor.reference, batch, self.task.is_test)
        random = self._see_random(batch)
        for gap, sample in samples.items():
            hidden = self.task.hidden(dates, gap)
            z = self._embeddings(seen, random, dates, hidden)
            for i, t in enumerate(dates):
                visible, day = series.without(hidden[i]), int(self.task.day[t])
                rows = draw_rows(
                    series.valid[t] & may & visible.valid.any(0), ROWS_PER_DATE, seed=(self.seed, *corner, int(t))
                )
                raw = window_features(visible, day)[rows]
                group = np.full(len(rows), t)
                sample.add({"raw": raw, **{k: v[i, rows] for k, v in z.items()}}, series.values[t][rows], group)

    def score(
        self,
        corner: tuple[int, int],
        fitted: Fitted,
        tally: Tally,
        points: Sequence[Example],
        classes: Mapping[str, Bool[np.ndarray, "y x"]] | None = None,
    ) -> None:
        """Score every method at every gap on one block; `classes` are further regions of the site."""
        task, name, (_, size) = self.task, self.predictor.reference, self.modality.error_unit
        look = self.look(corner)
        series, seen, others = look.series, look.seen, look.others
        truth, valid = series.values[task.targets], series.valid[task.targets]
        regions = task.regions(*corner, self.size)
        within = regions | {k: regions["all"] & self.block_of(m, corner) for k, m in (classes or {}).items()}
        random = self._see_random(look.batch) if fitted.ridges else None
        for gap in task.gaps:
            hidden = task.hidden(task.targets, gap)
            predicted: dict[str, Any] = dict(self.predictor.predict(seen, task.targets, hidden, others))
            predicted |= self.baselines(series, hidden)
            if random is not None:
                z = self._embeddings(seen, random, task.targets, hidden)
                predicted |= self._ridges(fitted.ridges[gap], z, series, hidden)
            scored = valid & np.isfinite(predicted["linear"]).all(-1)
            predicted = {k: v / size for k, v in predicted.items()}
            tally.add(str(gap), truth / size, predicted, {r: scored & m for r, m in within.items()})
            for point in points:
                point.take(corner, self.size, gap, truth / size, scored, predicted)
        seen = self.predictor.see(name, look.batch)
        shown = self.predictor.predict(seen, task.targets, task.hidden_but_itself(), others)
        shown = {"encoder": shown["encoder"] / size, "pca": fitted.pca.reconstruct(truth) / size}
        tally.add("visible", truth / size, shown, {r: valid & m for r, m in regions.items()})

    def look(self, corner: tuple[int, int]) -> Look:
        """A block as the model sees it with every test acquisition hidden, and what was really there."""
        name = self.predictor.reference
        batch = self.read(name, corner)
        others = {}
        for other in self.predictor.others:
            its = self.predictor.see(other, self.read(other, corner))
            others[other] = self.predictor.embed_other(other, its, self.task.day[self.task.targets])
        seen = self.predictor.see(name, batch, self.task.is_test)
        return Look(batch=batch, series=self.series(batch), seen=seen, others=others)

    def block_of(self, mask: Bool[np.ndarray, "y x"], corner: tuple[int, int]) -> Bool[np.ndarray, " p"]:
        """A block of a map of the site; false beyond it."""
        block = np.zeros((self.size, self.size), bool)
        part = mask[corner[0] : corner[0] + self.size, corner[1] : corner[1] + self.size]
        block[: part.shape[0], : part.shape[1]] = part
        return block.ravel()

    def baselines(self, series: Observations, hidden: Bool[np.ndarray, "n t"]) -> dict[str, Any]:
        """What the methods without learning predict, each from the series without what is hidden."""
        days = self.task.day[self.task.targets]
        return {
            name: np.stack([method(series.without(h), int(d)) for h, d in zip(hidden, days, strict=True)])
            for name, method in SIMPLE.items()
        }

    def _ridges(
        self, ridges: Ridges, z: Mapping[str, Any], series: Observations, hidden: Bool[np.ndarray, "n t"]
    ) -> dict[str, Any]:
        days = self.task.day[self.task.targets]
        rows = [
            ridges.predict({"raw": window_features(series.without(h), int(d)), **{k: v[i] for k, v in z.items()}})
            for i, (h, d) in enumerate(zip(hidden, days, strict=True))
        ]
        return {name: np.stack([r[name] for r in rows]) for name in rows[0]}

    def _see_random(self, batch: Batch) -> Seen:
        return self.predictor.see(self.predictor.reference, batch, self.task.is_test, params=self.random)

    def _embeddings(
        self, seen: Seen, random: Seen, targets: Int[np.ndarray, " n"], hidden: Bool[np.ndarray, "n t"]
    ) -> dict[str, Float32[np.ndarray, "n p d"]]:
        trained = self.predictor.embed(seen, targets, hidden)
        untrained = self.predictor.embed(random, targets, hidden, params=self.random)
        flat = (len(targets), self.size**2, -1)
        return {"trained": np.asarray(trained).reshape(flat), "random": np.asarray(untrained).reshape(flat)}

    def read(self, name: str, corner: tuple[int, int]) -> Batch:
        """One modality of a block and its halo; of a modality of a single pixel that pixel."""
        halo, size = self.predictor.model.encoders[name].halo, self.size
        if self.cube.site_wide(name, self.predictor.reference):
            corner, size = (0, 0), 1
        return read_batch(self.cube, name, row=corner[0], col=corner[1], size=size, halo=halo)

    def series(self, batch: Batch) -> Observations:
        """What was observed of the reference modality inside the block, in physical units."""
        halo = self.encoder.halo
        inner = slice(halo, halo + self.size)
        values = self.modality.decode(batch["values"][0, :, inner, inner])
        count, pixels = len(values), self.size**2
        return Observations(
            values=values.reshape(count, pixels, -1),
            valid=batch["valid"][0, :, inner, inner].reshape(count, pixels),
            day=batch["day"][0],
        )
