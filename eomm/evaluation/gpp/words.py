"""What `evaluate gpp` says: conclusions as sentences, tables of text. Numbers come from tables.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation import say
from eomm.evaluation.result import Estimate, Table

NO_EMBEDDING = (
    "No embedding is scored on real flux here: none was given, and a table has no imagery. The scores are those of "
    "tabulated features and of climatologies."
)
SIMULATED = (
    "SIMULATED: fluxes, scenes and weather come from a simulator; nothing here says how well anything works outside it."
)
ASIDE = {
    "unseen sites": "sites set aside, years seen",
    "unseen years": "years set aside, sites seen",
    "unseen sites and years": "sites and years set aside",
}


def conclude(found: Mapping[str, Any], *, simulated: bool, has_embedding: bool) -> tuple[str, ...]:
    """Sentences with their numbers, baselines and intervals."""
    lines = [SIMULATED] if simulated else [] if has_embedding else [NO_EMBEDDING]
    lines += _about(found, found["main"], found["folds"]["about"], found["unit"])
    for cell, part in found.get("final", {}).items():
        lines += _about(part, found["main"], f"final test, {ASIDE[cell]}; used once, for no choice", found["unit"])
    return (*lines, *(["Data: " + "; ".join(found["sources"]) + "."] * bool(found["sources"])))


def _about(part: Mapping[str, Any], main: str, where: str, unit: str) -> list[str]:
    if main not in part["methods"]:
        return [f"{say.sentence(where)}: {main} cannot be scored there."]
    found = part["methods"][main]
    size = f"{part['rows']} tower-days, {part['sites']} sites in {part['groups']} independent groups"
    lines = [
        f"{say.sentence(where)} ({size}): {main} has R2 {say.figure(found['all']['r2'])}, "
        f"RMSE {say.figure(found['all']['rmse'])} {unit}; {_anomalies(found)}."
    ]
    gaps = {name: d["rmse"] for name, d in part["difference"].items()}
    lines += [f"{main} {clause}. Differences of RMSE, paired, 95 % interval." for clause in say.ranked(gaps)]
    resolved = sum(bool(d.resolved) for d in gaps.values())
    if any(d.resolved is None for d in gaps.values()):
        lines.append(f"{part['groups']} independent groups are too few for intervals: these differences prove nothing.")
    elif resolved < len(gaps):
        lines.append(f"{resolved} of {len(gaps)} differences are resolved with {part['groups']} groups.")
    return lines


def _anomalies(found: Mapping[str, Any]) -> str:
    days = found["anomaly"]["rows"]
    if found["anomaly"]["r2"].value is None:
        return "anomalies are not scored, for no site's season is known from other years"
    share = "" if days == found["all"]["rows"] else f", on the {days} days where other years tell it,"
    return f"of anomalies from the site's season{share} R2 {say.figure(found['anomaly']['r2'])}"


def tables(found: Mapping[str, Any], shown: Sequence[str], *, simulated: bool) -> tuple[Table, ...]:
    """All tables; `shown` are the methods of the tables by site and type."""
    unit, label = found["unit"], "SIMULATED, " if simulated else ""
    head, main = f"{label}{found['folds']['about']}", found["main"]
    out = [_scores(found, head, unit), _differences(found, main, head, unit), _variance(found, head)]
    if set(found["by_kind"][shown[0]]) != {""}:
        out.append(_labels(found, shown, "by_kind", "plant type", head))
    out.append(_labels(found, shown, "by_site", "site", head))
    for cell, part in found.get("final", {}).items():
        title = f"{label}final test, {ASIDE[cell]}"
        out += [_scores(part, title, unit), _differences(part, main, title, unit)]
    return tuple(out)


def _scores(part: Mapping[str, Any], title: str, unit: str) -> Table:
    order = sorted(part["methods"], key=lambda n: part["methods"][n]["all"]["rmse"].value)
    rows = []
    for name in order:
        m = part["methods"][name]
        every = [*(m["all"][s] for s in ("r2", "rmse", "mae", "bias")), m["anomaly"]["r2"]]
        every += [m["growing season"]["rmse"], m["highest tenth"]["bias"]]
        days = "" if m["all"]["rows"] == part["rows"] else f" (only {m['all']['rows']} days)"
        rows.append((name + days, *map(_cell, every)))
    size = f"{part['rows']} tower-days, {part['sites']} sites, {part['groups']} groups"
    columns = ("method", "R2", f"RMSE ({unit})", "MAE", "bias", "R2 of anomalies", "RMSE, growing season")
    return Table(title=f"Scores: {title} ({size})", columns=(*columns, "bias, highest tenth"), rows=tuple(rows))


def _differences(part: Mapping[str, Any], main: str, title: str, unit: str) -> Table:
    rows = [
        (n, *(_cell(d[s]) for s in ("rmse", "r2", "anomaly rmse")), say.verb(d["rmse"]))
        for n, d in part["difference"].items()
    ]
    columns = ("compared with", f"RMSE ({unit})", "R2", "RMSE of anomalies", f"{main}, by RMSE")
    return Table(title=f"{main} minus each other method, paired: {title}", columns=columns, rows=tuple(rows))


def _variance(part: Mapping[str, Any], title: str) -> Table:
    names = list(part["variance"])
    days, shares = part["variance"][names[0]]["rows"], part["variance"][names[0]]["parts"]
    head = f"Share explained between sites, of seasons, of anomalies, on {days} days with others of their site near"
    parts = (c if v["share"] is None else f"{c} ({v['share']:.0%} of variance)" for c, v in shares.items())
    every = {n: part["variance"][n]["parts"].values() for n in names}
    rows = ((n, *("-" if v["explained"] is None else f"{v['explained']:.2f}" for v in own)) for n, own in every.items())
    return Table(title=f"{head}: {title}", columns=("method", *parts), rows=tuple(rows))


def _labels(part: Mapping[str, Any], shown: Sequence[str], key: str, what: str, title: str) -> Table:
    rows = []
    for label, first in part[key][shown[0]].items():
        cells = []
        for n in shown:
            own = part[key].get(n, {}).get(label)
            cells += [_cell(own["rmse"]), _cell(own["bias"])] if own else ["-", "-"]
        rows.append((label or "unknown", str(first["rows"]), *cells))
    columns = (what, "days", *(f"{n}: {s}" for n in shown for s in ("RMSE", "bias")))
    return Table(title=f"By {what}: {title}", columns=columns, rows=tuple(rows))


def _cell(estimate: Estimate) -> str:
    """A figure without brackets has too few groups for an interval."""
    return say.figure(estimate, few="")
