"""Samples to a head: held out group by group, scored, then fitted on everything. Nothing is read or written."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from eomm.errors import UsageError
from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.gpp.models import Method, methods_for
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import evaluate_gpp
from eomm.evaluation.probes.score import confusion, metrics, squares
from eomm.heads.head import FORMS, Head
from eomm.heads.interval import conformal
from eomm.heads.linear import Linear, logistic, ridge
from eomm.heads.samples import Samples
from eomm.heads.seen import Seen, fit_seen, limit_of
from eomm.heads.trees import Trees, boosting
from eomm.store.fields import Json

LEVEL = 0.9


@dataclass(frozen=True)
class HeldOut:
    """What fits that saw nothing of a row's group said of it.

    Attributes:
        outputs: NaN where a row was not tested.
        distance: to the rows of that fit.
        fold: its number, -1 where not tested.
    """

    outputs: Float[np.ndarray, "n c"]
    distance: Float[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]


def fit_head(
    samples: Samples,
    form: str,
    *,
    level: float = LEVEL,
    seed: int = 0,
    table: Table | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Head:
    """Fit a head, with scores, interval and limit from held-out groups.

    Args:
        samples: what is fitted on.
        form: "ridge" for numbers, "logistic" for classes, "boosting" for either.
        level: of the interval that is wished.
        seed: of what is drawn.
        table: of fluxes, whose scores stand beside climatologies.
        progress: called with (done, total) fits.

    Raises:
        UsageError: the form does not suit the target, or there are too few groups.
    """
    check_form(form, bool(samples.classes))
    held = hold_out(samples, form, seed, progress)
    tested = np.flatnonzero(held.fold >= 0)
    y, outputs, group = samples.y[tested], held.outputs[tested], samples.group[tested]
    interval = conformal(errors(y, outputs, bool(samples.classes)), group, level)
    rows = samples.training(samples.rows, seed)
    estimator, choice = fit_form(form, samples, rows, seed)
    seen = fit_seen(samples.x[rows])
    scores = flux_scores(table, samples, held, seed) if table is not None else label_scores(samples, held, seed)
    return Head(
        form=form,
        target=samples.target,
        unit=samples.unit,
        classes=samples.classes,
        estimator=estimator,
        seen=Seen(mean=seen.mean, whiten=seen.whiten, limit=limit_of(held.distance[tested])),
        interval=interval,
        contract=samples.contract,
        fitted={**samples.about, "choice": choice, "seed": seed},
        scores=scores,
    )


def check_form(form: str, has_classes: bool) -> None:
    """Raise UsageError where a form does not suit the target."""
    suited = ("logistic", "boosting") if has_classes else ("ridge", "boosting")
    if form not in suited:
        what = "classes" if has_classes else "numbers"
        known = "" if form in FORMS else " (no such head)"
        raise UsageError(f"head {form!r}{known}: the target is {what}; choose {' or '.join(suited)}")


def hold_out(samples: Samples, form: str, seed: int, progress: Callable[[int, int], None] | None = None) -> HeldOut:
    """Fit each fold's training rows and look at what it tests."""
    count = max(1, len(samples.classes))
    outputs = np.full((len(samples.x), count), np.nan)
    distance, number = np.full(len(samples.x), np.nan), np.full(len(samples.x), -1)
    for i, fold in enumerate(samples.folds):
        rows = samples.training(fold.train, seed)
        estimator, _ = fit_form(form, samples, rows, seed)
        outputs[fold.test] = estimator.outputs(samples.x[fold.test])
        distance[fold.test] = fit_seen(samples.x[rows]).distance(samples.x[fold.test])
        number[fold.test] = i
        if progress:
            progress(i + 1, len(samples.folds))
    return HeldOut(outputs, distance, number)


def fit_form(form: str, samples: Samples, rows: Int[np.ndarray, " r"], seed: int) -> tuple[Linear | Trees, float]:
    """Fit some rows; returns what was chosen too: a penalty, or leaves."""
    x, y, group, classes = samples.x[rows], samples.y[rows], samples.group[rows], len(samples.classes)
    with threadpool_limits(1):  # as in evaluation: small matrices and few rows, quicker so where cores are shared
        if form == "ridge":
            return ridge(x, y, group)
        return logistic(x, y, group, classes) if form == "logistic" else boosting(x, y, group, classes, seed=seed)


def errors(y: np.ndarray, outputs: Float[np.ndarray, "n c"], has_classes: bool) -> Float[np.ndarray, " n"]:
    """What intervals are made of: |measured - predicted|, or 1 - the probability of the true class."""
    if not has_classes:
        return np.abs(y - outputs[:, 0])
    return 1 - softmax(outputs, axis=1)[np.arange(len(y)), y]


def label_scores(samples: Samples, held: HeldOut, seed: int) -> Json:
    """Scores of `eomm evaluate probes`, with their intervals over groups."""
    tested = held.fold >= 0
    y, names = samples.y[tested], len(samples.classes)
    group = np.unique(samples.group[tested], return_inverse=True)[1]
    count = int(group.max()) + 1
    outputs = held.outputs[tested]
    if names:
        sums = confusion(y, np.argmax(outputs, axis=1), group, count, names)
    else:
        sums = squares(y, outputs[:, 0], group, count)
    draws = Resampling(np.arange(count), seed=seed)
    return {name: draws.estimate(metric, sums).to_json() for name, metric in metrics(names, 1).items()}


def flux_scores(table: Table, samples: Samples, held: HeldOut, seed: int) -> Json:
    """Scores of `eomm evaluate gpp`, of all days and of anomalies, beside the climatologies on the same days."""
    plan = GppPlan(main="head", folds=samples.about["folds"], seed=seed, models=())
    said = Method(name="head", features=(), model=lambda _, fold: held.outputs[fold.test, 0], baseline=False)
    result, _ = evaluate_gpp(table, [*methods_for(table, plan), said], plan)
    return {
        name: {
            **{metric: found["all"][metric].to_json() for metric in ("r2", "rmse", "bias")},
            "r2_of_anomalies": found["anomaly"]["r2"].to_json(),
        }
        for name, found in result["methods"].items()
    }
