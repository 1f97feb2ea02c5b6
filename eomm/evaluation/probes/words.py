"""What probes came to: when a score counts, sentences, tables, and a file for leaderboards. Computes no score."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from eomm.data.grid import to_date
from eomm.evaluation.bootstrap import FEWEST_GROUPS, words
from eomm.evaluation.features import MODES
from eomm.evaluation.probes.fit import PROBES
from eomm.evaluation.probes.plan import Method, ProbePlan
from eomm.evaluation.probes.rows import MAX_TRAIN
from eomm.evaluation.probes.tables import Outcome
from eomm.evaluation.text_tables import as_cell, text_table

MAIN_METRICS = {True: "r2", False: "balanced_accuracy"}
OPPONENTS = {"random": "the random encoder", "pca_window": "PCA of the raw window"}
PLAIN = {"bands": "raw bands", "window": "the raw window", "indices": "spectral indices"}
TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "miou": "mIoU",
    "r2": "R2",
    "rmse": "RMSE",
}
FEW = 30  # groups; with fewer the page says how little they are

COLUMNS = (
    *("dataset", "method", "metric_name", "metric_value", "ci_lower", "ci_upper", "feature_dim", "best_c"),
    *("n_train", "n_val", "n_test", "seed", "model", "name", "partition", "bootstrap"),
    *("fraction", "mode", "groups", "n_groups", "folds", "simulated", "seen_in_pretraining"),
)
"""The first sixteen as torchgeo-bench names them (github.com/torchgeo/torchgeo-bench, results/all_results.csv); there
`method` is the probe."""


def to_result(
    outcome: Outcome,
    plan: ProbePlan,
    methods: Mapping[str, Method],
    *,
    dataset: str,
    main: str | None,
    seen: Mapping[str, bool | None],
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """The shape that every evaluation shares, plus `scores` and `differences` as numbers.

    Args:
        outcome: of `probe`.
        plan: what was asked.
        methods: by name.
        dataset: what the labels are called.
        main: the method that must beat the others, or None.
        seen: by site, whether pre-training saw its images; None where nobody knows.
        left_out: labels that were not used, in words.
    """
    opponents = [n for n in OPPONENTS if n in methods]
    verdict = judge(outcome, plan, main, opponents) if main else None
    result = {
        "kind": "probes",
        "dataset": dataset,
        "simulated": outcome.facts["simulated"],
        "classes": list(outcome.classes),
        "groups": plan.groups,
        "buffer_px": plan.buffer_px,
        "main": main,
        "methods": {n: m.about for n, m in methods.items()},
        "probes": {p: PROBES[p] for p in plan.probes},
        "seen_in_pretraining": dict(seen),
        "left_out": list(left_out),
        "facts": outcome.facts,
        "verdict": verdict,
        "scores": outcome.scores,
        "differences": outcome.differences,
    }
    return result | {"conclusions": conclude(result), "tables": tables(result), "figures": [], "commands": []}


def judge(outcome: Outcome, plan: ProbePlan, main: str, opponents: Sequence[str]) -> dict[str, Any]:
    """By mode, whether the main method's linear probe on all labels beats a random encoder and PCA, both resolved.

    `counts` is None where nobody can tell: no interval, no linear probe, or an opponent was left out. What needs no
    model stands beside, in `plain`.
    """
    metric = MAIN_METRICS[not outcome.classes]
    found: dict[str, Any] = {}
    for mode in plan.modes:
        where = {"mode": mode, "probe": "linear", "share": max(plan.shares), "metric": metric}
        beaten = {d["against"]: d for d in outcome.differences if all(d[k] == v for k, v in where.items())}
        against = {n: beaten[n] for n in opponents if n in beaten}
        plain = {n: beaten[n] for n in PLAIN if n in beaten}
        known = len(against) == len(OPPONENTS) and all(d["interval"] for d in against.values())
        counts = all(d["interval"][0] > 0 for d in against.values()) if known else None
        found[mode] = {"counts": counts, "metric": metric, "against": against, "plain": plain}
    return found


def conclude(result: Mapping[str, Any]) -> list[str]:
    """What is tested on what, each mode's scores beside the baselines, and whether they count."""
    facts = result["facts"]
    metric = MAIN_METRICS[not result["classes"]]
    first = next(iter(facts["modes"].values()))
    kinds = ", ".join(
        f"{c} ({n['groups']} {result['groups']}, {n['pixels']} pixels)" for c, n in first["classes"].items()
    )
    lines = [
        f"{result['dataset']}, {'simulated data' if facts['simulated'] else 'real data'}: {kinds or 'values'}; "
        f"{first['pixels']} pixels in {first['groups']} {result['groups']} of {', '.join(facts['sites'])}, held out "
        f"whole in {first['folds']} folds, no training pixel within {result['buffer_px']:g} px of a test pixel."
    ]
    for mode, own in facts["modes"].items():
        if result["main"] and "linear" not in result["probes"]:
            lines.append(
                f"Whether the score of {result['main']} counts is judged by the linear probe, which was not run."
            )
        elif verdict := (result["verdict"] or {}).get(mode):
            lines += [_verdict_of(result, mode, verdict), *_with_few_labels(result, mode, metric)]
        lines += [_scores_of(result, mode, kind, metric) for kind in result["probes"]]
        if own["untrained"]:
            lines.append(f"Classes that a fold could not learn, scored as wrong: {', '.join(own['untrained'])}.")
    lines += [seen_words(result["seen_in_pretraining"]), _labels_drawn(result)]
    fewest = min(first["classes"].items(), key=lambda c: c[1]["groups"], default=None)
    if fewest and fewest[1]["groups"] < FEWEST_GROUPS:
        lines.append(
            f"{_sentence(fewest[0])} has {fewest[1]['groups']} of the {result['groups']}: scores that are means over "
            "classes rest on so few, and their intervals, where there are any, are as wide as that makes them."
        )
    if first["groups"] < FEW:
        lines.append(
            f"{first['groups']} {result['groups']} of {len(facts['sites'])} site"
            f"{'s' * (len(facts['sites']) > 1)} are an illustration: they cannot say how a method does elsewhere, and "
            "methods whose intervals overlap so widely should not be ranked."
        )
    return lines


