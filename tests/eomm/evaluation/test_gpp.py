"""GPP's evaluation: scores are what they say, nothing leaks, noise has no skill, an oracle is perfect."""

import dataclasses
import json

import numpy as np
import pytest

from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.bootstrap import Resampling
from eomm.evaluation.folds import Fold
from eomm.evaluation.gpp.climatology import day_of_year, fit_climatology, left_out_years, year_of
from eomm.evaluation.gpp.models import (
    KIND_CLIMATOLOGY,
    SITE_CLIMATOLOGY,
    Method,
    boosting,
    kind_climatology,
    methods_for,
    ridge,
)
from eomm.evaluation.gpp.plan import Final, GppPlan
from eomm.evaluation.gpp.rows import Columns, join, read_table
from eomm.evaluation.gpp.scores import make_targets, moments, r2, rmse, split_variance
from eomm.evaluation.gpp.tables import evaluate_gpp, make_folds
from eomm.evaluation.result import as_json
from tests.eomm.gpp_world import make_world


def method(name, *features, model=ridge):
    return Method(name=name, features=features, model=model(list(features)), baseline=True)


def run(table, *methods, **options):
    return evaluate_gpp(table, list(methods), GppPlan(main=methods[0].name, **options))


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import mean_squared_error, r2_score

    rng = np.random.default_rng(0)
    y, p = rng.normal(3, 2, 200), rng.normal(3, 2, 200)
    sums = moments(y, p).sum(0)
    assert r2(sums) == pytest.approx(r2_score(y, p)) and rmse(sums) ** 2 == pytest.approx(mean_squared_error(y, p))
    mask = y > 3
    assert r2(moments(y, p, mask).sum(0)) == pytest.approx(r2_score(y[mask], p[mask]))


def test_day_of_year_and_year():
    days = np.array(["2019-12-31", "2020-01-01", "2020-12-31"], "datetime64[D]").astype(int)
    assert day_of_year(days).tolist() == [364, 0, 365] and year_of(days).tolist() == [2019, 2020, 2020]


def test_climatology_is_the_season_and_wraps_round_the_year():
    day = np.arange(17532, 17532 + 4 * 365)
    y = 5 + 3 * np.cos(2 * np.pi * day_of_year(day) / 365.25)
    curve = fit_climatology(np.full(len(day), "a"), day, y, smoothing_days=3)
    found = curve.predict(np.full(len(day), "a"), day)
    assert np.abs(found - y).max() < 0.05 and abs(curve.curves[0, 0] - curve.curves[0, -2]) < 0.01
    assert np.allclose(curve.predict(np.array(["elsewhere"]), day[:1]), curve.curves[-1, day_of_year(day[:1])])


def test_anomalies_are_taken_from_other_years():
    world = make_world(sites=2, noise=0)
    changed = world.gpp + np.where(world.year == 2019, 1.0, 0)
    before = left_out_years(world.site, world.day, world.gpp)
    after = left_out_years(world.site, world.day, changed)
    assert np.allclose(before[world.year == 2019], after[world.year == 2019])
    assert not np.allclose(before[world.year == 2018], after[world.year == 2018])
    one = make_world(sites=2, years=(2018,))
    assert np.isnan(left_out_years(one.site, one.day, one.gpp)).all()


def test_a_season_of_a_few_days_is_none():
    """Where a site's other years have no day near, its anomaly is unknown, not that from all sites' season."""
    world = make_world(sites=4, step=2)
    few = world.take(np.flatnonzero((world.site != "S1") | (np.arange(len(world)) % 60 == 0)))
    reference = left_out_years(few.site, few.day, few.gpp)
    assert np.isfinite(reference[few.site != "S1"]).all() and np.isnan(reference[few.site == "S1"]).mean() > 0.5
    targets = make_targets(few)
    assert targets.moments(few.gpp, "anomaly")[:, 0].sum() == np.isfinite(reference).sum()
    only = few.take(np.flatnonzero(few.site == "S1")[:3])
    alone = split_variance(make_targets(only), only.gpp)
    assert alone["rows"] == 0 and alone["parts"]["season"]["explained"] is None


