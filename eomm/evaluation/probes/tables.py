"""Probes of features on labels, with whole fields, blocks or sites held out; every method on the same pixels and folds.

What features are is evaluation/features.py, what labels are evaluation/labels.py; what is asked plan.py, pixels and
folds rows.py, how a probe is fitted fit.py. The numbers go into words, tables and files in words.py and figures.py.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from eomm.data.grid import to_date
from eomm.data.modality import in_order
from eomm.errors import ContractError, UsageError
from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.features import Dates, Map, Provider, chosen_dates, rows_of
from eomm.evaluation.folds import Fold, check_no_leak
from eomm.evaluation.probes.fit import ProbeTask, fit_head, fit_probe, reduce
from eomm.evaluation.probes.plan import Labelled, LabelledSite, Method, ProbePlan
from eomm.evaluation.probes.rows import Rows, common, draw, joint_classes, labelled, make_folds
from eomm.evaluation.probes.scored import Gap, Score, Scored, Scorer


@dataclass(frozen=True)
class Outcome:
    """What probing gave.

    Attributes:
        scores: one per mode, probe, share, method and metric.
        differences: the main method's score minus each other's, paired.
        rows: by mode, the pixels scored.
        guesses: by (mode, probe, share, method), of the first seed.
        folds: by mode, the number of the fold that tested each row.
        classes: names; empty for regression.
        facts: of the sites and folds, JSON types.
    """

    scores: Sequence[Score]
    differences: Sequence[Gap]
    rows: Mapping[str, Rows]
    guesses: Mapping[tuple[str, str, float, str], np.ndarray]
    folds: Mapping[str, Int[np.ndarray, " n"]]
    classes: tuple[str, ...]
    facts: Mapping[str, Any]

    def frame(self, sites: Sequence[Labelled], methods: Mapping[str, Method]) -> pd.DataFrame:
        """A row for each mode, probe, share and scored pixel, of the first draw.

        Columns are `mode`, `probe`, `share`, `site`, `row` and `column` (of the cube), `group`, `fold`, `label`, and
        each method by its name: what it said while the pixel's group was held out. Classes are given by name.
        """
        names, parts = np.array([s.site for s in sites]), []
        for mode, probe, share in dict.fromkeys(key[:3] for key in self.guesses):
            rows = self.rows[mode]
            known = {
                "mode": mode,
                "probe": probe,
                "share": share,
                "site": names[rows.at[:, 0]],
                "row": rows.at[:, 1],
                "column": rows.at[:, 2],
                "group": np.array(rows.names)[rows.group],
                "fold": self.folds[mode],
                "label": self._named(rows.y),
            }
            said = {m: self._named(self.guesses[mode, probe, share, m]) for m in methods}
            parts.append(pd.DataFrame({**known, **said}))
        return pd.concat(parts, ignore_index=True)

    def _named(self, values: np.ndarray) -> np.ndarray:
        """Classes by name; numbers as they are."""
        return np.array(self.classes)[values] if self.classes else values


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One mode: the pixels that all sources have, what each source gives of them, and the folds.

    Attributes:
        mode: of features.MODES.
        rows: labelled pixels.
        maps: of every source, a map of each site.
        folds: by group, with a buffer between them.
        classes: names; empty for regression.
        lacking: how many of all labelled pixels each source lacks.
        days: by site, where the mode is of one date.
    """

    mode: str
    rows: Rows
    maps: Mapping[str, Sequence[Map]]
    folds: Sequence[Fold]
    classes: tuple[str, ...]
    lacking: Mapping[str, int]
    days: Mapping[str, int]

    @property
    def task(self) -> ProbeTask:
        """What probes learn."""
        return ProbeTask(len(self.classes))

    @property
    def tested(self) -> Int[np.ndarray, " n"]:
        """The number of the fold that tests each row."""
        number = np.zeros(len(self.rows.at), np.int64)
        for i, fold in enumerate(self.folds):
            number[fold.test] = i
        return number

    def length(self, method: Method) -> int:
        """Numbers of a row of a method."""
        one = self.maps[method.source][0]
        whole = one.values.shape[-1]
        return min(whole, method.components * max(1, len(one.about))) if method.components else whole

    @property
    def facts(self) -> Mapping[str, Any]:
        """Pixels and groups, by class too, what each source lacks, and folds that lack a class; JSON types."""
        y, group = self.rows.y, self.rows.group
        by_class = {
            c: {"pixels": int((y == i).sum()), "groups": len(np.unique(group[y == i]))}
            for i, c in enumerate(self.classes)
        }
        untrained = [
            f"{c} (fold {i} of {len(self.folds)})"
            for i, f in enumerate(self.folds, 1)
            for k, c in enumerate(self.classes)
            if (y[f.test] == k).any() and not (y[f.train] == k).any()
        ]
        about = {n: own[0].about for n, own in self.maps.items() if own[0].about}
        return {
            "pixels": len(self.rows.at),
            "groups": len(self.rows.names),
            "folds": len(self.folds),
            "classes": by_class,
            "untrained": untrained,
            "pixels_lacking": dict(self.lacking),
            "days": dict(self.days),
            "frames": {n: list(a) for n, a in about.items()},
            "training_pixels": [len(f.train) for f in self.folds],
        }


