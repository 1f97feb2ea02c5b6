"""Two verdicts on tables of outcomes: is the vector worth having, and does what was learned add to the closed form."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.quality.scores import FEWEST, Outcome, compare, estimate, holm
from eomm.evaluation.quality.tasks import Task

LEVEL = 0.05
SIMPLE = ("raw bands", "raw window", "PCA of the window")
CLOSED = ("thirty numbers", "[thirty, random]")
BETTER_ON = 3  # tasks
INTERPOLATORS = ("linear", "Gaussian", "harmonic")
LONG_GAPS = ("hidden, 30 days", "hidden, 60 days")
NO_GAP, AS_GAUSSIAN = "hidden, 0 days", 0.05
STATE_SHARE, WHOLE_SHARE, AT_ONCE = 1 / 3, 2 / 3, 0.9

Outcomes = Mapping[str, Mapping[str, Outcome]]  # by task and method


def against(outcomes: Outcomes, tasks: Sequence[Task], method: str, others: Sequence[str]) -> list[dict[str, Any]]:
    """How a method compares with each of several others at each task, and with all of them together.

    The p of "better than all" is the largest of the single ones (intersection-union); it is corrected over tasks
    (Holm). A task without an interval, or where one of the others is missing, claims nothing and is said so.

    Returns:
        A row per task: `task`, `differences` by other, `p`, `p_holm`, `better`, `not_worse` (None: cannot be told).
    """
    rows: list[dict[str, Any]] = []
    for task in tasks:
        found = outcomes.get(task.name, {})
        named = [o for o in others if o in found and method in found]
        missing = [o for o in others if o not in named]
        differences = {o: compare(found[method], found[o], better=task.better) for o in named}
        known = not missing and all(d["p"] is not None and d["interval"] for d in differences.values())
        p = max(d["p"] for d in differences.values()) if known else None
        rows.append({"task": task.name, "differences": differences, "missing": missing, "p": p, "margin": task.margin})
    for row, p in zip(rows, holm([r["p"] for r in rows]), strict=True):
        ends = [d["interval"] for d in row["differences"].values()]
        told = row["p"] is not None
        row["p_holm"] = p
        row["better"] = all(low > 0 for low, _ in ends) and p is not None and p < LEVEL if told else None
        row["not_worse"] = all(low > -row["margin"] for low, _ in ends) if told and row["margin"] is not None else None
    return rows


def judge_vector(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> dict[str, Any]:
    """Better than raw bands, raw window and PCA on three tasks, and nowhere worse by more than the margin.

    "Not told apart" is no pass: a task whose interval reaches below the margin fails it.
    """
    rows = against(outcomes, [t for t in tasks if t.primary and t.margin is not None], method, SIMPLE)
    better = [r["task"] for r in rows if r["better"]]
    worse = [r["task"] for r in rows if r["not_worse"] is False]
    untold = [r["task"] for r in rows if r["not_worse"] is None]
    return {
        "passes": len(better) >= BETTER_ON and not worse,
        "better_on": better,
        "not_shown_not_worse": worse,
        "no_claim": untold,
        "rows": rows,
    }


def judge_learned(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> dict[str, Any]:
    """Better than [thirty, random] and than the thirty numbers on one task, and on hidden targets of long gaps."""
    labelled = against(outcomes, [t for t in tasks if t.primary and t.margin is not None], method, CLOSED)
    hidden = against(outcomes, [t for t in tasks if t.name in LONG_GAPS], method, CLOSED)
    better = [r["task"] for r in labelled if r["better"]]
    passes = bool(better) and len(hidden) == len(LONG_GAPS) and all(r["better"] for r in hidden)
    return {"passes": passes, "better_on": better, "rows": labelled, "hidden": hidden}


def judge_hidden(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> dict[str, Any]:
    """Better than linear, Gaussian and harmonic at long gaps; without a gap within 5 % of the Gaussian mean."""
    rows = against(outcomes, [t for t in tasks if t.name in LONG_GAPS], method, INTERPOLATORS)
    found = outcomes.get(NO_GAP, {})
    share = _ratio(found, method, "Gaussian")
    near = share is not None and share <= 1 + AS_GAUSSIAN
    passes = near and len(rows) == len(LONG_GAPS) and all(r["better"] for r in rows)
    return {"passes": passes, "rows": rows, "over_gaussian_without_gap": share}


def judge_steadiness(
    outcomes: Outcomes, method: str, state: str | None, near: Sequence[str], step: str
) -> dict[str, Any]:
    """Near over far at most a third (state) and two thirds (whole) of raw bands', with 0.9 of a step at once.

    Args:
        outcomes: by task and method.
        method: the whole vector.
        state: the method that is its state block, None where it has none.
        near: tasks of near over far, a place each.
        step: the task of the step.
    """
    places = {}
    for task in near:
        found = outcomes.get(task, {})
        whole, block = _ratio(found, method, "raw bands"), _ratio(found, state, "raw bands")
        places[task] = {"whole": whole, "state": block}
    steps = outcomes.get(step, {})
    at_once = {m: steps[m].value for m in (method, state) if m is not None and m in steps}
    kept = [p["whole"] is not None and p["whole"] <= WHOLE_SHARE for p in places.values()]
    kept += [p["state"] is not None and p["state"] <= STATE_SHARE for p in places.values()] if state else []
    passes = bool(kept) and all(kept) and len(at_once) == 1 + bool(state) and min(at_once.values()) >= AT_ONCE
    return {"passes": passes, "share_of_raw_bands": places, "at_once": at_once}


def table(outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """Values, intervals, groups and rows by task and method."""
    return {task: {method: estimate(o) for method, o in found.items()} for task, found in outcomes.items()}


def _ratio(found: Mapping[str, Outcome], top: str | None, bottom: str) -> float | None:
    if top is None or top not in found or bottom not in found or len(found[bottom].groups) < FEWEST:
        return None
    return found[top].value / found[bottom].value
