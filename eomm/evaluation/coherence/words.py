"""What coherence came to, in sentences and tables; every figure beside its baselines. Computes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation.bootstrap import words
from eomm.evaluation.coherence.space import MEASURES
from eomm.evaluation.representations import OURS, RANDOM, RAW
from eomm.evaluation.text_tables import text_table

MORAN = "Moran's I"
KINDS = ("better than", "worse than", "not told apart from")


def conclude(result: Mapping[str, Any]) -> list[str]:
    """The findings, each beside raw bands, what blur alone does, and the random encoder."""
    fields, space, time, events = (result[k] for k in ("fields", "space", "time", "events"))
    aspects = {
        "telling fields apart": (space["measures"]["told apart"], +1),
        "repeating after 2 to 3 days": (time["near / far"], -1),
        **({"responding to sudden drops of NDVI": (events["response / noise"], +1)} if events["events"] else {}),
    }
    lines = [
        f"The embedding is {_verdict(aspects, RAW)}; it is {_verdict(aspects, RANDOM)}.",
        f"Fields ({fields['count']}, from {fields['from']}; {space['dates']} dates): two pixels of neighbouring fields "
        "are farther apart than two of one field, equally far apart on the ground, with probability "
        f"{_beside(space['measures']['told apart'])}; 0.5 is chance. {_compare(space['measures']['told apart'], +1)}",
        "Edges kept (1 is sharp; blur lowers it, noise raises it): "
        f"{_beside(space['measures']['edges kept'])}. Moran's I, which blur raises and noise lowers: "
        f"{_beside(space['measures'][MORAN])}.",
        f"Clear dates 2 to 3 days apart ({time['pairs']} pairs), as a share of the distance of dates 60 days or more "
        f"apart: {_beside(time['near / far'])}; lower repeats better. {_compare(time['near / far'], -1)}",
    ]
    if events["events"]:
        lines.append(
            f"Sudden drops of NDVI that stay, such as harvest ({events['events']} in {events['pixels']} pixels on "
            f"{events['dates']} dates): the vector moves by so many times the distance of dates 2 to 3 days apart: "
            f"{_beside(events['response / noise'])}. {_compare(events['response / noise'], +1)} Of the change from a "
            f"date before to a date after, so much comes at once: {_beside(events['at once'])}. The drops were found "
            "in the raw bands, which have the advantage here."
        )
    else:
        lines.append("No sudden drop of NDVI that stays, such as harvest, was found; the response to it is not known.")
    if radar := result["radar"]:
        table = radar["ratio to far"]
        parts = ". ".join(f"{kind}: {_beside(of, 'raw dB', RANDOM)}" for kind, of in table.items())
        db = ", ".join(f"{k} {v:.1f} dB" for k, v in radar["first band, dB"].items() if v is not None)
        lines.append(
            f"Radar, distance as a share of that of the same orbit 60 days or more apart ({radar['orbits']} orbits): "
            f"{parts}. Median change of the first band: {db}."
        )
    lines.append(
        f"Seams: embedded in blocks of 16 px and in blocks of 256 px, vectors differ by at most "
        f"{result['seam']['largest']:.1e} {result['seam']['unit']}."
    )
    return [*lines, "Coherence is not skill: what is coherent may still be wrong, and dates of one site are few."]


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One of measures by representation, one of differences, one of radar."""
    space, events = result["space"], result["events"]
    parts = {
        **{m: space["measures"][m] for m in MEASURES},
        "2-3 days / 60 days or more": result["time"]["near / far"],
        "response to events / noise": events["response / noise"],
        "of the change at once": events["at once"],
    }
    labels = list(parts["told apart"])
    made = [
        {
            "title": "Coherence by representation, with 95 % intervals over dates or pairs of dates",
            "columns": ["", *labels],
            "rows": [[m, *(words(of[label]) for label in labels)] for m, of in parts.items()],
        },
        {
            "title": "Embedding minus each of the others, paired; an interval that holds 0 tells nothing apart",
            "columns": ["", *labels[1:]],
            "rows": [
                [m, *(words(of[label]["against"], signed=True, few="") for label in labels[1:])]
                for m, of in parts.items()
            ],
        },
    ]
    if radar := result["radar"]:
        table = radar["ratio to far"]
        labels = list(next(iter(table.values())))
        made.append(
            {
                "title": "Radar: distance of a pixel to itself, as a share of that of the same orbit 60 days or more "
                "apart; 95 % intervals over pairs of dates",
                "columns": ["", *labels],
                "rows": [[kind, *(words(of[label]) for label in labels)] for kind, of in table.items()],
            }
        )
    return made


def format_coherence(result: Mapping[str, Any]) -> str:
    """The result as text for people."""
    lines = [f"{'SIMULATED. ' if result['simulated'] else ''}{result['site']}, {result['modality']}: coherence"]
    for table in result["tables"]:
        columns, *rows = zip(table["columns"], *table["rows"], strict=True)  # representations as rows: they are many
        lines += text_table({"title": table["title"], "columns": columns, "rows": rows})
    return "\n".join([*lines, "", *(f"- {line}" for line in result["conclusions"])])


def _beside(estimates: Mapping[str, Any], *only: str) -> str:
    """The embedding's figure with its interval, then the others'."""
    others = ", ".join(f"{label} {_value(estimates[label])}" for label in only or estimates if label != OURS)
    return f"{OURS} {words(estimates[OURS])}, {others}"


def _compare(estimates: Mapping[str, Any], better: int) -> str:
    """Against every representation: better, worse or not told apart; `better` is the sign of a better difference."""
    groups: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for label, estimate in estimates.items():
        if label != OURS:
            groups[_kind(estimate, better)].append(label)
    parts = []
    for kind, names in groups.items():
        plain = [n for n in names if n != RANDOM]
        if len(plain) > 1 and len(plain) == len(estimates) - 1 - (RANDOM in estimates):
            names = ["raw bands, blurred or not", *(n for n in names if n == RANDOM)]
        parts += [f"{kind} {' and '.join(names) if len(names) < 3 else ', '.join(names)}"] if names else []
    return f"The embedding is {'; '.join(parts)}."


def _verdict(aspects: Mapping[str, tuple[Mapping[str, Any], int]], other: str) -> str:
    """Against one representation, in every aspect."""
    groups: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for aspect, (estimates, better) in aspects.items():
        groups[_kind(estimates[other], better)].append(aspect)
    return ", ".join(
        f"{kind} {'the ' * (other == RANDOM)}{other} in {_and(names)}" for kind, names in groups.items() if names
    )


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _kind(estimate: Mapping[str, Any], better: int) -> str:
    """How the embedding stands to another; `better` is the sign of a better difference."""
    against = estimate["against"]
    if against is None or against["value"] is None or not against["resolved"]:
        return KINDS[2]
    return KINDS[0] if against["value"] * better > 0 else KINDS[1]


def _value(estimate: Mapping[str, Any]) -> str:
    return "none" if estimate["value"] is None else f"{estimate['value']:.2f}"