def _labels_drawn(result: Mapping[str, Any]) -> str:
    """How many pixels a share of the labels is."""
    trained: dict[float, list[float]] = {}
    for score in result["scores"]:
        trained.setdefault(score["share"], []).extend(one["train"] for one in score["per_seed"])
    counts = ", ".join(f"{sum(n) / len(n):.0f} ({_share(s)})" for s, n in sorted(trained.items()))
    most = f", never more than {MAX_TRAIN}" if max(map(max, trained.values())) >= MAX_TRAIN else ""
    return (
        f"Training pixels of a fold: {counts}{most}. They are drawn pixel by pixel from every class, so that a small "
        f"share may still be of all {result['groups']}, whose pixels are alike."
    )


def _scores_of(result: Mapping[str, Any], mode: str, kind: str, metric: str) -> str:
    share = max(s["share"] for s in result["scores"])
    found = {
        s["method"]: s
        for s in result["scores"]
        if (s["mode"], s["probe"], s["share"], s["metric"]) == (mode, kind, share, metric)
    }
    chance = f"; chance is {1 / len(result['classes']):.2f}" if result["classes"] else ""
    figures = "; ".join(f"{n} {words(s)}" for n, s in found.items())
    return f"{_sentence(_features(result, mode))}, {kind} probe, {_share(share)}, {TITLES[metric]}: {figures}{chance}."


def _features(result: Mapping[str, Any], mode: str) -> str:
    days = {str(to_date(d)) for d in result["facts"]["modes"][mode]["days"].values() if d}
    when = f" ({', '.join(sorted(days))})" if days else ""
    return f"features {MODES[mode]}{when}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _verdict_of(result: Mapping[str, Any], mode: str, verdict: Mapping[str, Any]) -> str:
    said = {True: "counts", False: "does not count as skill of training", None: "cannot be judged"}[verdict["counts"]]
    missing = [OPPONENTS[n] for n in OPPONENTS if n not in verdict["against"]]
    lacks = f"; not run: {' and '.join(missing)}" if missing else ""
    against = "; ".join(_against(OPPONENTS[n], d) for n, d in verdict["against"].items())
    plain = "; ".join(_against(PLAIN[n], d) for n, d in verdict["plain"].items())
    beside = f" Beside what needs no model: {plain}." if plain else ""
    text = f"the score of {result['main']} {said}: {against or 'nothing to compare'}{lacks}."
    return f"Features {MODES[mode]}: {text}{beside}"


def _with_few_labels(result: Mapping[str, Any], mode: str, metric: str) -> list[str]:
    """The same with the smallest share of labels, where there are several: the sentence, or none."""
    share = min(s["share"] for s in result["scores"])
    where = {"mode": mode, "probe": "linear", "share": share, "metric": metric}
    found = {d["against"]: d for d in result["differences"] if all(d[k] == v for k, v in where.items())}
    names = {**OPPONENTS, **PLAIN}
    parts = [_against(names[n], d) for n, d in found.items() if n in names]
    if share == max(s["share"] for s in result["scores"]) or not parts:
        return []
    return [f"Features {MODES[mode]}, linear probe, {_share(share)}: {result['main']} {'; '.join(parts)}."]


