"""Results of the quality bench as text: the table of tasks and methods, what was fixed beforehand, verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.quality.tasks import Task
from eomm.evaluation.quality.verdicts import Outcomes, table


def result(
    tasks: Sequence[Task], outcomes: Outcomes, verdicts: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """JSON of a run: what was asked, the plan as it stood before, scores, verdicts."""
    return {**about, "plan": plan_rows(tasks), "scores": table(outcomes), "verdicts": dict(verdicts)}


def plan_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """What is fixed of each task, as JSON."""
    return [
        {
            "task": t.name,
            "metric": t.metric,
            "probe": t.probe,
            "labels": t.labels,
            "group": t.group,
            "better": t.better,
            "primary": t.primary,
            "margin": t.margin,
        }
        for t in tasks
    ]


def format_plan(plan: Sequence[Mapping[str, Any]]) -> str:
    """For people: a Markdown table of what is measured how."""
    columns = ("task", "metric", "probe", "labels", "group", "better", "primary", "margin")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(str(row[c]) for c in columns) + " |" for row in plan)])


def format_quality(found: Mapping[str, Any]) -> str:
    """For people: a Markdown table, a row a task, a column a method; then verdicts."""
    methods = list(dict.fromkeys(m for scores in found["scores"].values() for m in scores))
    lines = ["| task | groups | " + " | ".join(methods) + " |", "|---" * (2 + len(methods)) + "|"]
    for row in found["plan"]:
        scores = found["scores"].get(row["task"])
        if not scores:
            continue
        mark = "" if row["primary"] else " (beside)"
        groups = next(iter(scores.values()))["groups"]
        cells = [_cell(scores[m]) if m in scores else "" for m in methods]
        lines.append(f"| {row['task']}{mark} | {groups} | " + " | ".join(cells) + " |")
    lines += [f"not scored: {name}: {why}" for name, why in found.get("skipped", {}).items()]
    for method, verdicts in found["verdicts"].items():
        lines += ["", f"{method}:"]
        lines += [f"  {name}: {_verdict(verdict)}" for name, verdict in verdicts.items()]
    return "\n".join(lines)


def _cell(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "none"
    interval = score["interval"]
    value = f"{score['value']:.3f}" if abs(score["value"]) >= 0.1 else f"{score['value']:.4f}"
    return value if interval is None else f"{value} ±{(interval[1] - interval[0]) / 2:.3f}"


def _verdict(verdict: Mapping[str, Any]) -> str:
    words = ["passes" if verdict["passes"] else "does not pass"]
    for key, name in (
        ("better_on", "better on"),
        ("not_shown_not_worse", "not shown to be not worse on"),
        ("no_claim", "no claim on"),
    ):
        if verdict.get(key):
            words.append(f"{name} {', '.join(verdict[key])}")
    if (share := verdict.get("over_gaussian_without_gap")) is not None:
        words.append(f"{share:.3f} of the Gaussian mean's error without a gap")
    for place, shares in verdict.get("share_of_raw_bands", {}).items():
        words.append(f"{place}: " + ", ".join(f"{k} {v:.2f} of raw bands" for k, v in shares.items() if v is not None))
    words += [f"{name} shows {value:.2f} of a step at once" for name, value in verdict.get("at_once", {}).items()]
    return "; ".join(words)
