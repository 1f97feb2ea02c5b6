"""`eomm bench quality`: vectors of models and closed forms at every task of a role, with intervals and verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from eomm.errors import UsageError
from eomm.evaluation.quality.closed import closed_forms
from eomm.evaluation.quality.learned import model_vectors, random_encoder
from eomm.evaluation.quality.scores import Outcomes
from eomm.evaluation.quality.tasks import Task, Trial, score_all, skipped
from eomm.evaluation.quality.vectors import Vectors, beside, leading, remembered, scaled
from eomm.evaluation.quality.verdicts import Judged, judge_hidden, judge_learned, judge_steadiness, judge_vector
from eomm.evaluation.quality.words import plan_result, result
from eomm.evaluation.result import Result
from eomm.models.directory import load_model

from .looks import Look
from .places import ROLES
from .plan import NEAR, STEP, TASKS, sample_of, trials

MODEL = "model"  # the name of what is judged
STATE = "state block"  # of the model, scored for its steadiness alone: elsewhere the closed form "state" stands
STEADY = (*NEAR, STEP)


def plan() -> Result:
    """What is measured how."""
    return plan_result(TASKS)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of the bench.

    Attributes:
        data: folder of the shipped sets.
        role: "choose" or "report"; a look at report is logged first, and needs a reason.
        others: further models by name, such as the encoder before on the same records and steps.
        code: modules whose networks may be used.
        surroundings: of a lone pixel in an encoder's window, see `model_vectors`.
        only: beginnings of names of tasks; all when empty.
        look: why one looks at report, and where that is logged.
    """

    data: Path
    role: str = "choose"
    others: Mapping[str, Path] = field(default_factory=dict)
    code: Sequence[str] = ()
    surroundings: str = "lone"
    only: Sequence[str] = ()
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        if self.role not in ROLES[1:]:
            raise UsageError(f"role {self.role!r}: expected {' or '.join(ROLES[1:])}")
        if not self.tasks:
            known = ", ".join(t.name for t in TASKS)
            raise UsageError(f"tasks {', '.join(self.only)}: none begins so; known are {known}")
        if self.role == "report" and not self.look.why:
            raise UsageError("a look at report sets needs a reason: --why TEXT; it is logged")

    @property
    def tasks(self) -> list[Task]:
        """Those asked for."""
        return [t for t in TASKS if not self.only or any(t.name.startswith(o) for o in self.only)]


def run(models: Sequence[Path], request: Request, *, say: Callable[[str], None] = print) -> Result:
    """Score models and closed forms.

    Args:
        models: directories of one model trained with several seeds, which are averaged; none: closed forms alone.
        request: what is asked.
        say: gets a line per trial.

    Returns:
        Its numbers are `role`, `models` (hashes), `plan`, `scores` by task and method, `skipped`.

    Raises:
        DataError: a set or a model is missing, or the look cannot be logged.
    """
    named = {MODEL: models, **{name: [path] for name, path in request.others.items()}}
    loaded = {name: [load_model(p, code=request.code) for p in paths] for name, paths in named.items()}
    hashes = {f"{name} {i}": m.hash for name, ms in loaded.items() for i, m in enumerate(ms)}
    about: dict[str, Any] = {"role": request.role, "models": hashes, "surroundings": request.surroundings}
    if request.role == "report":
        about["look"] = request.look.log(models=hashes, tasks=[t.name for t in request.tasks])
    sample = sample_of(request.data)
    methods = [remembered(m) for m in beside_all(closed_forms(sample), sample)]
    methods += [
        remembered(model_vectors(m, name=name, surroundings=request.surroundings, seed=seed))
        for name, ms in loaded.items()
        for seed, m in enumerate(ms)
    ]
    asked = with_states(trials(request.data, request.role), methods)
    with threadpool_limits(1):  # fits are small; threads would wait for each other
        outcomes = score_all(asked, methods, request.tasks, say=say)
        about["skipped"] = skipped(asked, methods, request.tasks)
        verdicts = judge(outcomes, MODEL if models else "thirty numbers")
        return result(TASKS, outcomes, verdicts, about, dataset=f"tasks of role {request.role}")


def with_states(every: Sequence[Trial], methods: Sequence[Vectors]) -> list[Trial]:
    """Trials of steadiness with the state blocks of the model besides."""
    states = [leading(STATE, v, v.state) for v in methods if v.name == MODEL and v.state]
    return [replace(t, extra=(*t.extra, *states)) if set(t.tasks) & set(STEADY) else t for t in every]


def beside_all(forms: Mapping[str, Vectors], sample: Sequence[Any]) -> list[Vectors]:
    """Closed forms, a random encoder, and the thirty numbers with it."""
    noise = scaled(random_encoder(), sample, by_column=True)
    return [*forms.values(), noise, beside("[thirty, random]", forms["thirty numbers"], noise)]


def judge(outcomes: Outcomes, method: str) -> list[Judged]:
    """All verdicts on one method."""
    state = {MODEL: STATE, "thirty numbers": "state"}.get(method)
    scored = any(state in found for found in outcomes.values())
    return [
        judge_vector(outcomes, TASKS, method),
        judge_learned(outcomes, TASKS, method),
        judge_hidden(outcomes, TASKS, method),
        judge_steadiness(outcomes, method, state if scored else None, [t.name for t in NEAR], STEP.name),
    ]
