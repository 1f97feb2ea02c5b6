"""What hidden targets came to: when a score counts, in sentences and tables; every figure beside its baselines."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from eomm.evaluation import say
from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.methods import LABELS, METHODS
from eomm.evaluation.hidden.tally import Scores, Tally
from eomm.evaluation.result import Difference, Estimate, Table, Verdict

SHOWN_GAP = 30  # days; what is shown at one gap is shown at the nearest to it
OPPONENTS = {"the random encoder": "ridge_random", "PCA of the raw series": "ridge_pca"}
FEW = " (too few dates for an interval)"


def judge(tally: Tally, over_gaps: Callable[[str], np.ndarray], *, probed: bool, unseen: bool | None) -> Verdict:
    """The rule by which a score counts: the trained encoder beats a random one and PCA of equal length.

    Under the same linear probe, on targets hidden at every gap, paired by date; never at dates that training has seen.

    Args:
        tally: of all targets.
        over_gaps: a method's errors by date, mean over gaps.
        probed: whether linear probes were run; without them nobody can tell.
        unseen: whether training has seen the dates.
    """
    names = OPPONENTS if probed else {}
    differences = {n: tally.difference(over_gaps("ridge_trained"), over_gaps(m)) for n, m in names.items()}
    because = [
        f"under the same linear probe the trained encoder {say.against(n, d, 4)}" for n, d in differences.items()
    ]
    return Verdict(
        claim="the scores count as skill of the embedding",
        holds=False if unseen is False else all(d.side > 0 for d in differences.values()) if probed else None,
        because=(
            *(["training has seen the test dates at this site"] if unseen is False else []),
            *(because or ["linear probes were not run"]),
        ),
        differences=differences,
    )


def shown_gap(gaps: Iterable[int]) -> int:
    """The gap at which single targets, seasons and classes are shown."""
    return min(gaps, key=lambda g: abs(g - SHOWN_GAP))


def best_simple(scores: Scores) -> str:
    """The method with the least error of those that learn nothing from other pixels."""
    return least({m: scores.methods[m].value for m in SIMPLE if m in scores.methods})


def least(values: Mapping[str, float | None]) -> str:
    """The name with the least value."""
    return min(values, key=lambda name: np.inf if (value := values[name]) is None else value)


def to_best(found: Mapping[str, Any]) -> dict[str, Difference]:
    """By gap, the main method minus the best of what learns nothing."""
    return {g: s.difference[best_simple(s)] for g, s in found["hidden"]["all"].items() if s.methods}


def conclude(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings in sentences, each number beside its baseline."""
    main, unit, gaps = LABELS[found["main"]], found["unit"], to_best(found)
    scores, widest = found["hidden"]["all"], max(gaps, key=int)
    lines = []
    for gap in sorted({min(gaps, key=int), widest}, key=int):
        best, m = best_simple(scores[gap]), scores[gap].methods
        linear = "" if best == "linear" else f", linear in time {_value(m['linear'])}"
        lines.append(
            f"Targets hidden with everything within ±{gap} days: mean absolute error of the {main} "
            f"{_value(m[found['main']])}, of {LABELS[best]} (at this gap the best of what learns nothing) "
            f"{_value(m[best])}{linear} ({unit}). Paired difference to the best: {_figure(gaps[gap])}."
        )
    dates = say.counted(scores[min(gaps, key=int)].dates, "date")
    lines.append(
        f"Beside the best of what learns nothing, chosen at each gap with hindsight, the {main} {say.at_gaps(gaps)} "
        f"({dates}; intervals resample dates)."
    )
    apart = scores[widest].difference
    if "fused_alone" in apart:
        lines.append(
            f"What the other modalities bring at ±{widest} days: fused model minus the same fusion head without them "
            f"{_figure(apart['fused_alone'])}, minus the encoder alone {_figure(apart['encoder'])}; below 0 they help."
        )
    if visible := found["visible"]["all"].methods:
        k, length = found["components"]["pca"], found["components"]["embedding"]
        lines.append(
            f"Compression, not skill: at the visible centre the encoder ({length} numbers) errs by "
            f"{_value(visible['encoder'])}, PCA of the bands with {k} components by {_value(visible['pca'])}."
        )
    return (*lines, say.seen(found["dates_unseen"], "the test dates at this site"))


def plainly(found: Mapping[str, Any], verdict: Verdict) -> str:
    """What it came to in one sentence for a reader who looks up no number."""
    side = {int(g): d.side for g, d in to_best(found).items()}
    gaps = sorted(side)
    from_on = [g for g in gaps if all(side[wider] > 0 for wider in gaps if wider >= g)]
    better = f"The {LABELS[found['main']]} predicts hidden dates better than every method that learns nothing"
    if from_on:
        first = better + (
            "" if from_on[0] == gaps[0] else f" where {from_on[0]} days or more around the date are missing too"
        )
    elif 1 in side.values():
        first = f"{better} at some gaps only"
    else:
        same = {True: "no better than", False: "neither better nor worse than"}[-1 in side.values()]
        at = ", at some gaps worse" if -1 in side.values() else ""
        first = f"The {LABELS[found['main']]} predicts hidden dates {same} simple interpolation in time{at}"
    counts = {
        True: ", and under the same probe it beats both a random encoder and PCA: the score counts",
        False: "; by our rule this does not count as skill of the embedding, for the reasons below",
        None: "; whether this counts as skill of the embedding was not tested",
    }
    return f"{first}{counts[verdict.holds]}."


