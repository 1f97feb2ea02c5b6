"""Which folds are taken where nobody says which: by site, or by year where there is one tower; and it is said."""

import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.evaluation.gpp.plan import Final, GppPlan
from eomm.evaluation.gpp.run import run
from eomm.evaluation.gpp.tables import YEARS_CHOSEN, choose_folds, make_folds
from tests.eomm.gpp_world import make_world


def one_tower(years=None):
    world = make_world()
    mine = world.site == world.site[0]
    if years:
        mine &= np.isin(world.year, np.unique(world.year)[:years])
    return world.take(np.flatnonzero(mine))


def test_one_tower_is_folded_by_year_and_several_by_site():
    world = make_world()
    assert choose_folds(world, GppPlan()) == "site" and choose_folds(one_tower(), GppPlan()) == "year"
    sites = np.unique(world.site)
    groups = {s: world.group[world.site == s][0] for s in sites}
    others = [s for s in sites if groups[s] != groups[sites[0]]]
    assert choose_folds(world, GppPlan(final=Final(sites=others))) == "year"


def test_the_choice_is_said_and_one_that_was_asked_for_is_kept():
    table = one_tower()
    result, _ = run(table, GppPlan(models=["ridge"]))
    assert result["folds"]["kind"] == "year" and result["folds"]["count"] == len(np.unique(table.year))
    assert YEARS_CHOSEN in result["sources"] and any(YEARS_CHOSEN in line for line in result.conclusions)
    assert YEARS_CHOSEN not in run(table, GppPlan(models=["ridge"], folds="year"))[0]["sources"]
    with pytest.raises(UsageError, match=r"one group .*--folds year"):
        run(table, GppPlan(models=["ridge"], folds="site"))


def test_one_tower_of_one_year_is_refused_for_what_it_lacks():
    table = one_tower(years=1)
    with pytest.raises(UsageError, match=r"one year \(\d{4}\) cannot be divided into folds") as error:
        make_folds(table, np.arange(len(table)), GppPlan(folds=choose_folds(table, GppPlan())))
    assert "--folds year" not in str(error.value)
