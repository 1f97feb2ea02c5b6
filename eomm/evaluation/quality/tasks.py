"""What a task is: its words, written down before anything is scored, and the function that scores vectors at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eomm.evaluation.quality.scores import Outcome
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
    probe: str
    labels: str
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
        tasks: what `score` answers.
        score: vectors to an outcome for each task's name.
        extra: further vectors that are scored at these tasks alone, such as harmonics.
        given: outcomes of methods that are no vectors, by method and task, such as interpolation in time.
    """

    tasks: tuple[Task, ...]
    score: Callable[[Vectors], Mapping[str, Outcome]]
    extra: Sequence[Vectors] = ()
    given: Mapping[str, Mapping[str, Outcome]] | None = None
