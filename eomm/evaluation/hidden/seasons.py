"""Hidden-target scores by season of the target: the same errors per date, regrouped. Scores nothing anew."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eomm.data.cube import to_date
from eomm.evaluation.hidden.tally import Tally

SEASONS = {  # by month, so that it reads the same on both hemispheres
    "Dec-Feb": (12, 1, 2),
    "Mar-May": (3, 4, 5),
    "Jun-Aug": (6, 7, 8),
    "Sep-Nov": (9, 10, 11),
}


def by_season(
    tally: Tally, region: str, condition: str, methods: Sequence[str], days: Sequence[int], *, against: str
) -> dict[str, Any]:
    """Scores of the targets of each season that has any.

    Args:
        tally: of all targets.
        region: of the tally.
        condition: of the tally.
        methods: scored.
        days: of the targets.
        against: the method whose paired difference to each of the others is given.

    Returns:
        {season: {"dates", "methods": {method: estimate}, "difference": {method: estimate}}}; below four dates an
        estimate has no interval.
    """
    month = np.array([to_date(d).month for d in days])
    errors = {m: tally.per_date(region, condition, m).mean(1) for m in methods}
    scored = np.isfinite(errors[against])
    found = {}
    for season, months in SEASONS.items():
        inside = np.isin(month, months) & scored
        if not inside.any():
            continue
        own = {m: np.where(inside, e, np.nan) for m, e in errors.items()}
        found[season] = {
            "dates": int(inside.sum()),
            "methods": {m: tally.estimate(e) for m, e in own.items()},
            "difference": {m: tally.estimate(own[against] - e) for m, e in own.items() if m != against},
        }
    return found
