"""What a task is: its words, written down before anything is scored, and the function that scores vectors at it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eomm.evaluation.quality.scores import Outcome, Outcomes, averaged
from eomm.evaluation.quality.vectors import Vectors
from eomm.evaluation.result import Better

MARGIN = 0.02  # of a score; worse by more is worse


@dataclass(frozen=True, kw_only=True)
class Task:
    """A row of the table that fixes what is measured.

    Attributes:
        name: of the task; outcomes go by it.
        metric: in words.
        probe: in words, with what it chooses.
        labels: how many the probe sees, in words.
        group: what is held out and resampled.
        better: "higher" or "lower".
        primary: whether verdicts look at it; the others are for reading.
        margin: how much worse is not yet worse, in the metric; None where that is not asked.
        forbids: a place; vectors learned from it are not scored here.
    """

    name: str
    metric: str
    probe: str = "none"
    labels: str = "none"
    group: str
    better: Better = "higher"
    primary: bool = True
    margin: float | None = MARGIN
    forbids: str | None = None

    def takes(self, vectors: Vectors) -> bool:
        """Whether these vectors may be scored: they are known not to be learned from what the task forbids."""
        learned = vectors.learned_from
        return self.forbids is None or (learned is not None and self.forbids not in learned)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Tasks on the same rows, scored together.

    Attributes:
        tasks: what is answered.
        outcomes: vectors to an outcome for each task, in order.
        extra: further vectors that are scored at these tasks alone, such as harmonics.
        given: outcomes of methods that are no vectors, by method and in the order of tasks, such as interpolation.
    """

    tasks: tuple[Task, ...]
    outcomes: Callable[[Vectors], Sequence[Outcome]]
    extra: tuple[Vectors, ...] = ()
    given: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)

    def score(self, vectors: Vectors) -> dict[str, Outcome]:
        """Outcomes by task."""
        return self._named(self.outcomes(vectors))

    def _named(self, outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
        return {t.name: o for t, o in zip(self.tasks, outcomes, strict=True)}

    def score_all(self, methods: Sequence[Vectors]) -> Outcomes:
        """Outcomes of methods, seeds of one name averaged, of what is extra and what is given, by task and method."""
        found: dict[str, dict[str, list[Outcome]]] = {t.name: {} for t in self.tasks}
        for vectors in [*methods, *self.extra]:
            allowed = [t for t in self.tasks if t.takes(vectors)]
            scored = self.score(vectors) if allowed else {}
            for t in allowed:
                found[t.name].setdefault(vectors.name, []).append(scored[t.name])
        given = {name: self._named(outcomes) for name, outcomes in self.given.items()}
        return {
            t: {name: averaged(seeds) for name, seeds in by.items()} | {name: g[t] for name, g in given.items()}
            for t, by in found.items()
        }


def score_all(
    trials: Sequence[Trial],
    methods: Sequence[Vectors],
    asked: Sequence[Task],
    *,
    say: Callable[[str], object] = lambda line: None,
) -> Outcomes:
    """Outcomes by task and method.

    Args:
        trials: of tasks.
        methods: scored at all of them.
        asked: tasks that are wanted; trials of none of these are not run.
        say: gets a line per trial.
    """
    outcomes: dict[str, Mapping[str, Outcome]] = {}
    for trial in trials:
        if names := [t.name for t in trial.tasks if t in asked]:
            start, found = time.monotonic(), trial.score_all(methods)
            outcomes |= {name: found[name] for name in names if found[name]}
            say(f"{', '.join(names)}: {time.monotonic() - start:.0f} s")
    return outcomes


def skipped(trials: Sequence[Trial], methods: Sequence[Vectors], asked: Sequence[Task]) -> dict[str, str]:
    """Tasks that are not scored for some method, with the reason."""
    return {
        f"{t.name}, {vectors.name}": f"may have learned from {t.forbids}"
        for trial in trials
        for vectors in [*methods, *trial.extra]
        for t in trial.tasks
        if t in asked and not t.takes(vectors)
    }
