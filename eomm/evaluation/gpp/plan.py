"""What is asked of fluxes: methods, folds, and what is set aside. Runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eomm.errors import UsageError
from eomm.evaluation.gpp.rows import Table

MODELS = ("ridge", "boosting")
FOLDS = {
    "site": "whole sites (with their neighbours) left out",
    "year": "whole years left out, sites known",
    "both": "sites and years left out at once",
    "last-year": "the last year of each site, models fitted on all sites' years before their last",
}
BUFFER_DAYS = 90.0  # between training and test rows of one site: a window's length


@dataclass(frozen=True, kw_only=True)
class Final:
    """What no choice may use: all rows of these sites (and of their groups), and of these years."""

    sites: Sequence[str] = ()
    years: Sequence[int] = ()

    def rows(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Which rows belong to an unseen site, and which to an unseen year. Raises UsageError for one without rows."""
        if lost := sorted(set(self.sites) - set(table.site)):
            raise UsageError(f"test site {', '.join(lost)} has no rows; there are {', '.join(np.unique(table.site))}")
        if lost_years := sorted(set(self.years) - set(table.year.tolist())):
            raise UsageError(f"test year {lost_years} has no rows; there are {sorted(set(table.year.tolist()))}")
        groups = np.unique(table.group[np.isin(table.site, list(self.sites))])
        return np.isin(table.group, groups), np.isin(table.year, list(self.years))


@dataclass(frozen=True, kw_only=True)
class GppPlan:
    """What is asked of fluxes.

    Attributes:
        tested: features that are under test: embeddings; all other methods are their baselines.
        checks: features that hold the truth: what they score is the most that anything can.
        main: the method compared with each other; None: the first model on the first of `tested`, or of all features.
        models: of MODELS.
        folds: of FOLDS. None: by site, or by year where there is one group of sites, which is said.
        count: folds of sites; None for one per group of sites.
        final: rows set aside.
        buffer_days: training rows of a tested site nearer in time than this are left out.
        seed: of folds, intervals and models.
    """

    tested: Sequence[str] = ()
    checks: Sequence[str] = ()
    main: str | None = None
    models: Sequence[str] = MODELS
    folds: str | None = None
    count: int | None = None
    final: Final = Final()
    buffer_days: float = BUFFER_DAYS
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.models) - set(MODELS)):
            raise UsageError(f"model {', '.join(unknown)}: expected of {', '.join(MODELS)}")
        if self.folds not in (None, *FOLDS):
            raise UsageError(f"folds {self.folds!r}: expected one of {', '.join(FOLDS)}")

    @property
    def sites_known(self) -> bool:
        """Whether test sites may have training rows."""
        return self.folds in ("year", "last-year") or bool(self.final.years)
