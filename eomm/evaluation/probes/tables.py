"""Probes of features on labels, with whole fields, blocks or sites held out; every method on the same pixels and folds.

What features are is evaluation/features.py, what labels are evaluation/labels.py; what is asked plan.py, pixels and
folds rows.py, how a probe is fitted fit.py. The numbers go into words, tables and files in words.py and figures.py.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
from eomm.evaluation.probes.plan import LabelledSite, Method, ProbePlan
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


def probe(
    sites: Sequence[LabelledSite],
    methods: Mapping[str, Method],
    plan: ProbePlan,
    *,
    main: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Outcome:
    """Fit and score every probe of every method on the same pixels, folds and draws.

    Args:
        sites: one or more; all of them simulated, or none.
        methods: what is compared, by name.
        plan: modes, folds, shares, seeds.
        main: the method whose differences to the others are reported.
        seed: of folds and intervals.
        progress: show a bar.

    Raises:
        ContractError: simulated and real sites together; a leak in the folds.
        UsageError: too few groups, no pixel that all methods have, or an option is wrong.
    """
    plan.check()
    simulated = {s.cube.simulated for s in sites}
    if len(simulated) > 1:
        raise ContractError("simulated and real cubes together: their scores never share a table; run them apart")
    classes = joint_classes(sites)
    task = ProbeTask(len(classes))
    everything = labelled(sites, classes, plan)
    days = days_of(sites, plan)
    maps_of = read_all(sites, {m.source: m.read for m in methods.values()}, plan, days, progress=progress)
    scores: list[Score] = []
    differences: list[Gap] = []
    rows_by_mode, tested = {}, {}
    guesses: dict[tuple[str, str, float, str], np.ndarray] = {}
    facts: dict[str, Any] = {"sites": [s.cube.site for s in sites], "simulated": simulated.pop(), "modes": {}}
    for mode in plan.modes:
        maps = maps_of[mode]
        check_columns(maps, sites)
        rows, lost = common(everything, maps)
        folds, buffer = make_folds(rows, plan, seed)
        for fold in folds:
            check_no_leak(fold, groups={plan.groups: rows.group}, buffer=buffer)
        scored = fit_all(rows, maps, methods, folds, task, plan, progress=progress, about=mode)
        facts["modes"][mode] = describe(rows, folds, task, classes, lost, maps, days if mode == "date" else {})
        rows_by_mode[mode], tested[mode] = rows, np.zeros(len(rows.at), np.int64)
        for i, fold in enumerate(folds):
            tested[mode][fold.test] = i
        draws = Resampling(np.arange(len(rows.names)), seed=seed)
        scorer = Scorer(rows=rows, task=task, seeds=plan.seeds, draws=draws)
        lengths = {n: length_of(m, maps[m.source][0]) for n, m in methods.items()}
        for (kind, share), fits in scored.items():
            where = {"mode": mode, "probe": kind, "share": share}
            guesses |= {(mode, kind, share, name): fit.guess[0] for name, fit in fits.items()}
            scores += scorer.scores(where, fits, lengths)
            differences += scorer.gaps(where, fits, main) if main else []
    return Outcome(scores, differences, rows_by_mode, guesses, tested, classes, facts)


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
    rows: Rows,
    maps: Mapping[str, Sequence[Map]],
    methods: Mapping[str, Method],
    folds: Sequence[Fold],
    task: ProbeTask,
    plan: ProbePlan,
    *,
    progress: bool,
    about: str,
) -> dict[tuple[str, float], dict[str, Scored]]:
    """Predictions for every row by (probe, share) and method, from fits that saw nothing of the row's group."""
    kinds = list(itertools.product(plan.probes, plan.shares))
    shape, kind_of = (len(plan.seeds), len(rows.at)), np.int64 if task.classes else np.float64
    found = {k: {m: Scored(np.full(shape, -1, kind_of)) for m in methods} for k in kinds}
    total = len(methods) * len(plan.seeds) * len(folds) * len(plan.shares)
    bars = tqdm(total=total, desc=f"probes, {about}", unit="fit", disable=not progress)
    with threadpool_limits(1), bars as bar:  # small matrices: an eighth of the time of two threads on a busy machine
        for name, method in methods.items():
            x = rows.take(maps[method.source])
            for (i, seed), fold, share in itertools.product(enumerate(plan.seeds), folds, plan.shares):
                train = draw(fold, rows.y, share, seed, classes=task.classes)
                for kind in plan.probes:
                    one = found[kind, share][name]
                    own = maps[method.source]
                    guess, choice = _fit(kind, x, own, rows, train, fold.test, task, method, seed)
                    one.guess[i, fold.test] = guess
                    one.choices.append(choice)
                    one.trained.append(len(train))
                bar.update()
    return found


def _fit(
    kind: str,
    x: np.ndarray,
    maps: Sequence[Map],
    rows: Rows,
    train: np.ndarray,
    test: np.ndarray,
    task: ProbeTask,
    method: Method,
    seed: int,
) -> tuple[np.ndarray, float]:
    shorten: Callable[[np.ndarray], np.ndarray] = lambda v: v  # noqa: E731
    if method.components:
        shorten = reduce(x[train], length_of(method, maps[0]))
    if kind == "segmentation":
        short = [shorten(m.values.reshape(-1, x.shape[1])).reshape(*m.valid.shape, -1) for m in maps]
        head = fit_head(short, rows.at[train], rows.y[train], task, seed=seed)
        return task.decide(head(rows.at[test])), float("nan")
    own = {"by_column": not method.components}
    predict, choice = fit_probe(kind, shorten(x[train]), rows.y[train], rows.group[train], task, **own)
    return task.decide(predict(shorten(x[test]))), choice


def length_of(method: Method, one: Map) -> int:
    """Numbers of a row."""
    whole = one.values.shape[-1]
    return min(whole, method.components * max(1, len(one.about))) if method.components else whole


def describe(
    rows: Rows,
    folds: Sequence[Fold],
    task: ProbeTask,
    classes: tuple[str, ...],
    lost: Mapping[str, int],
    maps: Mapping[str, Sequence[Map]],
    days: Mapping[str, int],
) -> Mapping[str, Any]:
    """Of one mode: pixels and groups, by class too, what each source lacks, and folds that lack a class."""
    by_class = {
        c: {"pixels": int((rows.y == i).sum()), "groups": len(np.unique(rows.group[rows.y == i]))}
        for i, c in enumerate(classes)
    }
    lacking = [
        f"{classes[c]} (fold {i + 1} of {len(folds)})"
        for i, f in enumerate(folds)
        for c in np.unique(rows.y[f.test]).tolist()
        if task.classes and not (rows.y[f.train] == c).any()
    ]
    about = {n: own[0].about for n, own in maps.items() if own[0].about}
    return {
        "pixels": len(rows.at),
        "groups": len(rows.names),
        "folds": len(folds),
        "classes": by_class,
        "untrained": lacking,
        "pixels_lacking": dict(lost),
        "days": dict(days),
        "frames": {n: list(a) for n, a in about.items()},
        "training_pixels": [len(f.train) for f in folds],
    }
