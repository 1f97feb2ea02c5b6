"""Fits of one probe to scores and paired differences; what a fit is is tables.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.probes.fit import ProbeTask
from eomm.evaluation.probes.rows import Rows
from eomm.evaluation.probes.score import BETTER, CLASSIFICATION, Metric, confusion, metrics, squares
from eomm.evaluation.result import Better, Difference, Estimate, rounded


@dataclass
class Scored:
    """Predictions of one method and probe for one mode and share: a row per seed.

    Attributes:
        guess: class numbers or values.
        choices: k or penalty of every fit, seed by seed.
        trained: rows of every fit.
    """

    guess: np.ndarray
    choices: list[float] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)

    def moments(self, rows: Rows, task: ProbeTask) -> list[np.ndarray]:
        """Sums over groups [group, k], one array per seed."""
        count = len(rows.names)
        if task.classes:
            return [confusion(rows.y, g, rows.group, count, task.classes) for g in self.guess]
        return [squares(rows.y.astype(np.float64), g, rows.group, count) for g in self.guess]


@dataclass(frozen=True, kw_only=True)
class SeedScore(Estimate):
    """Of one draw of the labels: what was chosen (k or penalty, the median of its fits), rows a fit was trained on."""

    seed: int
    choice: float | None
    train: int


@dataclass(frozen=True, kw_only=True)
class Score(Estimate):
    """Of a method under one mode, probe, share and metric: the mean over draws, how long its rows are, each draw's."""

    mode: str
    probe: str
    share: float
    method: str
    metric: str
    length: int
    per_seed: tuple[SeedScore, ...]


@dataclass(frozen=True, kw_only=True)
class Gap(Difference):
    """The main method's score minus another's, `against`."""

    mode: str
    probe: str
    share: float
    method: str
    against: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What turns fits on some rows into scores.

    Attributes:
        rows: scored.
        task: what was learned.
        seeds: draws of labels.
        draws: of the rows' groups.
    """

    rows: Rows
    task: ProbeTask
    seeds: Sequence[int]
    draws: Resampling

    @property
    def metrics(self) -> Mapping[str, tuple[Metric, Metric]]:
        """By name, over all seeds and of a single one."""
        whole, single = (metrics(self.task.classes, n) for n in (len(self.seeds), 1))
        return {name: (whole[name], single[name]) for name in whole}

    @property
    def rests_on(self) -> Mapping[str, int]:
        """Groups of the rarest class, by metric that is a mean over classes: so few decide its interval."""
        y, group = self.rows.y, self.rows.group
        fewest = min((len(np.unique(group[y == c])) for c in range(self.task.classes)), default=0)
        return {name: fewest for name in CLASSIFICATION if name != "accuracy"} if fewest else {}

    def scores(self, where: Mapping[str, Any], fits: Mapping[str, Scored], lengths: Mapping[str, int]) -> list[Score]:
        """A score per method and metric: the mean over seeds with its interval over groups, and each seed's."""
        out, rests = [], self.rests_on
        for name, fit in fits.items():
            sums, count = fit.moments(self.rows, self.task), len(fit.choices) // len(self.seeds)
            for metric, (whole, single) in self.metrics.items():
                options = {"independent": rests.get(metric)}
                seeds = []
                for i, seed in enumerate(self.seeds):
                    part = slice(i * count, (i + 1) * count)
                    chosen, trained = rounded(np.median(fit.choices[part])), round(float(np.mean(fit.trained[part])))
                    own = self.draws.estimate(single, sums[i], **options)
                    seeds.append(SeedScore(**vars(own), seed=seed, choice=chosen, train=trained))
                every = vars(self.draws.estimate(whole, np.concatenate(sums, axis=1), **options))
                about: dict[str, Any] = {"method": name, "metric": metric, "length": lengths[name]}
                out.append(Score(**every, **where, **about, per_seed=tuple(seeds)))
        return out

    def gaps(self, where: Mapping[str, Any], fits: Mapping[str, Scored], main: str) -> list[Gap]:
        """Paired differences of the main method to the others."""
        out, rests = [], self.rests_on
        joined = {n: np.concatenate(f.moments(self.rows, self.task), axis=1) for n, f in fits.items()}
        for metric, (whole, _) in self.metrics.items():
            better: Better = "lower" if metric in BETTER else "higher"
            for name in (n for n in fits if n != main):
                found = self.draws.difference(
                    whole, joined[main], joined[name], better=better, independent=rests.get(metric)
                )
                out.append(Gap(**vars(found), **where, method=main, against=name, metric=metric))
        return out
