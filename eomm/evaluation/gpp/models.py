"""What turns features into a flux: climatologies, ridge, gradient boosting. Not what is trained on series.

A model is a function of a table and a fold to predictions of the fold's test rows. All that it chooses it chooses
within the fold's training rows, by leaving whole groups out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from eomm.evaluation.baselines import fit_ridge
from eomm.evaluation.folds import Fold, inner
from eomm.evaluation.gpp.climatology import Climatology, day_of_year, fit_climatology
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import WEATHER, Table

Model = Callable[[Table, Fold], Float[np.ndarray, " m"]]
BOOSTER: Mapping[str, Any] = {
    "learning_rate": 0.06,
    "min_samples_leaf": 10,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
BOOSTING = ({"max_leaf_nodes": 6, "max_iter": 150}, {"max_leaf_nodes": 15, "max_iter": 80})  # tried; towers are few
SMOOTHINGS = ({"smoothing_days": 10}, {"smoothing_days": 20}, {"smoothing_days": 40})  # tried; few days want more
INNER_FOLDS = 3
SITE_CLIMATOLOGY, KIND_CLIMATOLOGY = "climatology of the site", "climatology of the plant type"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the result.

    Attributes:
        name: as tables show it, such as "bands, ridge".
        features: the table's features that it uses, joined.
        model: how.
        baseline: whether it is there to be beaten: anything but the features under test.
    """

    name: str
    features: Sequence[str]
    model: Model
    baseline: bool


def features_of(table: Table, names: Sequence[str]) -> Float[np.ndarray, "n k"]:
    """Several features side by side."""
    return np.concatenate([table.features[n] for n in names], axis=1)


