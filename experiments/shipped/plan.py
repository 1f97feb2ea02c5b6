"""The plan of the quality bench: every task with its one metric, probe and number of labels, before anything is scored.

`trials` cuts the shipped sets by role and binds the tasks to them.

Changed twice, after looking at choose: the reader of hidden targets. Before any look at report: the first, ridge and a
perceptron (64, 64) on what it leaves, taught by 100 series of each set, read the thirty numbers worse than linear
interpolation reads the bands, up to 30 days. After the first look: what was taught at places that train read every
method worse than the state alone at 60 days; now other groups of the places that are scored teach, where no encoder
was trained. The reader and what teaches it are the same for every method.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from eomm.data.points import PointSeries
from eomm.errors import UsageError
from eomm.evaluation.quality import closed, dated, labelled, unlabelled
from eomm.evaluation.quality.scores import Outcome
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.tasks import Task, Trial
from eomm.evaluation.quality.vectors import Vectors, per_series

from .bavaria import read_bavaria
from .flanders import read_flanders, seen_by_landsat
from .korea import read_korea
from .places import ROLES
from .slovakia import USES, read_mowing, read_plots
from .unlabelled_sets import read_berlin, read_forest, read_swiss, read_towers

SAMPLE = 300  # series of a set on which constants are measured
HIDDEN_SERIES = 200  # of a set, at which hidden targets are read
FEWEST = labelled.FEW + 1  # series of a class
FIELD_PIXELS = 12  # of a Flemish field
MAIZE_OR_GRASS, COVERS = (1200, 9120), (11, 13, 99)  # crops and covers of the Flemish fields with at least 3 fields

LOGISTIC = "logistic regression, C of 0.03, 0.3, 3 chosen on inner groups"
RIDGE = "ridge, penalty chosen by leave-one-out"
KNN = "3 nearest neighbours, Euclidean"
AUC = "AUC over pairs of dates of one fold"
DATES = "all dates of the localities of the other 4 of 5 folds"

ACCURACY = "balanced accuracy"
FEW = "5 a class, 20 draws"

mown = partial(Task, name="mown within 12 days", metric=AUC, probe=LOGISTIC, labels=DATES, group="locality")
MOWN = mown()
MOWN_WITHIN = mown(name="mown, within plot-years", metric="AUC within plot-years", primary=False)
MOWN_NEAR = mown(name="mown, ±3 days left out", primary=False)
use = partial(Task, metric=ACCURACY, probe=LOGISTIC, group="locality")
USE = use(name="grassland use, LR", labels="4 of 5 folds of LR")
USE_TO_NB = use(name="grassland use, LR to NB", labels="all of LR")
USE_TO_LR = use(name="grassland use, NB to LR", labels="all of NB")
crops = partial(Task, metric=ACCURACY, probe=LOGISTIC, labels=FEW, group="parcel", primary=False)
CROPS = crops(name="crops, 5 labels", primary=True)
CROPS_KNN = crops(name="crops, 5 labels, kNN", probe=KNN)
CROPS_BARE = crops(name="crops without greenhouses, 5 labels")
CROPS_BARE_KNN = crops(name="crops without greenhouses, 5 labels, kNN", probe=KNN)
CROPS_ALL = crops(name="crops of parcels of any size, 5 labels")
CROPS_ALL_KNN = crops(name="crops of parcels of any size, 5 labels, kNN", probe=KNN)
field = partial(Task, group="field")
RANKS = "rank correlation within a field, mean over fields"
OTHER_FIELDS = "all pixels of fields that train (to choose: of the others)"
WHEAT = field(name="yield within wheat fields", metric=RANKS, probe=RIDGE, labels=OTHER_FIELDS)
BARLEY = field(name="yield within barley fields", metric=RANKS, probe=RIDGE, labels=OTHER_FIELDS)
FIELDS = "at most 12 pixels of each of the other fields"
FIELD_CROP = field(name="maize or grass, Flanders", metric=ACCURACY, probe=LOGISTIC, labels=FIELDS)
FIELD_COVER = field(name="cover, Flanders", metric=ACCURACY, probe=LOGISTIC, labels=FIELDS)
landsat = partial(Task, probe=RIDGE, group="100 m cell")
LANDSAT = landsat(name="Landsat 8 reflectance", metric="R2 of six bands", labels="pixels at the other Landsat dates")
KELVIN = landsat(
    name="Landsat 8 B10 anomalies, 100 m",
    metric="R2 of anomalies from the date's and the cell's mean",
    labels="cells of the other half",
    forbids="flanders",
)
HIDDEN = unlabelled.hidden_tasks(
    f"hidden dates of the places of the other {unlabelled.FOLDS - 1} of {unlabelled.FOLDS} folds", "place"
)
unlabelled_task = partial(Task, primary=False, margin=None)
REPEAT = unlabelled_task(
    name="repeatability",
    metric="distance of vectors from odd and even other dates over that of dates 60 to 199 days apart",
    group="place",
    better="lower",
)
NEAR = tuple(
    unlabelled_task(
        name=f"near over far, {place}",
        metric="median distance 1 to 5 days apart over 60 to 199 days, means over groups",
        group=group,
        better="lower",
    )
    for place, group in (("Korea", "parcel"), ("mowing polygons", "locality"))
)
STEP = unlabelled_task(
    name="a real step at once",
    metric="change from the last date before to the first after, along that of means of 4 dates, over that",
    labels="events not dated on a clear acquisition",
    group="locality",
)
TASKS = (
    *(MOWN, MOWN_WITHIN, MOWN_NEAR, USE, USE_TO_NB, USE_TO_LR),
    *(CROPS, CROPS_KNN, CROPS_BARE, CROPS_BARE_KNN, CROPS_ALL, CROPS_ALL_KNN),
    *(WHEAT, BARLEY, FIELD_CROP, FIELD_COVER, LANDSAT, KELVIN),
    *(*HIDDEN, REPEAT, *NEAR, STEP),
)
"""Everything that is measured, in the order of the table."""


def sample_of(data: Path) -> list[PointSeries]:
    """Training series on which constants are measured: at most 300 of a set, none of Flanders (`KELVIN` forbids it)."""
    sets = [read_swiss(data), read_towers(data), read_forest(data), read_berlin(data)]
    sets += [of_role(read_bavaria(data), "train"), of_role(read_korea(data), "train")]
    return [s for one in sets for s in thinned(one, SAMPLE)]


def trials(data: Path, role: str) -> list[Trial]:
    """All tasks of a role, bound to its series. Raises UsageError for a role that none has."""
    if role not in ROLES[1:]:
        raise UsageError(f"role {role!r}: expected {' or '.join(ROLES[1:])}; what trains is not scored")
    mowing, korea, plots = of_role(read_mowing(data), role), of_role(read_korea(data), role), read_plots(data)
    return [
        *mowing_trials(mowing),
        *use_trials([s for s in plots if s.labels["use"] in USES], role, harmonics()),
        *crop_trials(korea),
        *yield_trials(read_bavaria(data), role),
        *flanders_trials(data, role),
        *unlabelled_trials(mowing, korea, of_role(plots, role)),
    ]


def mowing_trials(mowing: Sequence[PointSeries]) -> list[Trial]:
    """Per date, with events dated on a clear acquisition left out, or all but the days around them."""
    sure, near = (dated.events_of(mowing, "mown", unsure=u) for u in ("clear", "near"))
    return [
        Trial(tasks=(MOWN, MOWN_WITHIN), outcomes=lambda v: dated.just_happened(v, sure)),
        Trial(tasks=(MOWN_NEAR,), outcomes=lambda v: dated.just_happened(v, near)[:1]),
    ]


def use_trials(plots: Sequence[PointSeries], role: str, *extra: Vectors) -> list[Trial]:
    """Within LR to choose; each direction between LR and NB to report."""
    lr, nb = ([s for s in plots if s.labels["region"] == r] for r in ("LR", "NB"))
    if role == "choose":
        return [Trial(tasks=(USE,), outcomes=lambda v: [labelled.held_out(v, lr, "use")], extra=extra)]
    return [
        Trial(
            tasks=(USE_TO_NB, USE_TO_LR),
            outcomes=lambda v: [labelled.carried_over(v, a, b, "use") for a, b in ((lr, nb), (nb, lr))],
            extra=extra,
        )
    ]


def crop_trials(korea: Sequence[PointSeries]) -> list[Trial]:
    """Parcels of at least 1,000 square metres with and without greenhouses, and parcels of any size."""
    large = [s for s in korea if s.labels["large"]]
    bare = [s for s in large if not s.labels["greenhouse"]]
    named = ((large, CROPS, CROPS_KNN), (bare, CROPS_BARE, CROPS_BARE_KNN), (korea, CROPS_ALL, CROPS_ALL_KNN))
    return [_crops(common(part, "crop", FEWEST), tasks) for part, *tasks in named]


def _crops(parcels: Sequence[PointSeries], tasks: Sequence[Task]) -> Trial:
    return Trial(tasks=tuple(tasks), outcomes=lambda v: labelled.few_labels(v, parcels, "crop"), extra=(harmonics(),))


def yield_trials(fields: Sequence[PointSeries], role: str) -> list[Trial]:
    """The fields that report, learned from all that train; to choose, each of these held out in turn.

    To choose, vectors may have been learned from these fields' series, never from their yields.
    """
    out = []
    for crop, task in (("wheat", WHEAT), ("barley", BARLEY)):
        of_crop = [s for s in fields if s.labels["crop"] == crop]
        if role == "choose":
            of_crop = of_role(of_crop, "train")
        tested = np.array([s.labels["role"] == ("report" if role == "report" else "train") for s in of_crop])
        fold = np.array([s.labels["role"] if role == "report" else s.group for s in of_crop])
        score = partial(labelled.rank_within, series=of_crop, label="yield", fold=fold, tested=tested)
        out.append(Trial(tasks=(task,), outcomes=_one(score)))
    return out


def _one(score: Callable[[Vectors], Outcome]) -> Callable[[Vectors], list[Outcome]]:
    return lambda v: [score(v)]


def flanders_trials(data: Path, role: str) -> list[Trial]:
    """Training columns to choose, test columns to report; temperature by halves of the site, for who never saw it."""
    pixels = read_flanders(data)
    part = {"choose": "train", "report": "test"}[role]
    out = []
    for label, classes, task in (("crop", MAIZE_OR_GRASS, FIELD_CROP), ("cover", COVERS, FIELD_COVER)):
        known = [s for s in pixels if s.labels[label] in classes]
        out.append(_fields(known, part, label, task, harmonics()))
    reflectance, kelvin, about = seen_by_landsat(data, pixels)
    tested, learned = about["part"] == part, about["part"] == "train"
    shown = dated.only(reflectance, tested | learned, tested=tested, learned=learned)
    out.append(Trial(tasks=(LANDSAT,), outcomes=lambda v: [dated.seen_by_another(v, shown)]))
    west = about["cell"] % 100 < 3
    tested, halves = west == (role == "choose"), np.where(west, "west", "east")
    by_half = dated.only(kelvin, np.ones(len(west), bool), tested=tested, learned=~tested, fold=halves)

    def temperature(vectors: Vectors) -> list[Outcome]:
        return [dated.anomalies_seen(vectors, by_half, cell=about["cell"], date=about["date"])]

    return [*out, Trial(tasks=(KELVIN,), outcomes=temperature)]


def _fields(pixels: Sequence[PointSeries], part: str, label: str, task: Task, extra: Vectors) -> Trial:
    """Fields of a part; to report, those that reach into it are learned from nowhere."""
    test = of_each([s for s in pixels if s.labels["part"] == part], FIELD_PIXELS)
    inside = {s.group for s in test}
    learn = of_each([s for s in pixels if s.labels["part"] == "train" and s.group not in inside], FIELD_PIXELS)

    def outcomes(vectors: Vectors) -> list[Outcome]:
        if part == "train":
            return [labelled.held_out(vectors, test, label)]
        return [labelled.carried_over(vectors, learn, test, label)]

    return Trial(tasks=(task,), outcomes=outcomes, extra=(extra,))


def unlabelled_trials(
    mowing: Sequence[PointSeries], korea: Sequence[PointSeries], plots: Sequence[PointSeries]
) -> list[Trial]:
    """Hidden targets at places that never train, repeatability, near over far by place, steps."""
    places = [s for one in (mowing, korea, plots) for s in thinned(one, HIDDEN_SERIES)]
    learn, steps = unlabelled.teaching_targets(places), unlabelled.steps_at(mowing, "mown")
    return [
        unlabelled.hidden_trial(HIDDEN, places, lambda v, hidden: unlabelled.hidden_errors_across(v, learn, hidden)),
        Trial(tasks=(REPEAT,), outcomes=lambda v: [unlabelled.repeatability(v, places)]),
        Trial(tasks=NEAR, outcomes=lambda v: [unlabelled.near_over_far(v, s) for s in (korea, mowing)]),
        Trial(tasks=(STEP,), outcomes=lambda v: [unlabelled.step_at_once(v, steps)]),
    ]


def harmonics() -> Vectors:
    """Coefficients of yearly and half-yearly waves, the same at every date of a series; where seasons are complete."""

    def one(series: PointSeries, at: np.ndarray) -> np.ndarray:
        return np.broadcast_to(closed.coefficients(series).ravel(), (len(at), 5 * len(BANDS)))

    return per_series("harmonics", 5 * len(BANDS), one)


def of_role(series: Sequence[PointSeries], role: str) -> list[PointSeries]:
    """Those whose label says so."""
    return [s for s in series if s.labels["role"] == role]


def common(series: Sequence[PointSeries], label: str, fewest: int) -> list[PointSeries]:
    """Those of classes with at least so many."""
    names, counts = np.unique([s.labels[label] for s in series], return_counts=True)
    kept = set(names[counts >= fewest].tolist())
    return [s for s in series if s.labels[label] in kept]


def of_each(series: Sequence[PointSeries], most: int) -> list[PointSeries]:
    """At most so many of each group, so that a large field does not outvote small ones."""
    by_group: dict[str, list[PointSeries]] = {}
    for s in series:
        by_group.setdefault(s.group, []).append(s)
    return [s for one in by_group.values() for s in thinned(one, most)]


def thinned(series: Sequence[PointSeries], most: int) -> list[PointSeries]:
    """At most so many, evenly taken."""
    return [series[i] for i in np.unique(np.linspace(0, len(series) - 1, min(most, len(series))).astype(int))]
