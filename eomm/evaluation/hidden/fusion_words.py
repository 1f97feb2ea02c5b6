"""What another sensor brought, in sentences and tables. Computes no score."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.evaluation import say
from eomm.evaluation.hidden.reconstruction_words import FEW
from eomm.evaluation.result import Table

AXES = {
    "share": "share of {other} missing, {modality} hidden within {gap} days",
    "age": "nothing of {other} nearer than so many days, {modality} hidden within {gap} days",
    "gap": "days of {modality} hidden on both sides",
}
READOUT = {"decoded": "decoded", "probe": "under a linear probe"}


def conclude(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The gain of each model at the narrowest and the widest gap."""
    other, unit, lines = found["other"], found["unit"], []
    points = found["curves"]["all"]["gap"]
    for name in found["models"]:
        for point in (points[0], points[-1]) if len(points) > 1 else points:
            parts = []
            for readout, words in READOUT.items():
                own = point["models"][name][readout]
                parts.append(
                    f"{words} the error is {say.value(own['error'], 4)} with {other} and "
                    f"{say.value(own['without'], 4)} without; gain {say.figure(own['gain'], 4, few=FEW)}"
                )
            lines.append(
                f"{name}, {found['modality']} hidden within ±{point['gap_days']} days on {len(found['days'])} dates "
                f"({unit}): {'; '.join(parts)}. Above 0 it helps; an interval that holds 0 tells nothing."
            )
    return (*lines, say.seen(found["dates_unseen"]))


def tables(found: Mapping[str, Any]) -> tuple[Table, ...]:
    """Of each region and curve one of errors and gains, and with several models one of their differences."""
    made = []
    for region, curves in found["curves"].items():
        for kind, points in curves.items():
            axis = f"{'All pixels' if region == 'all' else region.capitalize()}; {AXES[kind].format(**found)}"
            made += _tables_of(found, points, f"{axis} ({found['unit']}, 95 % intervals over dates)")
    return tuple(made)


def _tables_of(found: Mapping[str, Any], points: Sequence[Mapping[str, Any]], title: str) -> list[Table]:
    first, *others = found["models"]
    whats = {"error": "error", "without": f"without {found['other']}", "gain": "gain"}
    rows = {
        f"{p['at']:g}, {name}": (
            *(_share(model["there"]), _days(model["days_away"])),
            *(say.cell(model[r][what], 4) for r in READOUT for what in whats),
        )
        for p in points
        for name, model in p["models"].items()
    }
    heads = (f"{r}: {what}" for r in READOUT for what in whats.values())
    made = [Table.of(title, (f"{found['other']} there", "days away", *heads), rows)]
    for name in others:
        gaps = {f"{p['at']:g}": [say.cell(p["models"][name][r]["to_first"], 4) for r in READOUT] for p in points}
        made.append(Table.of(f"{name} minus {first}, below 0 it is better: {title}", READOUT, gaps))
    return made


def _share(there: float | None) -> str:
    return "-" if there is None else f"{there:.0%}"


def _days(away: float | None) -> str:
    return "-" if away is None else f"{away:.1f}"