def mean_model(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
    """The mean of the training rows."""
    return np.full(len(fold.test), table.gpp[fold.train].mean())


def site_climatology(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
    """Each site's mean season, its smoothing chosen by leaving years out; NaN for sites without training rows."""
    curve = smoothed(table, fold, table.site, table.year)
    site, day = table.site[fold.test], table.day[fold.test]
    return np.where(curve.knows(site), curve.predict(site, day), np.nan)


def kind_climatology(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
    """Each plant type's mean season, its smoothing chosen as by `ridge`; of a type that training lacks, all sites'."""
    curve = smoothed(table, fold, table.kind, table.group)
    return curve.predict(table.kind[fold.test], table.day[fold.test])


def smoothed(table: Table, fold: Fold, label: np.ndarray, apart: np.ndarray) -> Climatology:
    """The climatology by `label` of the training rows, smoothed by what is best where `apart` is left out of them."""

    def fit(options: Mapping[str, int], rows: np.ndarray) -> Climatology:
        return fit_climatology(label[rows], table.day[rows], table.gpp[rows], **options)

    def predict(options: Mapping[str, int], rows: np.ndarray, test: np.ndarray) -> np.ndarray:
        return fit(options, rows).predict(label[test], table.day[test])

    return fit(choose(table, fold, SMOOTHINGS, predict, apart), fold.train)


def ridge(names: Sequence[str]) -> Model:
    """Ridge regression on standardised columns, its penalty chosen by leaving groups out."""

    def predict(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
        x = features_of(table, names)
        group = np.unique(table.group, return_inverse=True)[1]
        fitted = fit_ridge(x[fold.train], table.gpp[fold.train, None], group[fold.train])
        return fitted.predict(x[fold.test])[:, 0].astype(np.float64)

    return predict


def boosting(names: Sequence[str], *, seed: int = 0) -> Model:
    """Gradient boosting on histograms (Ke et al. 2017, LightGBM, as in scikit-learn); size chosen as for `ridge`."""

    def fit(table: Table, x: np.ndarray, rows: np.ndarray, options: Mapping[str, int]) -> HistGradientBoostingRegressor:
        model = HistGradientBoostingRegressor(**BOOSTER, **options, random_state=seed)
        return model.fit(x[rows], table.gpp[rows])

    def predict(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
        x = features_of(table, names)
        with threadpool_limits(1):  # five times quicker for a few hundred rows where cores are shared
            best = choose(table, fold, BOOSTING, lambda o, rows, test: fit(table, x, rows, o).predict(x[test]))
            return np.asarray(fit(table, x, fold.train, best).predict(x[fold.test]))

    return predict


def choose(
    table: Table,
    fold: Fold,
    options: Sequence[Mapping[str, int]],
    predict: Callable[[Mapping[str, int], np.ndarray, np.ndarray], np.ndarray],
    apart: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> Mapping[str, int]:
    """The option with the least squared error on groups left out of the training rows; the first where groups are few.

    What is left out is `apart`, groups of sites by default; with a single group among the training rows, its years.
    """
    label = table.group if apart is None else apart
    label = label if len(np.unique(label[fold.train])) > 1 else table.year
    if len(np.unique(label[fold.train])) < 2:
        return options[0]
    error = np.zeros(len(options))
    for part in inner(fold, label, count=INNER_FOLDS, seed=seed):
        for i, option in enumerate(options):
            error[i] += ((predict(option, part.train, part.test) - table.gpp[part.test]) ** 2).sum()
    return options[int(np.argmin(error))]


def on_climatology(model: Callable[[Sequence[str]], Model], names: Sequence[str]) -> Model:
    """A site's mean season plus what a model adds to it from features and the day of year.

    The season holds the training rows themselves, so that with few days in few years little is left to learn. (Seasons
    of other years alone gained with good features, 0.72 to 0.94 of the variance with three years of 15 days in a made
    world, but lost as much with none, 0.65 to 0.13: with two years each is far from the mean of both.)
    """

    def predict(table: Table, fold: Fold) -> Float[np.ndarray, " m"]:
        curve = fit_climatology(table.site[fold.train], table.day[fold.train], table.gpp[fold.train])
        season = curve.predict(table.site, table.day)
        phase = 2 * np.pi * day_of_year(table.day) / 366
        known = np.stack([season, np.sin(phase), np.cos(phase)], axis=1)
        residual = Table(**{**vars(table), "gpp": table.gpp - season, "features": {**table.features, "season": known}})
        found = season[fold.test] + model([*names, "season"])(residual, fold)
        return np.where(curve.knows(table.site[fold.test]), found, np.nan)

    return predict


def methods_for(table: Table, plan: GppPlan) -> list[Method]:
    """Climatology, then each features alone and with weather, under each model of the plan.

    Where test sites may have training rows (`plan.sites_known`), their climatology is one too, and under each.
    """
    build: dict[str, Callable[[Sequence[str]], Model]] = {"ridge": ridge, "boosting": boosting}
    out = [Method(name="mean", features=(), model=mean_model, baseline=True)]
    if len(np.unique(table.kind)) > 1 or not plan.sites_known:
        out.append(Method(name=KIND_CLIMATOLOGY, features=(), model=kind_climatology, baseline=True))
    if plan.sites_known:
        out.append(Method(name=SITE_CLIMATOLOGY, features=(), model=site_climatology, baseline=True))
    for names in feature_sets(table, plan.checks):
        title, baseline = " + ".join(names), not set(names) & {*plan.tested, *plan.checks}
        for m in plan.models:
            out.append(Method(name=f"{title}, {m}", features=names, model=build[m](names), baseline=baseline))
            if plan.sites_known:
                season = on_climatology(build[m], names)
                out.append(Method(name=f"climatology + {title}, {m}", features=names, model=season, baseline=baseline))
    return out


def feature_sets(table: Table, checks: Sequence[str]) -> list[list[str]]:
    """Each of a table's features alone, then, where there is weather, each but the checks with it."""
    alone = [[n] for n in table.features]
    joined = [[WEATHER, n] for n in table.features if n not in (WEATHER, *checks)]
    return alone + (joined if WEATHER in table.features else [])
