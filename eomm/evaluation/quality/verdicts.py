"""Verdicts on tables of outcomes: is the vector worth having, and does what was learned add to the closed form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from eomm.evaluation import say
from eomm.evaluation.quality.closed import INTERPOLATORS
from eomm.evaluation.quality.scores import FEWEST, Outcome, Outcomes, Tested, compare, holm
from eomm.evaluation.quality.tasks import Task
from eomm.evaluation.result import Verdict, as_json

LEVEL = 0.05
SIMPLE = ("raw bands", "raw window", "PCA of the window")
CLOSED = ("thirty numbers", "[thirty, random]")
BETTER_ON = 3  # tasks
LONG_GAPS = ("hidden, 30 days", "hidden, 60 days")
NO_GAP, AS_GAUSSIAN = "hidden, 0 days", 0.05
STATE_SHARE, WHOLE_SHARE, AT_ONCE = 1 / 3, 2 / 3, 0.9


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a method compares with several others at a task.

    Attributes:
        task: its name.
        margin: how much worse is not yet worse; None where that is not asked.
        differences: by other.
        missing: others that were not scored.
        p: of "better than all", the largest of the single ones (intersection-union); None where it cannot be told.
        p_holm: the same corrected over tasks.
    """

    task: str
    margin: float | None
    differences: Mapping[str, Tested]
    missing: tuple[str, ...]
    p: float | None
    p_holm: float | None = None

    def to_json(self) -> dict[str, object]:
        """JSON types, what follows from the others included."""
        known = {f.name: as_json(getattr(self, f.name)) for f in fields(self)}
        return known | {"better": self.better, "not_worse": self.not_worse}

    @property
    def lows(self) -> list[float]:
        """Lower ends of the intervals."""
        return [d.interval[0] for d in self.differences.values() if d.interval]

    @property
    def better(self) -> bool | None:
        """Than all of the others; None where it cannot be told."""
        return None if self.p_holm is None else self.p_holm < LEVEL and min(self.lows) > 0

    @property
    def not_worse(self) -> bool | None:
        """Than any by more than the margin; None where it cannot be told. "Not told apart" is no pass."""
        return None if self.p is None or self.margin is None else min(self.lows) > -self.margin


