"""The figure of `evaluate fusion`: errors above, what the other modality brings below; a column per curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing

from eomm.errors import UsageError
from eomm.evaluation.hidden.fusion_words import AXES
from eomm.evaluation.result import Result
from eomm.page.style import BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, interval_line, legend_below, new_figure

ENDINGS = (".png", ".pdf", ".svg")
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE)
READOUT_LINES: Mapping[str, Mapping[str, Any]] = {
    "decoded": {"marker": "o", "linestyle": "-", "linewidth": 1.8},
    "probe": {"marker": "s", "linestyle": "--", "linewidth": 1.3},
}


def fusion_figure(result: Mapping[str, Any], *, simulated: bool) -> Drawing:
    """Errors and gains by share missing, age and gap; 95 % intervals over dates."""
    curves, unit, other = result["curves"]["all"], result["unit"], result["other"]
    lines = [(m, r) for m in result["models"] for r in READOUT_LINES]
    figure = new_figure(3.7 * len(curves) + 0.4, 6.4)
    axes = figure.subplots(2, len(curves), sharey="row", squeeze=False)
    for column, (kind, points) in enumerate(curves.items()):
        for i, (model, readout) in enumerate(lines):
            style = {**READOUT_LINES[readout], "color": COLOURS[list(result["models"]).index(model) % len(COLOURS)]}
            for row, what in enumerate(("error", "gain")):
                estimates = [p["models"][model][readout][what] for p in points]
                shift = (i - (len(lines) - 1) / 2) * 0.08
                interval_line(axes[row, column], shift, estimates, label=f"{model}, {readout}", **style)
        axes[1, column].axhline(0, color="black", linewidth=1)
        axes[1, column].set_xlabel(AXES[kind].format(**result).replace(", ", ",\n"))
        for ax in axes[:, column]:
            ax.set_xticks(range(len(points)), [f"{p['at']:g}" for p in points])
            ax.grid(False, axis="x")
    axes[0, 0].set_ylabel(f"mean absolute error ({unit})")
    axes[1, 0].set_ylabel(f"gain from {other} ({unit})")
    axes[0, 0].set_title("Error of hidden targets")
    axes[1, 0].set_title(f"Error without {other} minus error with it (above 0: it helps)")
    figure.suptitle(
        ("SIMULATED DATA. " if simulated else "")
        + f"{result['site']}, {result['modality']}, {len(result['days'])} hidden dates; bars: 95 % over dates",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    legend_below(figure, axes, 4)
    return figure


def check_ending(path: Path) -> None:
    """Raise UsageError for a file that cannot be drawn, before the work that it would show."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path}: cannot be drawn; its name must end in {', '.join(ENDINGS)}")


def save_figure(result: Result, path: Path) -> None:
    """Draw the figure into a file; its ending tells the format."""
    with matplotlib.rc_context(STYLE):
        fusion_figure(result.numbers, simulated=result.simulated).savefig(path)
