"""What another sensor brought, in sentences and tables. Computes no score."""

from collections.abc import Mapping
from typing import Any

AXES = {
    "share": "share of {other} missing, {modality} hidden within {gap} days",
    "age": "nothing of {other} nearer than so many days, {modality} hidden within {gap} days",
    "gap": "days of {modality} hidden on both sides",
}
READOUT = {"decoded": "decoded", "probe": "under a linear probe"}


def with_words(result: dict[str, Any]) -> dict[str, Any]:
    """The result with what every evaluation has for a report."""
    shared = {"kind": "fusion", "conclusions": conclude(result), "tables": tables(result)}
    return result | shared | {"figures": [], "commands": []}


def conclude(result: Mapping[str, Any]) -> list[str]:
    """The gain of each model at the shown gap, and whether it is resolved."""
    other, unit = result["other"], result["unit"]
    lines = []
    for name in result["models"]:
        points = result["curves"]["all"]["gap"]
        for point in (points[0], points[-1]) if len(points) > 1 else points:
            parts = []
            for readout, words in READOUT.items():
                found = point["models"][name][readout]
                parts.append(
                    f"{words} the error is {_number(found['error'])} with {other} and {_number(found['without'])} "
                    f"without; gain {_signed(found['gain'])}"
                )
            lines.append(
                f"{name}, {result['modality']} hidden within ±{point['gap_days']} days on {len(result['days'])} dates "
                f"({unit}): {'; '.join(parts)}. Above 0 it helps; an interval that holds 0 tells nothing."
            )
    seen = {True: "Training has not seen the test dates.", False: "Training HAS seen the test dates."}
    return [*lines, seen.get(result["dates_unseen"], "Unknown whether training has seen the test dates.")]


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table per region and curve."""
    made = []
    for region, curves in result["curves"].items():
        for kind, points in curves.items():
            rows = []
            for point in points:
                for name, model in point["models"].items():
                    cells = [_cell(model[r][what], what) for r in READOUT for what in ("error", "without", "gain")]
                    rows.append([f"{point['at']:g}, {name}", *cells])
            heads = [f"{r}: {what}" for r in READOUT for what in ("error", f"without {result['other']}", "gain")]
            made.append(
                {
                    "title": f"{'All pixels' if region == 'all' else region.capitalize()}; "
                    f"{AXES[kind].format(**result)} ({result['unit']}, 95 % intervals over dates)",
                    "columns": ["", *heads],
                    "rows": rows,
                }
            )
    return made


def _cell(estimate: Mapping[str, Any], what: str) -> str:
    if estimate["mean"] is None:
        return "none"
    form = "{:+.4f}" if what == "gain" else "{:.4f}"
    interval = " to ".join(map(form.format, estimate["interval"])) if estimate["interval"] else ""
    return "\n".join(filter(None, (form.format(estimate["mean"]), interval)))


def _number(estimate: Mapping[str, Any]) -> str:
    return "unknown" if estimate["mean"] is None else f"{estimate['mean']:.4f}"


def _signed(estimate: Mapping[str, Any]) -> str:
    if estimate["mean"] is None:
        return "none"
    if estimate["interval"] is None:
        return f"{estimate['mean']:+.4f} (too few dates for an interval)"
    low, high = estimate["interval"]
    return f"{estimate['mean']:+.4f} ({low:+.4f} to {high:+.4f})"
