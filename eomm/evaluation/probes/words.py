"""What probes came to: when a score counts, sentences, tables, and a file for leaderboards. Computes no score."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from eomm.data.grid import to_date
from eomm.evaluation import say
from eomm.evaluation.bootstrap import FEWEST_GROUPS, RESAMPLES
from eomm.evaluation.features import MODES
from eomm.evaluation.probes.plan import ProbePlan
from eomm.evaluation.probes.rows import MAX_TRAIN
from eomm.evaluation.probes.scored import Gap
from eomm.evaluation.probes.tables import Outcome
from eomm.evaluation.result import Result, Table, Verdict
from eomm.evaluation.text import as_cell

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


def judge(outcome: Outcome, plan: ProbePlan) -> tuple[Verdict, ...]:
    """By mode, whether the main method's linear probe on all labels beats a random encoder and PCA, both resolved."""
    return tuple(_verdict(outcome, plan, mode) for mode in plan.modes)


def _verdict(outcome: Outcome, plan: ProbePlan, mode: str) -> Verdict:
    """It cannot be told without intervals, without a linear probe, or where an opponent was left out."""
    gaps = gaps_of(outcome.differences, mode, max(plan.shares), main_metric(outcome.classes))
    against = {name: gaps[n] for n, name in OPPONENTS.items() if n in gaps}
    because = [say.against(name, d) for name, d in against.items()]
    missing = [name for name in OPPONENTS.values() if name not in against]
    if missing:
        because.append(f"not run: {say.listed(missing)}" if "linear" in plan.probes else "no linear probe was run")
    known = not missing and all(d.interval for d in against.values())
    return Verdict(
        claim=f"the score of {plan.main} counts as skill of training, features {MODES[mode]}",
        holds=all(d.side > 0 for d in against.values()) if known else None,
        because=tuple(because),
        differences=against,
    )


def gaps_of(differences: Sequence[Gap], mode: str, share: float, metric: str) -> dict[str, Gap]:
    """Differences of the main method's linear probe at a share of the labels, by the method compared with."""
    at = (mode, "linear", share, metric)
    return {d.against: d for d in differences if (d.mode, d.probe, d.share, d.metric) == at}


def main_metric(classes: Sequence[str]) -> str:
    """The metric that verdicts look at."""
    return "balanced_accuracy" if classes else "r2"