def probe(
    sites: Sequence[LabelledSite], methods: Mapping[str, Method], plan: ProbePlan, *, progress: bool = False
) -> Outcome:
    """Fit and score every probe of every method on the same pixels, folds and draws.

    Args:
        sites: one or more; all of them simulated, or none.
        methods: what is compared, by name; differences are of the plan's main one, if it is among them.
        plan: modes, folds, shares, seeds.
        progress: show a bar.

    Raises:
        ContractError: simulated and real sites together; a leak in the folds.
        UsageError: too few groups, no pixel that all methods have, or an option is wrong.
    """
    simulated = {s.cube.simulated for s in sites}
    if len(simulated) > 1:
        raise ContractError("simulated and real cubes together: their scores never share a table; run them apart")
    scores: list[Score] = []
    differences: list[Gap] = []
    guesses: dict[tuple[str, str, float, str], np.ndarray] = {}
    settings = make_settings(sites, {m.source: m.read for m in methods.values()}, plan, progress=progress)
    for setting in settings:
        draws = Resampling(np.arange(len(setting.rows.names)), seed=plan.seed)
        scorer = Scorer(rows=setting.rows, task=setting.task, seeds=plan.seeds, draws=draws)
        lengths = {n: setting.length(m) for n, m in methods.items()}
        for (kind, share), fits in fit_all(setting, methods, plan, progress=progress).items():
            where = {"mode": setting.mode, "probe": kind, "share": share}
            guesses |= {(setting.mode, kind, share, name): fit.guess[0] for name, fit in fits.items()}
            scores += scorer.scores(where, fits, lengths)
            differences += scorer.gaps(where, fits, plan.main) if plan.main in methods else []
    return Outcome(
        scores,
        differences,
        rows={s.mode: s.rows for s in settings},
        guesses=guesses,
        folds={s.mode: s.tested for s in settings},
        classes=settings[0].classes,
        facts={
            "sites": [s.cube.site for s in sites],
            "simulated": simulated.pop(),
            "modes": {s.mode: s.facts for s in settings},
        },
    )


def make_settings(
    sites: Sequence[LabelledSite], sources: Mapping[str, Provider], plan: ProbePlan, *, progress: bool
) -> list[Setting]:
    """One for each mode, its folds checked for leaks."""
    classes = joint_classes(sites)
    everything, days = labelled(sites, classes, plan), days_of(sites, plan)
    made = []
    for mode, maps in read_all(sites, sources, plan, days, progress=progress).items():
        check_columns(maps, sites)
        rows, lacking = common(everything, maps)
        folds, buffer = make_folds(rows, plan)
        for fold in folds:
            check_no_leak(fold, groups={plan.groups: rows.group}, buffer=buffer)
        of_date = days if mode == "date" else {}
        found = Setting(mode=mode, rows=rows, maps=maps, folds=folds, classes=classes, lacking=lacking, days=of_date)
        made.append(found)
    return made


# --- Features -----------------------------------------------------------------------------------------------------


def read_all(
    sites: Sequence[LabelledSite],
    sources: Mapping[str, Provider],
    plan: ProbePlan,
    days: Mapping[str, int],
    *,
    progress: bool,
) -> dict[str, dict[str, list[Map]]]:
    """By mode and source, a map of every site; of all dates only one source of one site is held at a time."""
    found: dict[str, dict[str, list[Map]]] = {mode: {name: [] for name in sources} for mode in plan.modes}
    alone = set(plan.modes) == {"date"}
    for name in tqdm(sources, desc="features", unit="source", disable=not progress):
        for site in sites:
            day = days[site.cube.site]
            features = sources[name](site.cube, (to_date(day), to_date(day)) if alone else plan.dates)
            for mode in plan.modes:
                found[mode][name].append(rows_of(features, mode, day))
    return found