def _against(name: str, found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return f"nothing is known against {name}"
    if not found["interval"]:
        return f"{words(found, signed=True, few='')} against {name}, too few groups for an interval"
    low, high = found["interval"]
    verb = "not told apart from" if low <= 0 <= high else "beats" if low > 0 else "loses to"
    return f"{verb} {name}, {words(found, signed=True)}"


def seen_words(seen: Mapping[str, bool | None]) -> str:
    """Which sites pre-training has seen."""
    kinds = {
        True: "Pre-training has seen images (never labels) of",
        False: "Pre-training has not seen",
        None: "Whether pre-training has seen these is unknown, for no records were given:",
    }
    parts = [f"{text} {', '.join(s for s in seen if seen[s] is k)}" for k, text in kinds.items() if k in seen.values()]
    return "; ".join(parts) + "."


def _share(share: float) -> str:
    return "all labels" if share == 1 else f"{share:.0%} of the labels"


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By mode and probe, a row per method and a column per metric and share; then paired differences."""
    scores, shares = result["scores"], sorted({s["share"] for s in result["scores"]})
    main_metric = MAIN_METRICS[not result["classes"]]
    others = [m for m in dict.fromkeys(s["metric"] for s in scores) if m != main_metric]
    heads = [(main_metric, s) for s in shares] + [(m, shares[-1]) for m in others]
    lookup = {(s["mode"], s["probe"], s["method"], s["metric"], s["share"]): s for s in scores}
    gaps = {(d["mode"], d["probe"], d["against"], d["metric"], d["share"]): d for d in result["differences"]}
    made = []
    for mode in result["facts"]["modes"]:
        for kind in result["probes"]:
            rows = [
                [n, *(words(lookup[mode, kind, n, *h]) for h in heads), str(lookup[mode, kind, n, *heads[0]]["length"])]
                for n in result["methods"]
            ]
            columns = ["features", *(f"{TITLES[m]}, {_share(s)}" for m, s in heads), "numbers"]
            made.append(
                {"title": f"{_sentence(_features(result, mode))}, {kind} probe", "columns": columns, "rows": rows}
            )
            if result["main"]:
                rows = [
                    [n, *(words(gaps.get((mode, kind, n, *h)), signed=True, few="") for h in heads)]
                    for n in result["methods"]
                    if n != result["main"]
                ]
                title = f"{result['main']} minus each, paired: {_features(result, mode)}, {kind} probe"
                made.append({"title": title, "columns": columns[:-1], "rows": rows})
    return made


def format_probes(result: Mapping[str, Any]) -> str:
    """For people: sentences, then tables."""
    lines = ["SIMULATED data"] if result["simulated"] else []
    lines += [*result["conclusions"], ""]
    lines += [f"{n}: {about}" for n, about in result["methods"].items()]
    for table in result["tables"]:
        lines += text_table(table)
    return "\n".join(lines)


def leaderboard(result: Mapping[str, Any], resamples: int) -> str:
    """CSV with a row per score and seed, in the columns COLUMNS."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    seen = result["seen_in_pretraining"].values()
    for score in result["scores"]:
        facts = result["facts"]["modes"][score["mode"]]
        for one in score["per_seed"]:
            low, high = one["interval"] or ("", "")
            row = {
                "dataset": result["dataset"],
                "method": score["probe"],
                "metric_name": score["metric"],
                "metric_value": one["value"],
                "ci_lower": low,
                "ci_upper": high,
                "feature_dim": score["length"],
                "best_c": one["choice"] if score["probe"] == "linear" else "",
                "n_train": one["train"],
                "n_val": 0,
                "n_test": facts["pixels"],
                "seed": one["seed"],
                "model": result["methods"][score["method"]],
                "name": score["method"],
                "partition": f"{score['share']:.2f}x_train",
                "bootstrap": resamples,
                "fraction": score["share"],
                "mode": score["mode"],
                "groups": result["groups"],
                "n_groups": facts["groups"],
                "folds": facts["folds"],
                "simulated": result["simulated"],
                "seen_in_pretraining": "unknown" if None in seen else any(seen),
            }
            writer.writerow({column: as_cell(value) for column, value in row.items()})
    return out.getvalue()