def protocol(found: Mapping[str, Any]) -> dict[str, str]:
    """What was hidden and scored, and what the methods are."""
    told = {"test dates": ", ".join(found["dates"])}
    if columns := found["columns"]:
        told["unseen block"] = f"columns {columns[0]} to {columns[1] - 1}"
    told["pixels scored"] = f"blocks of {found['pixels_read']:,} of {found['pixels_of_site']:,}"
    return told | {LABELS[m]: METHODS[m] for m in found["methods"]}


def tables(found: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every method at every gap, by region; medians; seasons and classes; bands; models beside."""
    gap = str(shown_gap(found["gaps"]))
    made = [_scores(found, region, by_gap) for region, by_gap in found["hidden"].items()]
    made += [*_parts(found, gap), *_bands(found, gap)]
    if beside := found["beside"]:
        counted = {str([s.pixels_per_date for s in by.values()]): r for r, by in reversed(beside["hidden"].items())}
        made += [
            _beside(found, beside, region) for region in reversed(counted.values())
        ]  # one, where both are the same
    return tuple(made)


def _parts(found: Mapping[str, Any], gap: str) -> list[Table]:
    """By season and class, where there are any."""
    parts = dict(found["seasons"]["all"][gap])
    parts |= {f"class {k}": by[gap] for k, by in found["classes"].items()}
    parts = {f"{k}, {say.counted(p.dates, 'date')}": p for k, p in parts.items() if p.methods}
    title = f"By season and class, everything within ±{gap} days hidden: mean absolute error ({found['unit']})"
    rows = {LABELS[m]: [say.cell(p.methods[m], 4) for p in parts.values()] for m in _unprobed(found)}
    more = "95 % intervals over dates where there are four or more"
    return [Table.of(f"{title}; {more}", parts, rows, main=LABELS[found["main"]])] if parts else []


def _bands(found: Mapping[str, Any], gap: str) -> list[Table]:
    shown = found["hidden"]["all"][gap].methods
    title = f"By band, all pixels, everything within ±{gap} days hidden: mean absolute error ({found['unit']})"
    rows = {LABELS[m]: [say.number(e) for e in shown[m].per_band] for m in _unprobed(found) if m in shown}
    return [Table.of(f"{title}, mean over dates", found["bands"], rows, main=LABELS[found["main"]])] if rows else []


def _unprobed(found: Mapping[str, Any]) -> list[str]:
    return [m for m in found["methods"] if not m.startswith("ridge")]


def _scores(found: Mapping[str, Any], region: str, by_gap: Mapping[str, Scores]) -> Table:
    scored = {g: s for g, s in by_gap.items() if s.methods}
    first = next(iter(scored.values()), Scores(pixels=0, pixels_per_date=(), dates=0))
    rows = {LABELS[m]: [say.cell(s.methods[m], 4) for s in scored.values()] for m in found["methods"]}
    rows |= {
        f"median: {LABELS[m]}": [say.number(s.methods[m].median) for s in scored.values()] for m in _unprobed(found)
    }
    where = "All pixels" if region == "all" else region.capitalize()
    title = (
        f"{where}: mean absolute error ({found['unit']}) of {first.pixels:,} target pixels on {first.dates} dates, "
        "95 % intervals over dates; below, medians of target pixels"
    )
    return Table.of(title, [f"±{g} days" for g in scored], rows, main=LABELS[found["main"]])


def _beside(found: Mapping[str, Any], beside: Mapping[str, Any], region: str) -> Table:
    scored = {g: s for g, s in beside["hidden"][region].items() if s.methods}
    seen = {True: "unseen dates", False: "DATES SEEN IN TRAINING", None: "unknown whether it saw these dates"}
    main, *others = beside["models"]
    names = {n: f"{n} ({seen[beside['models'][n]['dates_unseen']]})" for n in others}
    rows = {
        names.get(m, LABELS.get(m, m)): [say.cell(s.methods[m], 4) for s in scored.values()] for m in beside["methods"]
    }
    title = (
        f"Beside other models, on the same targets in {beside['pixels_read']} of {found['pixels_of_site']:,} pixels "
        f"({'all pixels' if region == 'all' else region}): mean absolute error ({found['unit']})"
    )
    return Table.of(title, [f"±{g} days" for g in scored], rows, main=main)


def _figure(difference: Difference) -> str:
    return say.figure(difference, 4, few=FEW)


def _value(estimate: Estimate) -> str:
    return say.value(estimate, 4)