def days_of(sites: Sequence[LabelledSite], plan: ProbePlan) -> dict[str, int]:
    """The day of mode "date" by site: the plan's, or the clearest."""
    return {s.cube.site: plan.days.get(s.cube.site, 0) or clearest(s, plan.dates) for s in sites}


def clearest(site: LabelledSite, dates: Dates) -> int:
    """The day on which most labelled pixels are clear, of Sentinel-2 or the first modality; the first of equals."""
    group = site.cube[in_order({n: g.modality for n, g in site.cube.groups.items()})[0]]
    chosen = chosen_dates(group, dates)
    known, best, share = site.labels.known, 0, -1.0
    for i in chosen.tolist():
        own = float(group.read([i])[1][0][known].mean())
        if own > share:
            best, share = int(group.day[i]), own
    return best


def check_columns(maps: Mapping[str, Sequence[Map]], sites: Sequence[LabelledSite]) -> None:
    """Raise UsageError where sites give rows that do not mean the same."""
    for name, own in maps.items():
        if len({m.values.shape[-1] for m in own}) > 1 or len({len(m.about) for m in own}) > 1:
            each = ", ".join(f"{s.cube.site}: {len(m.about)} dates or seasons" for s, m in zip(sites, own, strict=True))
            raise UsageError(
                f"features {name!r}: rows of the sites differ ({each}); several sites share --mode date or season"
            )


# --- Fitting ------------------------------------------------------------------------------------------------------


def fit_all(
    setting: Setting, methods: Mapping[str, Method], plan: ProbePlan, *, progress: bool
) -> dict[tuple[str, float], dict[str, Scored]]:
    """Predictions for every row by (probe, share) and method, from fits that saw nothing of the row's group."""
    rows, classes = setting.rows, len(setting.classes)
    kinds = list(itertools.product(plan.probes, plan.shares))
    nothing = np.full((len(plan.seeds), len(rows.at)), -1, np.int64 if classes else np.float64)
    found = {k: {m: Scored(nothing.copy()) for m in methods} for k in kinds}
    total = len(methods) * len(plan.seeds) * len(setting.folds) * len(plan.shares)
    bars = tqdm(total=total, desc=f"probes, {setting.mode}", unit="fit", disable=not progress)
    with threadpool_limits(1), bars as bar:  # small matrices: an eighth of the time of two threads on a busy machine
        for name, method in methods.items():
            x = rows.take(setting.maps[method.source])
            for (i, seed), fold, share in itertools.product(enumerate(plan.seeds), setting.folds, plan.shares):
                train = draw(fold, rows.y, share, seed, classes=classes)
                drawn = Fold(name=fold.name, train=train, test=fold.test)
                for kind in plan.probes:
                    one = found[kind, share][name]
                    one.guess[i, fold.test], choice = _fit(kind, x, setting, drawn, method, seed)
                    one.choices.append(choice)
                    one.trained.append(len(train))
                bar.update()
    return found


def _fit(kind: str, x: np.ndarray, setting: Setting, fold: Fold, method: Method, seed: int) -> tuple[np.ndarray, float]:
    """What a probe that saw the fold's training rows says of its test rows, and its choice; NaN for none."""
    rows, task, train, test = setting.rows, setting.task, fold.train, fold.test
    shorten: Callable[[np.ndarray], np.ndarray] = lambda v: v  # noqa: E731
    if method.components:
        shorten = reduce(x[train], setting.length(method))
    if kind == "segmentation":
        maps = setting.maps[method.source]
        short = [shorten(m.values.reshape(-1, x.shape[1])).reshape(*m.valid.shape, -1) for m in maps]
        head = fit_head(short, rows.at[train], rows.y[train], task, seed=seed)
        return task.decide(head(rows.at[test])), float("nan")
    own = {"by_column": not method.components}
    predict, choice = fit_probe(kind, shorten(x[train]), rows.y[train], rows.group[train], task, **own)
    return task.decide(predict(shorten(x[test]))), choice
