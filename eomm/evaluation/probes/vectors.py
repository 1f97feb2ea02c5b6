"""The stores that `evaluate probes` reads, made by a model where none are given. No other file here knows one."""

from collections.abc import Sequence
from pathlib import Path

from eomm.data.grid import to_date
from eomm.evaluation.features import Dates
from eomm.evaluation.features_model import check_made_by, embed_into, randomised
from eomm.evaluation.probes.plan import MAIN, LabelledSite, ProbePlan
from eomm.evaluation.probes.run import one_each
from eomm.evaluation.probes.tables import days_of
from eomm.models.directory import Model


def make_stores(
    model: Model,
    sites: Sequence[LabelledSite],
    plan: ProbePlan,
    folder: Path,
    *,
    given: Sequence[Path] = (),
    only: Sequence[str] = (),
) -> dict[str, Sequence[Path]]:
    """Embeddings of every site by the model and by the same networks with random parameters, as "model" and "random".

    Args:
        model: trained.
        sites: to embed.
        plan: which dates are asked for, of mode "date" alone that date; how long vectors are; the seed.
        folder: for the stores; what lies there already is used again.
        given: stores of that model in the place of embedding them, one for each site.
        only: names of methods that will be run; all when empty.

    Raises:
        ContractError: a store given was made by another model.
        UsageError: a store for each site is expected, or the length is none.
    """
    model.check_length(plan.length)
    for path in one_each(given, sites) if given else ():
        check_made_by(model, path)
    makers = {MAIN: model, "random": randomised(model, plan.seed + 1)}
    spans = spans_of(sites, plan)
    return {
        name: given
        if name == MAIN and given
        else [embed_into(folder, maker, s.cube, span, length=plan.length) for s, span in zip(sites, spans, strict=True)]
        for name, maker in makers.items()
        if not only or name in only
    }


def spans_of(sites: Sequence[LabelledSite], plan: ProbePlan) -> list[Dates]:
    """First and last date that each site's features may be of."""
    if set(plan.modes) != {"date"}:
        return [plan.dates] * len(sites)
    days = days_of(sites, plan)
    return [(to_date(days[s.cube.site]),) * 2 for s in sites]