def test_an_oracle_scores_one_and_noise_nothing():
    world = make_world()
    result, _ = run(world, method("oracle", "oracle"), method("nothing", "nothing"), method("state", "state"))
    found = {n: m["all"]["r2"].value for n, m in result["methods"].items()}
    assert found["oracle"] > 0.9999 and found["state"] > 0.95 and abs(found["nothing"]) < 0.05
    assert result["methods"]["oracle"]["anomaly"]["r2"].value > 0.999
    assert result["difference"]["nothing"]["rmse"].resolved and result["difference"]["nothing"]["rmse"].value < 0
    json.dumps(as_json(result), allow_nan=False)


@pytest.mark.parametrize("model", [ridge, boosting])
def test_shuffled_targets_have_no_skill(model):
    world = make_world(sites=6, step=30)
    shuffled = dataclasses.replace(world, gpp=np.random.default_rng(1).permutation(world.gpp))
    result, _ = run(shuffled, method("state", "state", model=model), count=3)
    found = result["methods"]["state"]["all"]["r2"]
    assert found.value < 0.05 and found.interval[0] < 0


def test_predictions_of_a_site_do_not_depend_on_its_targets():
    """What is tested is hidden from every method: other targets there change no prediction there."""
    world = make_world(sites=4, step=30)
    mine = world.site == "S2"
    other = dataclasses.replace(world, gpp=np.where(mine, world.gpp[::-1] + 7, world.gpp))
    plan = GppPlan(models=["ridge"], main="state, ridge")
    methods = [*methods_for(world, plan), method("trees", "state", model=boosting)]
    first, second = (evaluate_gpp(w, methods, plan)[1] for w in (world, other))
    for name, p in first.methods.items():
        assert np.array_equal(p[mine], second.methods[name][mine]), name
        assert not np.array_equal(p[~mine], second.methods[name][~mine]), name


@pytest.mark.parametrize("kind", ["site", "year", "both", "last-year"])
def test_folds_of_every_kind_are_checked(kind):
    world = make_world(sites=4)
    folds = make_folds(world, np.arange(len(world)), GppPlan(folds=kind))
    for fold in folds:
        sites = set(world.site[fold.train]) & set(world.site[fold.test])
        years = set(world.year[fold.train]) & set(world.year[fold.test])
        assert bool(sites) == (kind in ("year", "last-year")) and bool(years) == (kind == "site")
    with pytest.raises(UsageError, match="expected one of site, year, both"):
        GppPlan(folds="week")


def test_a_planted_leak_is_seen(monkeypatch):
    import eomm.evaluation.gpp.tables as module

    honest = module.group_folds

    def leaking(group, **options):
        first, *rest = honest(group, **options)
        return [Fold(name=first.name, train=np.append(first.train, first.test[0]), test=first.test[1:]), *rest]

    monkeypatch.setattr(module, "group_folds", leaking)
    with pytest.raises(ContractError, match="leak in fold 'S0': site S0 is trained on"):
        run(make_world(sites=4), method("state", "state"))


def test_a_final_test_is_in_no_fold_and_no_fit():
    world = make_world(drought=2020)
    seen: list[np.ndarray] = []

    def spy(table, fold):
        seen.append(fold.train)
        return ridge(["state"])(table, fold)

    watched = Method(name="state", features=("state",), model=spy, baseline=True)
    final = Final(sites=["S1", "S5"], years=[2020])
    result, predicted = run(world, watched, method("nothing", "nothing"), final=final)
    aside = np.isin(world.site, ["S1", "S5"]) | (world.year == 2020)
    assert not aside[np.unique(np.concatenate(seen))].any()
    assert set(result["final"]) == {"unseen sites", "unseen years", "unseen sites and years"}
    assert result["rows"] + sum(c["rows"] for c in result["final"].values()) == len(world)
    assert np.isfinite(predicted.every("state")).all() and np.isnan(predicted.methods["state"][aside]).all()
    assert result["final"]["unseen sites and years"]["methods"]["state"]["all"]["rmse"].interval is None  # two sites
    with pytest.raises(UsageError, match="test site XX has no rows"):
        run(world, watched, final=Final(sites=["XX"]))
    with pytest.raises(UsageError, match="test year"):
        run(world, watched, final=Final(years=[1999]))


