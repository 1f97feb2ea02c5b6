"""What hidden targets came to, in sentences and tables; every figure beside its baselines. Computes no score."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.baselines import SIMPLE
from eomm.evaluation.hidden.methods import LABELS, METHODS

SHOWN_GAP = 30  # days; what is shown at one gap is shown at the nearest to it


def with_words(result: dict[str, Any]) -> dict[str, Any]:
    """The result with what every evaluation has for a report, its sentences and tables among them."""
    shared = {"kind": "reconstruction", "conclusions": conclude(result), "tables": tables(result)}
    return result | shared | {"figures": [], "commands": []}


def shown_gap(result: Mapping[str, Any]) -> int:
    """The gap at which single targets, seasons and classes are shown."""
    return int(min(result["gaps"], key=lambda g: abs(g - SHOWN_GAP)))


def conclude(evaluation: Mapping[str, Any]) -> list[str]:
    """The findings in sentences, each number beside its baseline."""
    main, unit, verdict = evaluation["main"], evaluation["unit"], evaluation["verdict"]
    label = LABELS
    scores = {g: s for g, s in evaluation["hidden"]["all"].items() if s["methods"]}
    best = {g: best_simple(s["methods"]) for g, s in scores.items()}
    lines = []
    for gap in sorted({min(scores, key=int), max(scores, key=int)}, key=int):
        m, d = scores[gap]["methods"], scores[gap]["difference"][best[gap]]
        linear = "" if best[gap] == "linear" else f", linear in time {_number(m['linear'])}"
        lines.append(
            f"Targets hidden with everything within ±{gap} days: mean absolute error of the {label[main]} "
            f"{_number(m[main])}, of {label[best[gap]]} (at this gap the best of what learns nothing) "
            f"{_number(m[best[gap]])}{linear} ({unit}). Paired difference to the best: {_signed(d)}."
        )
    sign = {g: _resolved(s["difference"][best[g]]) for g, s in scores.items()}
    better, worse, same = ([g for g in scores if sign[g] == k] for k in (-1, 1, 0))
    lines.append(
        f"Against the best of what learns nothing, chosen at each gap with hindsight, the {label[main]} is better at "
        f"{_gaps(better)}, worse at {_gaps(worse)}, and not told apart at {_gaps(same)} "
        f"({_dates(scores[min(scores, key=int)]['dates'])}; intervals resample dates)."
    )
    widest = scores[max(scores, key=int)]["difference"]
    if "fused_alone" in widest:
        lines.append(
            f"What the other modalities bring at ±{max(scores, key=int)} days: fused model minus the same "
            f"fusion head without them {_signed(widest['fused_alone'])}, minus the encoder alone "
            f"{_signed(widest['encoder'])}; below 0 they help."
        )
    says = {
        True: "These scores count",
        False: "These scores do not count as skill of the embedding",
        None: "Whether these scores count is unknown",
    }
    lines.append(f"{says[verdict['counts']]}: {'; '.join(verdict['reasons'])}.")
    visible = evaluation["visible"]["all"]["methods"]
    if visible:
        k, length = evaluation["components"]["pca"], evaluation["components"]["embedding"]
        lines.append(
            f"Compression, not skill: at the visible centre the encoder ({length} numbers) errs by "
            f"{_number(visible['encoder'])}, PCA of the bands with {k} components by {_number(visible['pca'])}."
        )
    unseen = {
        True: "Training has not seen the test dates at this site.",
        False: "Training HAS seen the test dates at this site: the figures show fit, not skill.",
        None: "No record set was given, so that nothing here proves that training has not seen the test dates.",
    }
    return [*lines, unseen[evaluation["dates_unseen"]]]


def plainly(result: Mapping[str, Any]) -> str:
    """What it came to in one sentence for a reader who looks up no number."""
    scores = {int(g): s for g, s in result["hidden"]["all"].items() if s["methods"]}
    sign = {g: _resolved(s["difference"][best_simple(s["methods"])]) for g, s in scores.items()}
    label, gaps = LABELS[result["main"]], sorted(sign)
    from_on = [g for g in gaps if all(sign[wider] < 0 for wider in gaps if wider >= g)]
    if from_on:
        when = "" if from_on[0] == gaps[0] else f" where {from_on[0]} days or more around the date are missing too"
        first = f"The {label} predicts hidden dates better than every method that learns nothing{when}"
    elif any(s < 0 for s in sign.values()):
        first = f"The {label} predicts hidden dates better than every method that learns nothing at some gaps only"
    elif any(s > 0 for s in sign.values()):
        first = f"The {label} predicts hidden dates no better than simple interpolation in time, at some gaps worse"
    else:
        first = f"The {label} predicts hidden dates neither better nor worse than simple interpolation in time"
    counts = {
        True: ", and under the same probe it beats both a random encoder and PCA: the score counts",
        False: "; by our rule this does not count as skill of the embedding, for the reasons below",
        None: "; whether this counts as skill of the embedding was not tested",
    }
    return f"{first}{counts[result['verdict']['counts']]}."


def _resolved(estimate: Mapping[str, Any]) -> int:
    """-1 or 1 where the interval leaves 0, else 0."""
    low, high = estimate["interval"] or (-1, 1)
    return -1 if high < 0 else 1 if low > 0 else 0


def _gaps(gaps: Sequence[str]) -> str:
    return ", ".join(f"±{g}" for g in gaps) + " days" if gaps else "no gap"


def _number(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:.4f}"


def _interval(estimate: Mapping[str, Any]) -> str:
    return "" if estimate["interval"] is None else f"{estimate['interval'][0]:.4f} to {estimate['interval'][1]:.4f}"


def _signed(estimate: Mapping[str, Any]) -> str:
    if estimate["interval"] is None:
        return f"{estimate['mean']:+.4f} (too few dates for an interval)"
    low, high = estimate["interval"]
    return f"{estimate['mean']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"


def best_simple(methods: Mapping[str, Any]) -> str:
    """The method with the least error of those that learn nothing from other pixels."""
    return min((m for m in SIMPLE if m in methods), key=lambda m: methods[m]["mean"])


def _dates(count: int) -> str:
    return f"{count} date{'' if count == 1 else 's'}"


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every method at every gap, by region; medians; seasons and classes; models beside."""
    made = [_scores(result, region, by_gap) for region, by_gap in result["hidden"].items()]
    gap = str(shown_gap(result))
    parts = {f"{k}, {_dates(p['dates'])}": p for k, p in result.get("seasons", {}).get("all", {}).get(gap, {}).items()}
    parts |= {f"class {k}, {_dates(by[gap]['dates'])}": by[gap] for k, by in result.get("classes", {}).items()}
    parts = {k: p for k, p in parts.items() if p["methods"]}
    if parts:
        made.append(
            {
                "title": f"By season and class, everything within ±{gap} days hidden: mean absolute error "
                f"({result['unit']}); 95 % intervals over dates where there are four or more",
                "columns": ["", *parts],
                "rows": [
                    [LABELS[m], *(_cell(p["methods"][m]) for p in parts.values())]
                    for m in result["methods"]
                    if not m.startswith("ridge")
                ],
                "main": LABELS[result["main"]],
            }
        )
    shown = result["hidden"]["all"][gap]["methods"]
    simple = [m for m in result["methods"] if m in shown and not m.startswith("ridge")]
    made.append(
        {
            "title": f"By band, all pixels, everything within ±{gap} days hidden: mean absolute error "
            f"({result['unit']}), mean over dates",
            "columns": ["", *result["bands"]],
            "rows": [[LABELS[m], *(f"{e:.4f}" for e in shown[m]["per_band"])] for m in simple],
            "main": LABELS[result["main"]],
        }
    )
    if found := result.get("beside"):
        counted: dict[str, tuple[str, Any]] = {}
        for region, by_gap in found["hidden"].items():
            counted.setdefault(str([s["pixels_per_date"] for s in by_gap.values()]), (region, by_gap))
        # one region where all scored pixels lie in it
        made += [_beside(result, found, *of) for of in counted.values()]
    return [t for t in made if len(t["columns"]) > 1]


