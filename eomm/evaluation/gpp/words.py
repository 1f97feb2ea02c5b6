"""What `evaluate gpp` says: conclusions as sentences, tables of text. Numbers come from tables.py."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation import say
from eomm.evaluation.result import Table

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
    rows = {}
    for name, m in sorted(part["methods"].items(), key=lambda item: item[1]["all"]["rmse"].value):
        every = [*(m["all"][s] for s in ("r2", "rmse", "mae", "bias")), m["anomaly"]["r2"]]
        every += [m["growing season"]["rmse"], m["highest tenth"]["bias"]]
        days = "" if m["all"]["rows"] == part["rows"] else f" (only {m['all']['rows']} days)"
        rows[name + days] = map(say.cell, every)
    size = f"{part['rows']} tower-days, {part['sites']} sites, {part['groups']} groups"
    columns = ("method", "R2", f"RMSE ({unit})", "MAE", "bias", "R2 of anomalies", "RMSE, growing season")
    return Table.of(f"Scores: {title} ({size})", (*columns, "bias, highest tenth"), rows)


def _differences(part: Mapping[str, Any], main: str, title: str, unit: str) -> Table:
    measures = ("rmse", "r2", "anomaly rmse")
    rows = {n: (*(say.cell(d[s]) for s in measures), say.verb(d["rmse"])) for n, d in part["difference"].items()}
    columns = ("compared with", f"RMSE ({unit})", "R2", "RMSE of anomalies", f"{main}, by RMSE")
    return Table.of(f"{main} minus each other method, paired: {title}", columns, rows)


def _variance(part: Mapping[str, Any], title: str) -> Table:
    first = next(iter(part["variance"].values()))
    head = f"Share explained between sites, of seasons, of anomalies, on {first['rows']} days"
    shares = first["parts"].items()
    columns = (c if v["share"] is None else f"{c} ({v['share']:.0%} of variance)" for c, v in shares)
    rows = {n: [_share(v["explained"]) for v in own["parts"].values()] for n, own in part["variance"].items()}
    return Table.of(f"{head} with others of their site near: {title}", ("method", *columns), rows)


def _share(explained: float | None) -> str:
    return "-" if explained is None else f"{explained:.2f}"


def _labels(part: Mapping[str, Any], shown: Sequence[str], key: str, what: str, title: str) -> Table:
    rows = {}
    for label, first in part[key][shown[0]].items():
        known = (part[key].get(n, {}).get(label) for n in shown)
        cells = ([say.cell(own[s]) for s in ("rmse", "bias")] if own else ["-", "-"] for own in known)
        rows[label or "unknown"] = (str(first["rows"]), *itertools.chain(*cells))
    columns = (what, "days", *(f"{n}: {s}" for n in shown for s in ("RMSE", "bias")))
    return Table.of(f"By {what}: {title}", columns, rows)