def conclude(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What is tested on what, each mode's scores beside the baselines, and what they cannot say."""
    facts, groups = found["facts"], found["groups"]
    first = next(iter(facts["modes"].values()))
    lines = [_tested(found, first)]
    for mode, own in facts["modes"].items():
        lines += _beside(found, mode)
        lines += [_scores_of(found, mode, kind) for kind in found["probes"]]
        if own["untrained"]:
            lines.append(f"Classes that a fold could not learn, scored as wrong: {', '.join(own['untrained'])}.")
    lines += [seen_words(found["seen_in_pretraining"]), _labels_drawn(found)]
    fewest = min(first["classes"].items(), key=lambda c: c[1]["groups"], default=None)
    if fewest and fewest[1]["groups"] < FEWEST_GROUPS:
        lines.append(
            f"{say.sentence(fewest[0])} has {fewest[1]['groups']} of the {groups}: scores that are means over classes "
            "rest on so few, and their intervals, where there are any, are as wide as that makes them."
        )
    if first["groups"] < FEW:
        lines.append(
            f"{first['groups']} {groups} of {say.counted(len(facts['sites']), 'site')} are an illustration: they "
            "cannot say how a method does elsewhere, and methods whose intervals overlap so widely should not be "
            "ranked."
        )
    return tuple(lines)


def _tested(found: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    facts, groups = found["facts"], found["groups"]
    kinds = ", ".join(f"{c} ({n['groups']} {groups}, {n['pixels']} pixels)" for c, n in first["classes"].items())
    return (
        f"{found['dataset']}, {'simulated data' if facts['simulated'] else 'real data'}: {kinds or 'values'}; "
        f"{first['pixels']} pixels in {first['groups']} {groups} of {', '.join(facts['sites'])}, held out whole in "
        f"{first['folds']} folds, no training pixel within {found['buffer_px']:g} px of a test pixel."
    )


def _beside(found: Mapping[str, Any], mode: str) -> list[str]:
    """The main method beside what needs no model, with all labels; and beside everything with the fewest."""
    shares, metric = sorted({s.share for s in found["scores"]}), main_metric(found["classes"])
    lines = []
    for share, names in ((shares[-1], PLAIN), (shares[0], {**OPPONENTS, **PLAIN})):
        gaps = gaps_of(found["differences"], mode, share, metric)
        parts = [say.against(names[n], d) for n, d in gaps.items() if n in names]
        if parts and (share == shares[-1]) == (names is PLAIN):
            lines.append(f"Features {MODES[mode]}, linear probe, {_share(share)}: {found['main']} {'; '.join(parts)}.")
    return lines


def _labels_drawn(found: Mapping[str, Any]) -> str:
    """How many pixels a share of the labels is."""
    trained: dict[float, list[float]] = {}
    for score in found["scores"]:
        trained.setdefault(score.share, []).extend(one.train for one in score.per_seed)
    counts = ", ".join(f"{sum(n) / len(n):.0f} ({_share(s)})" for s, n in sorted(trained.items()))
    most = f", never more than {MAX_TRAIN}" if max(map(max, trained.values())) >= MAX_TRAIN else ""
    return (
        f"Training pixels of a fold: {counts}{most}. They are drawn pixel by pixel from every class, so that a small "
        f"share may still be of all {found['groups']}, whose pixels are alike."
    )


def _scores_of(found: Mapping[str, Any], mode: str, kind: str) -> str:
    share, metric = max(s.share for s in found["scores"]), main_metric(found["classes"])
    own = [s for s in found["scores"] if (s.mode, s.probe, s.share, s.metric) == (mode, kind, share, metric)]
    chance = f"; chance is {1 / len(found['classes']):.2f}" if found["classes"] else ""
    figures = "; ".join(f"{s.method} {say.figure(s)}" for s in own)
    where = f"{say.sentence(_features(found, mode))}, {kind} probe, {_share(share)}"
    return f"{where}, {TITLES[metric]}: {figures}{chance}."


def _features(found: Mapping[str, Any], mode: str) -> str:
    days = {str(to_date(d)) for d in found["facts"]["modes"][mode]["days"].values() if d}
    when = f" ({', '.join(sorted(days))})" if days else ""
    return f"features {MODES[mode]}{when}"


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


def tables(found: Mapping[str, Any]) -> tuple[Table, ...]:
    """By mode and probe, a row per method and a column per metric and share; then paired differences."""
    lead, shares = main_metric(found["classes"]), sorted({s.share for s in found["scores"]})
    others = dict.fromkeys(s.metric for s in found["scores"] if s.metric != lead)
    heads = [(lead, s) for s in shares] + [(m, shares[-1]) for m in others]
    every = itertools.product(found["facts"]["modes"], found["probes"])
    return tuple(table for mode, kind in every for table in _tables_of(found, mode, kind, heads))


def _tables_of(found: Mapping[str, Any], mode: str, kind: str, heads: Sequence[tuple[str, float]]) -> list[Table]:
    """Scores of a probe in a mode, and the main method's paired differences."""
    where, main = f"{_features(found, mode)}, {kind} probe", found["main"] or ""
    scores = {(s.method, s.metric, s.share): s for s in found["scores"] if (s.mode, s.probe) == (mode, kind)}
    gaps = {(d.against, d.metric, d.share): d for d in found["differences"] if (d.mode, d.probe) == (mode, kind)}
    columns = ("features", *(f"{TITLES[m]}, {_share(s)}" for m, s in heads))
    names = found["methods"]
    rows = {n: (*(say.figure(scores[n, *h]) for h in heads), str(scores[n, *heads[0]].length)) for n in names}
    made = [Table.of(say.sentence(where), (*columns, "numbers"), rows, main=main)]
    if main:
        cells = {n: [say.cell(gaps.get((n, *h))) for h in heads] for n in names if n != main}
        made.append(Table.of(f"{main} minus each, paired: {where}", columns, cells))
    return made


def leaderboard(result: Result) -> str:
    """CSV with a row per score and seed, in the columns COLUMNS."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    seen = result["seen_in_pretraining"].values()
    for score in result["scores"]:
        facts = result["facts"]["modes"][score.mode]
        for one in score.per_seed:
            low, high = one.interval or ("", "")
            row = {
                "dataset": result.dataset,
                "method": score.probe,
                "metric_name": score.metric,
                "metric_value": one.value,
                "ci_lower": low,
                "ci_upper": high,
                "feature_dim": score.length,
                "best_c": one.choice if score.probe == "linear" else "",
                "n_train": one.train,
                "n_val": 0,
                "n_test": facts["pixels"],
                "seed": one.seed,
                "model": result["methods"][score.method],
                "name": score.method,
                "partition": f"{score.share:.2f}x_train",
                "bootstrap": RESAMPLES,
                "fraction": score.share,
                "mode": score.mode,
                "groups": result["groups"],
                "n_groups": facts["groups"],
                "folds": facts["folds"],
                "simulated": result.simulated,
                "seen_in_pretraining": "unknown" if None in seen else any(seen),
            }
            writer.writerow({column: as_cell(value) for column, value in row.items()})
    return out.getvalue()