def test_climatologies_where_they_may_be_used():
    world = make_world()
    plan = GppPlan(models=["ridge"], main="climatology + weather, ridge", folds="year")
    by_year = [m.name for m in methods_for(world, plan)]
    by_site = [m.name for m in methods_for(world, GppPlan(models=["ridge"]))]
    assert SITE_CLIMATOLOGY in by_year and SITE_CLIMATOLOGY not in by_site and KIND_CLIMATOLOGY in by_site
    assert "weather + state, ridge" in by_site and "climatology + weather, ridge" in by_year
    result, _ = evaluate_gpp(world, methods_for(world, plan), plan)
    scores = {n: m["all"]["rmse"].value for n, m in result["methods"].items()}
    assert scores["climatology + weather, ridge"] < scores[SITE_CLIMATOLOGY] < scores["mean"]
    assert result["methods"][SITE_CLIMATOLOGY]["anomaly"]["r2"].value < 0.1  # it knows nothing of anomalies


def test_climatologies_of_few_days_are_smoothed_more():
    """A baseline as weak as its noise would be beaten by anything."""
    found = {}
    for step, noise in ((2, 2.0), (60, 4.0)):
        world = make_world(sites=6, step=step, noise=noise)
        fold = make_folds(world, np.arange(len(world)), GppPlan(folds="site", count=3))[0]
        p = kind_climatology(world, fold)
        for days in (10, 40):
            curve = fit_climatology(
                world.kind[fold.train], world.day[fold.train], world.gpp[fold.train], smoothing_days=days
            )
            found[step, days] = np.array_equal(p, curve.predict(world.kind[fold.test], world.day[fold.test]))
    assert found[60, 40] and found[2, 10]


def test_variance_adds_up_and_a_climatology_explains_the_season():
    world = make_world(noise=1.0)
    targets = make_targets(world)
    season = fit_climatology(world.site, world.day, world.gpp).predict(world.site, world.day)
    found = split_variance(targets, season)
    split = found["parts"]
    assert found["rows"] == len(world)
    assert sum(c["share"] for c in split.values()) == pytest.approx(1, abs=0.05)
    assert split["site"]["explained"] > 0.99 and split["season"]["explained"] > 0.95
    assert split["anomaly"]["explained"] < 0.35
    perfect = split_variance(targets, world.gpp)["parts"]
    assert all(c["explained"] == pytest.approx(1) for c in perfect.values())


def test_simulated_and_real_never_share_a_table():
    with pytest.raises(ContractError, match="never share a table"):
        join([make_world(sites=2), make_world(sites=2, simulated=True)])


def test_rows_without_flux_are_not_scored():
    world = make_world(sites=5)
    lost = np.arange(len(world)) % 3 == 0
    result, predicted = run(dataclasses.replace(world, gpp=np.where(lost, np.nan, world.gpp)), method("state", "state"))
    assert result["rows"] == (~lost).sum() and np.isnan(predicted.methods["state"][lost]).all()


# --- Tables from files, and the anchors that real data must give ---------------------------------------------------

TOWERS = {
    "bands": ["b2", "b3", "b4", "b5", "b6", "b7"],
    "indices": ["NDVI", "kNDVI", "NIRv", "EVI"],
    "NIRv": ["NIRv"],
    "NDVI": ["NDVI"],
}
TOGETHER = [["US-CS1", "US-CS2", "US-CS4", "US-DFC"], ["US-HB1", "US-HB2"], ["US-xBL", "US-xSC"]]


def tower_table(shared, features=TOWERS, **options):
    groups = {s: "+".join(g) for g in TOGETHER for s in g}
    path = shared / "data" / "gpp_towers" / "towers_2018_2020.csv"
    columns = {"site": "SITE_ID", "date": "date", "target": "GPP", "kind": "PFT", "unit": "gC m-2 d-1"}
    return read_table(path, Columns(features=features, **{**columns, **options}), groups=groups)