@dataclass(frozen=True, kw_only=True)
class Judged(Verdict):
    """A verdict with what it rests on.

    Attributes:
        method: judged.
        rows: by task.
        shares: errors and distances over those of another, by name.
    """

    method: str
    rows: tuple[Row, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


def against(outcomes: Outcomes, tasks: Sequence[Task], method: str, others: Sequence[str]) -> tuple[Row, ...]:
    """How a method compares with each of several others at each task, and with all of them together."""
    rows = [_row(outcomes.get(t.name, {}), t, method, others) for t in tasks]
    return tuple(replace(r, p_holm=p) for r, p in zip(rows, holm([r.p for r in rows]), strict=True))


def _row(found: Mapping[str, Outcome], task: Task, method: str, others: Sequence[str]) -> Row:
    named = [o for o in others if o in found and method in found]
    missing = tuple(o for o in others if o not in named)
    differences = {o: compare(found[method], found[o], better=task.better) for o in named}
    p = [d.p for d in differences.values() if d.p is not None and d.interval]
    known = not missing and len(p) == len(others)
    return Row(
        task=task.name, margin=task.margin, differences=differences, missing=missing, p=max(p) if known else None
    )


def judge_vector(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> Judged:
    """Better than raw bands, raw window and PCA on three tasks, and nowhere worse by more than the margin."""
    rows = against(outcomes, [t for t in tasks if t.primary and t.margin is not None], method, SIMPLE)
    better = tuple(r.task for r in rows if r.better)
    worse = tuple(r.task for r in rows if r.not_worse is False)
    untold = tuple(r.task for r in rows if r.not_worse is None)
    because = [_beats(SIMPLE, better)]
    because += [f"not shown to be not worse on {say.listed(worse)}"] if worse else []
    because += [f"no claim on {say.listed(untold)}"] if untold else []
    return Judged(
        method=method,
        claim=f"{method} is worth having beside raw series",
        holds=len(better) >= BETTER_ON and not worse,
        because=tuple(because),
        rows=rows,
    )


def judge_learned(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> Judged:
    """Better than [thirty, random] and than the thirty numbers on one task, and on hidden targets of long gaps."""
    labelled = against(outcomes, [t for t in tasks if t.primary and t.margin is not None], method, CLOSED)
    hidden = _long_gaps(outcomes, tasks, method, CLOSED)
    better, gaps = (tuple(r.task for r in rows if r.better) for rows in (labelled, hidden))
    return Judged(
        method=method,
        claim=f"what {method} has learned adds to the closed form",
        holds=bool(better) and len(gaps) == len(LONG_GAPS),
        because=(_beats(CLOSED, better), _beats(CLOSED, gaps)),
        rows=(*labelled, *hidden),
    )


def judge_hidden(outcomes: Outcomes, tasks: Sequence[Task], method: str) -> Judged:
    """Better than linear, Gaussian and harmonic at long gaps; without a gap within 5 % of the Gaussian mean."""
    rows = _long_gaps(outcomes, tasks, method, tuple(INTERPOLATORS))
    share = _ratio(outcomes.get(NO_GAP, {}), method, "Gaussian")
    better = tuple(r.task for r in rows if r.better)
    told = "unknown" if share is None else f"{share:.3f}"
    return Judged(
        method=method,
        claim=f"{method} predicts hidden targets better than interpolation does",
        holds=share is not None and share <= 1 + AS_GAUSSIAN and len(better) == len(LONG_GAPS),
        because=(_beats(tuple(INTERPOLATORS), better), f"{told} of the Gaussian mean's error without a gap"),
        rows=rows,
        shares={} if share is None else {"of the Gaussian mean's error without a gap": share},
    )


def judge_steadiness(outcomes: Outcomes, method: str, state: str | None, near: Sequence[str], step: str) -> Judged:
    """Near over far at most a third (state) and two thirds (whole) of raw bands', with 0.9 of a step at once.

    Args:
        outcomes: by task and method.
        method: the whole vector.
        state: the method that is its state block, None where it has none.
        near: tasks of near over far, a place each.
        step: the task of the step.
    """
    limits = {method: WHOLE_SHARE, **({state: STATE_SHARE} if state else {})}
    shares: dict[str, float] = {}
    kept = []
    for task in near:
        for name, limit in limits.items():
            share = _ratio(outcomes.get(task, {}), name, "raw bands")
            kept.append(share is not None and share <= limit)
            shares |= {} if share is None else {f"{task}, {name} of raw bands": share}
    at_once = {name: outcomes[step][name].value for name in limits if name in outcomes.get(step, {})}
    because = [f"{name} {share:.2f}" for name, share in shares.items()]
    because += [f"{name} shows {value:.2f} of a step at once" for name, value in at_once.items()]
    return Judged(
        method=method,
        claim=f"{method} is steady between near dates and shows steps at once",
        holds=bool(kept) and all(kept) and len(at_once) == len(limits) and min(at_once.values()) >= AT_ONCE,
        because=tuple(because),
        shares={**shares, **{f"of a step at once, {name}": value for name, value in at_once.items()}},
    )


def _long_gaps(outcomes: Outcomes, tasks: Sequence[Task], method: str, others: Sequence[str]) -> tuple[Row, ...]:
    return against(outcomes, [t for t in tasks if t.name in LONG_GAPS], method, others)


def _beats(others: Sequence[str], tasks: Sequence[str]) -> str:
    return f"{say.BEATS} {say.listed(others)} on {say.listed(tasks) if tasks else 'no task'}"


def _ratio(found: Mapping[str, Outcome], top: str | None, bottom: str) -> float | None:
    if top is None or top not in found or bottom not in found or len(found[bottom].groups) < FEWEST:
        return None
    return found[top].value / found[bottom].value