def _scores(result: Mapping[str, Any], region: str, by_gap: Mapping[str, Any]) -> dict[str, Any]:
    gaps = [g for g in by_gap if by_gap[g]["methods"]]
    where = "All pixels" if region == "all" else region.capitalize()
    first = by_gap[gaps[0]] if gaps else {"pixels": 0, "dates": 0}
    simple = [m for m in result["methods"] if not m.startswith("ridge")]
    medians = [[f"median: {LABELS[m]}", *(_median(by_gap[g]["methods"][m]) for g in gaps)] for m in simple]
    return {
        "title": f"{where}: mean absolute error ({result['unit']}) of {first['pixels']:,} target pixels on "
        f"{first['dates']} dates, 95 % intervals over dates; below, medians of target pixels",
        "columns": ["", *(f"±{g} days" for g in gaps)],
        "rows": [[LABELS[m], *(_cell(by_gap[g]["methods"][m]) for g in gaps)] for m in result["methods"]] + medians,
        "main": LABELS[result["main"]],
    }


def _beside(
    result: Mapping[str, Any], found: Mapping[str, Any], region: str, by_gap: Mapping[str, Any]
) -> dict[str, Any]:
    gaps = [g for g in by_gap if by_gap[g]["methods"]]
    seen = {True: "unseen dates", False: "DATES SEEN IN TRAINING", None: "unknown whether it saw these dates"}
    names = {
        n: f"{n} ({seen[found['models'][n]['dates_unseen']]})" for n in found["models"] if n != found["methods"][0]
    }
    where = "all pixels" if region == "all" else region
    return {
        "title": f"Beside other models, on the same targets in {found['pixels_read']} of "
        f"{result['pixels_of_site']:,} pixels ({where}): mean absolute error ({result['unit']})",
        "columns": ["", *(f"±{g} days" for g in gaps)],
        "rows": [
            [names.get(m, LABELS.get(m, m)), *(_cell(by_gap[g]["methods"][m]) for g in gaps)] for m in found["methods"]
        ],
        "main": found["methods"][0],
    }


def meaning(result: Mapping[str, Any]) -> str:
    """What the methods are."""
    return "; ".join(f"{LABELS[m]}: {METHODS[m]}" for m in result["methods"]) + "."


def _cell(estimate: Mapping[str, Any]) -> str:
    """The mean, and below it the interval."""
    return "none" if estimate["mean"] is None else "\n".join(filter(None, (_number(estimate), _interval(estimate))))


def _median(estimate: Mapping[str, Any]) -> str:
    return "none" if estimate["median"] is None else f"{estimate['median']:.4f}"