def test_towers_give_the_known_scores(shared):
    table = tower_table(shared)
    assert len(table) == 451 and len(set(table.site)) == 26 and len(set(table.group)) == 21
    plan = GppPlan(models=["ridge"], tested=["bands"], main="bands, ridge")
    result, predicted = evaluate_gpp(table, methods_for(table, plan), plan)
    scores = {n: m["all"] for n, m in result["methods"].items()}
    bands = scores["bands, ridge"]
    assert bands["r2"].value == pytest.approx(0.675, abs=0.02)
    by_site = Resampling(table.site).estimate(r2, predicted.targets.moments(predicted.methods["bands, ridge"], "all"))
    assert by_site.interval == pytest.approx([0.58, 0.74], abs=0.04)
    low, high = bands["r2"].interval  # over groups of neighbours, which are fewer
    assert low < by_site.interval[0] and 0.70 < high < 0.76
    assert bands["rmse"].value == pytest.approx(2.18, abs=0.05)
    for name, expected in {"indices, ridge": (0.70, 2.09), "NIRv, ridge": (0.69, 2.13)}.items():
        assert scores[name]["r2"].value == pytest.approx(expected[0], abs=0.02), name
        assert scores[name]["rmse"].value == pytest.approx(expected[1], abs=0.05), name
        assert result["difference"][name]["rmse"].resolved is False  # 21 groups cannot tell them apart
    assert result["difference"]["NDVI, ridge"]["rmse"].resolved  # but they can tell NDVI from the bands
    assert bands["r2"].value > scores[KIND_CLIMATOLOGY]["r2"].value


def test_the_last_year_of_european_towers(shared):
    path = shared / "data" / "fluxnet2015_daily" / "daily_gpp_europe.parquet"
    columns = Columns(
        site="site", date="date", target="gpp_nt", unit="gC m-2 d-1", keep=["nee_qc<=1"],
        features={"weather": ["sw_in", "ta", "vpd"]},
    )  # fmt: skip
    table = read_table(path, columns)
    table = table.take(np.flatnonzero(table.day % 3 == 0))
    assert (table.gpp < 0).any()  # negative night-time values are kept
    plan = GppPlan(models=["ridge"], main="climatology + weather, ridge", folds="last-year", buffer_days=0)
    result, _ = evaluate_gpp(table, methods_for(table, plan), plan)
    season = result["methods"][SITE_CLIMATOLOGY]["all"]
    weather = result["methods"]["climatology + weather, ridge"]["all"]
    assert season["r2"].value == pytest.approx(0.67, abs=0.03)
    sites = [s["rmse"].value for s in result["by_site"][SITE_CLIMATOLOGY].values()]
    assert len(sites) == 33 and np.median(sites) == pytest.approx(1.9, abs=0.2)
    assert weather["r2"].value > season["r2"].value + 0.03
    assert result["difference"][SITE_CLIMATOLOGY]["rmse"].resolved


def test_what_is_wrong_with_a_table_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("site,date,gpp,x,q\na,2020-01-01,1.0,2.0,0\na,2020-01-02,-9999,2.0,1\nb,2020-01-02,3,-9999,1\n")
    options = {"site": "site", "date": "date", "target": "gpp", "unit": "gC m-2 d-1", "features": {"x": ["x"]}}
    table = read_table(path, Columns(**options))
    assert len(table) == 2 and table.scored.tolist() == [True, False]
    assert "1 tower-days were left out" in table.lines[-1]
    days = "".join(f"a,2020-02-{d:02d},{1.25 if d < 11 else 0},2.0,0\n" for d in range(1, 29))
    (tmp_path / "r.csv").write_text("site,date,gpp,x,q\nb,2020-01-01,1.25,2.0,0\n" + days)
    lines = read_table(tmp_path / "r.csv", Columns(**options)).lines
    assert "a has the same flux, 1.25 g C m-2 d-1, on 10 days" in lines[-1] and len(lines) == 2
    with pytest.raises(DataError, match="no column gpp_x; there are site, date"):
        read_table(path, Columns(**{**options, "target": "gpp_x"}))
    with pytest.raises(ContractError, match="'gC m-2 y-1'"):
        read_table(path, Columns(**{**options, "unit": "gC m-2 y-1"}))
    with pytest.raises(UsageError, match="condition 'q=1'"):
        read_table(path, Columns(**options, keep=["q=1"]))
    with pytest.raises(DataError, match="no row has both"):
        read_table(path, Columns(**options, keep=["q>3"]))
    path.write_text("site,date,gpp,x\na,2020-01-01,1,2\na,2020-01-01,1,2\n")
    with pytest.raises(DataError, match="a has two rows on 2020-01-01"):
        read_table(path, Columns(**options))
    path.write_text("site,date,gpp,x\na,30 Feb,1,2\n")
    with pytest.raises(DataError, match=r"column .*is no day; expected YYYY-MM-DD"):
        read_table(path, Columns(**options))
