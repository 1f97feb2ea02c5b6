"""Outcomes of the quality bench as a result: the table of tasks and methods, what was fixed beforehand, verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.quality.scores import Outcomes, TaskScore, estimate
from eomm.evaluation.quality.tasks import Task
from eomm.evaluation.result import Result, Table, Verdict

COLUMNS = ("task", "metric", "probe", "labels", "group", "better", "primary", "margin")


def result(
    tasks: Sequence[Task],
    outcomes: Outcomes,
    verdicts: Sequence[Verdict],
    about: Mapping[str, Any],
    *,
    dataset: str,
    simulated: bool = False,
) -> Result:
    """A result of what was asked, the plan as it stood before, scores and verdicts."""
    scores = {task: {method: estimate(o) for method, o in found.items()} for task, found in outcomes.items()}
    skipped = tuple(f"Not scored: {name}: {why}." for name, why in about.get("skipped", {}).items())
    return Result(
        kind="quality",
        dataset=dataset,
        simulated=simulated,
        conclusions=skipped,
        verdicts=tuple(verdicts),
        tables=(score_table(tasks, scores),),
        numbers={**about, "plan": plan_rows(tasks), "scores": scores},
    )


def plan_rows(tasks: Sequence[Task]) -> list[Mapping[str, Any]]:
    """What is fixed of each task, as JSON."""
    return [{c: getattr(t, "name" if c == "task" else c) for c in COLUMNS} for t in tasks]


def plan_result(tasks: Sequence[Task]) -> Result:
    """The plan alone, nothing scored."""
    rows = tuple(tuple(map(str, row.values())) for row in plan_rows(tasks))
    table = Table(title="What is measured how", columns=COLUMNS, rows=rows)
    return Result(kind="quality", dataset="plan", simulated=False, tables=(table,), numbers={"plan": plan_rows(tasks)})


def score_table(tasks: Sequence[Task], scores: Mapping[str, Mapping[str, TaskScore]]) -> Table:
    """A row a task, a column a method."""
    methods = tuple(dict.fromkeys(m for found in scores.values() for m in found))
    rows = []
    for task in tasks:
        if found := scores.get(task.name):
            name = task.name + ("" if task.primary else " (beside)")
            cells = (_cell(found[m]) if m in found else "" for m in methods)
            rows.append((name, str(next(iter(found.values())).groups), *cells))
    return Table(title="Scores, ± half of a 95 % interval", columns=("task", "groups", *methods), rows=tuple(rows))


def _cell(score: TaskScore) -> str:
    if score.value is None:
        return "none"
    value = f"{score.value:.3f}" if abs(score.value) >= 0.1 else f"{score.value:.4f}"
    return value if score.interval is None else f"{value} ±{(score.interval[1] - score.interval[0]) / 2:.3f}"
