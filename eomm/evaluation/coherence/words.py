"""What coherence came to, in sentences and tables; every figure beside its baselines. Computes nothing."""

from collections.abc import Mapping
from typing import Any

from eomm.evaluation import say
from eomm.evaluation.coherence.space import MEASURES
from eomm.evaluation.representations import OURS, RANDOM, RAW
from eomm.evaluation.result import Difference, Table

MORAN = "Moran's I"


def conclude(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings, each beside raw bands, what blur alone does, and the random encoder."""
    fields, space, time, events = (found[k] for k in ("fields", "space", "time", "events"))
    apart, edges, moran = (space["measures"][m] for m in ("told apart", "edges kept", MORAN))
    near, response = time["near / far"], events["response / noise"]
    aspects = {"telling fields apart": apart, "repeating after 2 to 3 days": near}
    if events["events"]:
        aspects["responding to sudden drops of NDVI"] = response
    lines = [
        *(f"In {aspect} the embedding {_standing(of, RAW, RANDOM)}." for aspect, of in aspects.items()),
        f"Fields ({fields['count']}, from {fields['from']}; {space['dates']} dates): two pixels of neighbouring fields "
        "are farther apart than two of one field, equally far apart on the ground, with probability "
        f"{_beside(apart)}; 0.5 is chance. The embedding {_standing(apart)}.",
        f"Edges kept (1 is sharp; blur lowers it, noise raises it): {_beside(edges)}. Moran's I, which blur raises and "
        f"noise lowers: {_beside(moran)}.",
        f"Clear dates 2 to 3 days apart ({time['pairs']} pairs), as a share of the distance of dates 60 days or more "
        f"apart: {_beside(near)}; lower repeats better. The embedding {_standing(near)}.",
        "No sudden drop of NDVI that stays, such as harvest, was found; the response to it is not known.",
    ]
    if events["events"]:
        lines[-1] = (
            f"Sudden drops of NDVI that stay, such as harvest ({events['events']} in {events['pixels']} pixels on "
            f"{events['dates']} dates): the vector moves by so many times the distance of dates 2 to 3 days apart: "
            f"{_beside(response)}. The embedding {_standing(response)}. Of the change from a date before to a date "
            f"after, so much comes at once: {_beside(events['at once'])}. The drops were found in the raw bands, which "
            "have the advantage here."
        )
    if radar := found["radar"]:
        parts = ". ".join(f"{kind}: {_beside(of, 'raw dB', RANDOM)}" for kind, of in radar["ratio to far"].items())
        db = ", ".join(f"{k} {v:.1f} dB" for k, v in radar["first band, dB"].items() if v is not None)
        lines.append(
            f"Radar, distance as a share of that of the same orbit 60 days or more apart ({radar['orbits']} orbits): "
            f"{parts}. Median change of the first band: {db}."
        )
    seam = f"at most {found['seam']['largest']:.1e} {found['seam']['unit']}"
    lines.append(f"Seams: embedded in blocks of 16 px and in blocks of 256 px, vectors differ by {seam}.")
    return (*lines, "Coherence is not skill: what is coherent may still be wrong, and dates of one site are few.")


def measures_of(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Every measure by its title."""
    return {
        **{m: found["space"]["measures"][m] for m in MEASURES},
        "2-3 days / 60 days or more": found["time"]["near / far"],
        "response to events / noise": found["events"]["response / noise"],
        "of the change at once": found["events"]["at once"],
    }


def tables(found: Mapping[str, Any]) -> tuple[Table, ...]:
    """One of measures, one of differences, one of radar; representations are rows."""
    parts, unit = measures_of(found), "95 % intervals over dates or pairs of dates"
    made = [
        _table(f"Coherence by representation, with {unit}", parts, against=False),
        _table(
            "Embedding minus each of the others, paired; where an interval holds 0, nothing is told",
            parts,
            against=True,
        ),
    ]
    if radar := found["radar"]:
        title = "Radar: distance of a pixel to itself, as a share of that of the same orbit 60 days or more apart"
        made.append(_table(f"{title}; 95 % intervals over pairs of dates", radar["ratio to far"], against=False))
    return tuple(made)


def _table(title: str, parts: Mapping[str, Any], *, against: bool) -> Table:
    labels = [label for label in next(iter(parts.values())) if not (against and label == OURS)]
    rows = {k: [say.cell(of[k].against if against else of[k]) for of in parts.values()] for k in labels}
    return Table.of(title, parts, rows, main=OURS)


def _beside(estimates: Mapping[str, Any], *only: str) -> str:
    """The embedding's figure with its interval, then the others'."""
    others = ", ".join(f"{label} {say.value(estimates[label])}" for label in only or estimates if label != OURS)
    return f"{OURS} {say.figure(estimates[OURS])}, {others}"


def _standing(estimates: Mapping[str, Any], *only: str) -> str:
    """How the embedding stands to all other representations, or to some."""
    others: dict[str, Difference | None] = {}
    for label in only or estimates:
        if label != OURS:
            others[f"the {label}" if label == RANDOM else label] = estimates[label].against
    return say.standing(others, whole="" if only else "every other")
