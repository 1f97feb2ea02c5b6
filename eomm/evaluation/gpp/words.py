"""What `evaluate gpp` says: conclusions as sentences, tables of text. Numbers come from tables.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.bootstrap import words
from eomm.evaluation.text_tables import text_table

NO_EMBEDDING = (
    "No embedding is scored on real flux here: none was given, and a table has no imagery. The scores are those of "
    "tabulated features and of climatologies."
)
SIMULATED = (
    "SIMULATED: fluxes, scenes and weather come from a simulator; nothing here says how well anything works outside it."
)
SHOWN = 5  # methods named in a sentence
ASIDE = {
    "unseen sites": "sites set aside, years seen",
    "unseen years": "years set aside, sites seen",
    "unseen sites and years": "sites and years set aside",
}


def conclude(result: Mapping[str, Any], *, has_embedding: bool) -> list[str]:
    """Sentences with their numbers, baselines and intervals."""
    main = result["main"]
    lines = [SIMULATED] if result["simulated"] else [] if has_embedding else [NO_EMBEDDING]
    lines += _about(result, main, result["folds"]["about"], result["unit"])
    for cell, part in result.get("final", {}).items():
        lines += _about(part, main, f"final test, {ASIDE[cell]}; used once, for no choice", result["unit"])
    return lines + ["Data: " + "; ".join(result["sources"]) + "."] * bool(result["sources"])


def _about(part: Mapping[str, Any], main: str, where: str, unit: str) -> list[str]:
    if main not in part["methods"]:
        return [f"{where[0].upper()}{where[1:]}: {main} cannot be scored there."]
    found = part["methods"][main]
    size = f"{part['rows']} tower-days, {part['sites']} sites in {part['groups']} independent groups"
    lines = [
        f"{where[0].upper()}{where[1:]} ({size}): {main} has R2 {words(found['all']['r2'])}, "
        f"RMSE {words(found['all']['rmse'])} {unit}; {_anomalies(found)}."
    ]
    verdicts = {n: _verdict(d["rmse"]) for n, d in part["difference"].items()}
    for verb, what in (("better", "better than"), ("worse", "worse than"), ("untold", "not told apart from")):
        names = [n for n, v in verdicts.items() if v == verb]
        names.sort(key=lambda n: abs(part["difference"][n]["rmse"]["value"]))  # the nearest competitors first
        if names:
            shown = [f"{n} {words(part['difference'][n]['rmse'], signed=True)}" for n in names[:SHOWN]]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{main} is {what} {'; '.join(shown)}{more}. Differences of RMSE, paired, 95 % interval.")
    told = sum(v in ("better", "worse") for v in verdicts.values())
    if any(v is None for v in verdicts.values()):
        lines.append(f"{part['groups']} independent groups are too few for intervals: these differences prove nothing.")
    elif told < len(verdicts):
        lines.append(f"{told} of {len(verdicts)} differences are resolved with {part['groups']} groups.")
    return lines


def _anomalies(found: Mapping[str, Any]) -> str:
    days = found["anomaly"]["rows"]
    if found["anomaly"]["r2"]["value"] is None:
        return "anomalies are not scored, for no site's season is known from other years"
    share = "" if days == found["all"]["rows"] else f", on the {days} days where other years tell it,"
    return f"of anomalies from the site's season{share} R2 {words(found['anomaly']['r2'])}"


def _verdict(difference: Mapping[str, Any]) -> str | None:
    if difference["resolved"] is None:
        return None
    return "untold" if not difference["resolved"] else "better" if difference["value"] < 0 else "worse"


def tables(result: Mapping[str, Any], shown: Sequence[str]) -> list[dict[str, Any]]:
    """All tables, as {"title", "columns", "rows"} of text; `shown` are the methods of the tables by site and type."""
    unit, label = result["unit"], "SIMULATED, " if result["simulated"] else ""
    head = f"{label}{result['folds']['about']}"
    out = [_scores(result, head, unit), _differences(result, result["main"], head, unit), _variance(result, head)]
    if set(result["by_kind"][shown[0]]) != {""}:
        out.append(_labels(result, shown, "by_kind", "plant type", head))
    out.append(_labels(result, shown, "by_site", "site", head))
    for cell, part in result.get("final", {}).items():
        title = f"{label}final test, {ASIDE[cell]}"
        out += [_scores(part, title, unit), _differences(part, result["main"], title, unit)]
    return out


def _scores(part: Mapping[str, Any], title: str, unit: str) -> dict[str, Any]:
    order = sorted(part["methods"], key=lambda n: part["methods"][n]["all"]["rmse"]["value"])
    rows = []
    for name in order:
        m = part["methods"][name]
        cells = [cell(m["all"][s]) for s in ("r2", "rmse", "mae", "bias")]
        rest = [cell(m["anomaly"]["r2"]), cell(m["growing season"]["rmse"]), cell(m["highest tenth"]["bias"])]
        days = "" if m["all"]["rows"] == part["rows"] else f" (only {m['all']['rows']} days)"
        rows.append([name + days, *cells, *rest])
    size = f"{part['rows']} tower-days, {part['sites']} sites, {part['groups']} groups"
    columns = ["method", "R2", f"RMSE ({unit})", "MAE", "bias", "R2 of anomalies", "RMSE, growing season"]
    return {"title": f"Scores: {title} ({size})", "columns": [*columns, "bias, highest tenth"], "rows": rows}


def _differences(part: Mapping[str, Any], main: str, title: str, unit: str) -> dict[str, Any]:
    says = {None: "too few groups", "untold": "not told apart", "better": "better", "worse": "worse"}
    rows = [
        [n, cell(d["rmse"]), cell(d["r2"]), cell(d["anomaly rmse"]), says[_verdict(d["rmse"])]]
        for n, d in part["difference"].items()
    ]
    columns = ["compared with", f"RMSE ({unit})", "R2", "RMSE of anomalies", f"{main} is"]
    return {"title": f"{main} minus each other method, paired: {title}", "columns": columns, "rows": rows}


def _variance(part: Mapping[str, Any], title: str) -> dict[str, Any]:
    names = list(part["variance"])
    days, shares = part["variance"][names[0]]["rows"], part["variance"][names[0]]["parts"]
    head = f"Share explained between sites, of seasons, of anomalies, on {days} days with others of their site near"
    columns = [
        "method",
        *(c if v["share"] is None else f"{c} ({v['share']:.0%} of variance)" for c, v in shares.items()),
    ]
    every = {n: part["variance"][n]["parts"].values() for n in names}
    rows = [[n, *("-" if v["explained"] is None else f"{v['explained']:.2f}" for v in own)] for n, own in every.items()]
    return {
        "title": f"{head}: {title}",
        "columns": columns,
        "rows": rows,
    }


def _labels(part: Mapping[str, Any], shown: Sequence[str], key: str, what: str, title: str) -> dict[str, Any]:
    rows = []
    for label in part[key][shown[0]]:
        cells = []
        for n in shown:
            own = part[key].get(n, {}).get(label)
            cells += [cell(own["rmse"]), cell(own["bias"])] if own else ["-", "-"]
        rows.append([label or "unknown", str(part[key][shown[0]][label]["rows"]), *cells])
    columns = [what, "days", *(f"{n}: {s}" for n in shown for s in ("RMSE", "bias"))]
    return {"title": f"By {what}: {title}", "columns": columns, "rows": rows}


def cell(estimate: dict[str, Any]) -> str:
    """`words`, shorter: a figure without brackets has too few groups for an interval."""
    return "-" if estimate["value"] is None else words(estimate, few="")


def format_gpp(result: Mapping[str, Any]) -> str:
    """For people: conclusions, then the tables."""
    lines = [f"- {line}" for line in result["conclusions"]]
    return "\n".join([*lines, *(line for table in result["tables"] for line in text_table(table))])
