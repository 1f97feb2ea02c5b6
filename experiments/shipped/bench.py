"""`eomm bench quality`: vectors of models and closed forms at every task of a role, with intervals and verdicts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from eomm.errors import UsageError
from eomm.evaluation.quality.closed import closed_forms
from eomm.evaluation.quality.learned import model_vectors, random_encoder
from eomm.evaluation.quality.scores import Outcome, averaged
from eomm.evaluation.quality.tasks import Task, Trial
from eomm.evaluation.quality.vectors import Vectors, beside, leading, remembered, scaled
from eomm.evaluation.quality.verdicts import Judged, judge_hidden, judge_learned, judge_steadiness, judge_vector
from eomm.evaluation.quality.words import plan_result, result
from eomm.evaluation.result import Result
from eomm.models.directory import load_model

from .looks import LOG, log_look
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
        role: "choose" or "report"; a look at report is logged first, and needs `why`.
        others: further models by name, such as the encoder before on the same records and steps.
        code: modules whose networks may be used.
        surroundings: of a lone pixel in an encoder's window, see `model_vectors`.
        only: beginnings of names of tasks; all when empty.
        looks: where looks at report are logged.
        why: one looks at report.
        command: as it was typed, for the log.
    """

    data: Path
    role: str = "choose"
    others: Mapping[str, Path] = field(default_factory=dict)
    code: Sequence[str] = ()
    surroundings: str = "lone"
    only: Sequence[str] = ()
    looks: Path = LOG
    why: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES[1:]:
            raise UsageError(f"role {self.role!r}: expected {' or '.join(ROLES[1:])}")
        if not self.tasks:
            known = ", ".join(t.name for t in TASKS)
            raise UsageError(f"tasks {', '.join(self.only)}: none begins so; known are {known}")
        if self.role == "report" and not self.why:
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
    named = {**({MODEL: list(models)} if models else {}), **{name: [path] for name, path in request.others.items()}}
    loaded = {name: [load_model(p, code=request.code) for p in paths] for name, paths in named.items()}
    hashes = {f"{name} {i}": m.hash for name, ms in loaded.items() for i, m in enumerate(ms)}
    about: dict[str, Any] = {"role": request.role, "models": hashes, "surroundings": request.surroundings}
    if request.role == "report":
        names = [t.name for t in request.tasks]
        about["look"] = log_look(
            request.looks, models=hashes, tasks=names, command=request.command, why=str(request.why)
        )
    sample = sample_of(request.data)
    methods = [remembered(m) for m in beside_all(closed_forms(sample), sample)]
    for name, ms in loaded.items():
        for seed, m in enumerate(ms):
            vectors = remembered(model_vectors(m, name=name, surroundings=request.surroundings, seed=seed))
            methods.append(vectors)
            if name == MODEL and vectors.state:
                methods.append(leading(STATE, vectors, vectors.state))
    with threadpool_limits(1):  # fits are small; threads would wait for each other
        outcomes, skipped = score_all(trials(request.data, request.role), methods, request.tasks, say)
        verdicts = judge(outcomes, MODEL if models else "thirty numbers")
        about["skipped"] = skipped
        return result(TASKS, outcomes, verdicts, about, dataset=f"tasks of role {request.role}")


def beside_all(forms: Mapping[str, Vectors], sample: Sequence[Any]) -> list[Vectors]:
    """Closed forms, a random encoder, and the thirty numbers with it."""
    noise = scaled(random_encoder(), sample, by_column=True)
    return [*forms.values(), noise, beside("[thirty, random]", forms["thirty numbers"], noise)]


def score_all(
    trials_: Sequence[Trial], methods: Sequence[Vectors], asked: Sequence[Any], say: Callable[[str], None]
) -> tuple[dict[str, dict[str, Outcome]], dict[str, str]]:
    """Outcomes by task and method, seeds averaged; and tasks not scored for some method, with the reason."""
    outcomes: dict[str, dict[str, Outcome]] = {t.name: {} for t in asked}
    skipped: dict[str, str] = {}
    for trial in trials_:
        tasks = [t for t in trial.tasks if t in asked]
        if not tasks:
            continue
        start, found = time.monotonic(), dict[str, dict[str, list[Outcome]]]()
        for vectors in [*methods, *trial.extra]:
            asked_of = tasks if vectors.name != STATE else [t for t in tasks if t in STEADY]
            allowed = [t for t in asked_of if t.takes(vectors)]
            skipped |= {
                f"{t.name}, {vectors.name}": f"may have learned from {t.forbids}" for t in asked_of if t not in allowed
            }
            scored = trial.score(vectors) if allowed else {}
            for t in allowed:
                found.setdefault(t.name, {}).setdefault(vectors.name, []).append(scored[t.name])
        for t in tasks:
            outcomes[t.name] |= {name: averaged(seeds) for name, seeds in found.get(t.name, {}).items()}
            outcomes[t.name] |= {name: given[t.name] for name, given in (trial.given or {}).items()}
        say(f"{', '.join(t.name for t in tasks)}: {time.monotonic() - start:.0f} s")
    return {t: found for t, found in outcomes.items() if found}, skipped


def judge(outcomes: Mapping[str, Mapping[str, Outcome]], method: str) -> list[Judged]:
    """All verdicts on one method."""
    state = {MODEL: STATE, "thirty numbers": "state"}.get(method)
    scored = any(state in found for found in outcomes.values())
    return [
        judge_vector(outcomes, TASKS, method),
        judge_learned(outcomes, TASKS, method),
        judge_hidden(outcomes, TASKS, method),
        judge_steadiness(outcomes, method, state if scored else None, [t.name for t in NEAR], STEP.name),
    ]
