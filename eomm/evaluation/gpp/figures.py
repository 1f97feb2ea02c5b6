"""Figures of `evaluate gpp`: series per site, predicted against measured, score by site."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from eomm.data.grid import to_date
from eomm.evaluation import say
from eomm.evaluation.gpp.climatology import year_of
from eomm.evaluation.gpp.tables import Predictions
from eomm.evaluation.result import Figure
from eomm.page.style import BLACK, BLUE, GREEN, ORANGE, RED, interval_dots, legend_below, new_figure, time_axis

COLOURS = (BLUE, RED, GREEN, ORANGE)
DASHES = ("-", "--", "-.", ":")
SERIES = 6  # sites shown
BEFORE_DAYS = 730  # of what is not tested, shown before what is
GAP_DAYS = 60  # lines do not cross longer gaps


def series_figure(predictions: Predictions, names: Sequence[str], sites: Sequence[str], unit: str) -> Drawing:
    """Measured and predicted fluxes through time, a row per site."""
    targets = predictions.targets
    figure = new_figure(9.6, 1.75 * len(sites) + 0.8)
    axes = figure.subplots(len(sites), 1, squeeze=False)[:, 0]
    for ax, site in zip(axes, sites, strict=True):
        rows = np.flatnonzero((targets.site == site) & targets.masks["all"])
        tested = targets.day[rows][np.isfinite(predictions.every(names[0])[rows])]
        rows = rows[targets.day[rows] >= tested.min(initial=targets.day.max()) - BEFORE_DAYS]
        when = [to_date(int(d)) for d in targets.day[rows]]
        ax.plot(when, targets.y[rows], ".", color=BLACK, markersize=4, label="measured")
        for name, colour, dash in zip(names, COLOURS, DASHES, strict=False):
            p = predictions.every(name)[rows]
            seen = np.flatnonzero(np.isfinite(p))
            for k, run in enumerate(np.split(seen, np.flatnonzero(np.diff(targets.day[rows][seen]) > GAP_DAYS) + 1)):
                style = {"linestyle": dash, "color": colour, "linewidth": 1.4, "label": name if k == 0 else None}
                ax.plot([when[i] for i in run], p[run], marker="." if len(run) == 1 else "", **style)
        ax.set_title(f"{site}, {year_of(targets.day[rows]).min()} to {year_of(targets.day[rows]).max()}")
        ax.set_ylabel(unit)
        time_axis(ax)
    legend_below(figure, axes, 4)
    return figure


def scatter_figure(result: Mapping[str, Any], predictions: Predictions, names: Sequence[str]) -> Drawing:
    """Predicted against measured, one panel per method, tested rows of the folds."""
    targets, unit = predictions.targets, result["unit"]
    figure = new_figure(3.4 * len(names), 3.6)
    axes = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        p = predictions.methods[name]
        rows = np.isfinite(p) & targets.masks["all"]
        ax.plot(
            targets.y[rows], p[rows], "o", color=BLUE, alpha=min(1.0, 60 / rows.sum() ** 0.75), markersize=3.5, mew=0
        )
        low, high = min(targets.y[rows].min(), p[rows].min()), max(targets.y[rows].max(), p[rows].max())
        ax.plot([low, high], [low, high], color=BLACK, linewidth=1)
        score = result["methods"].get(name)
        ax.set_title(f"{name}\nR2 {say.figure(score['all']['r2'])}" if score else name, fontsize=8.5)
        ax.set_xlabel(f"measured ({unit})")
        ax.set_box_aspect(1)
    axes[0].set_ylabel(f"predicted ({unit})")
    return figure


def site_figure(result: Mapping[str, Any], names: Sequence[str]) -> Drawing:
    """RMSE of every site with intervals over its months, sorted by the first method."""
    found = result["by_site"]
    order = sorted(found[names[0]], key=lambda s: -found[names[0]][s]["rmse"].value)
    figure = new_figure(9.6, 0.24 * len(order) + 1.4)
    ax = figure.subplots()
    for i, (name, colour, marker) in enumerate(zip(names, COLOURS, "os^D", strict=False)):
        place = np.arange(len(order)) + (i - (len(names) - 1) / 2) * 0.2
        known = [(y, found[name][site]["rmse"]) for y, site in zip(place, order, strict=True) if site in found[name]]
        style = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 1, "label": name}
        interval_dots(ax, [y for y, _ in known], [e for _, e in known], **style)
    ax.set_yticks(range(len(order)), [f"{s} ({found[names[0]][s]['rows']})" for s in order])
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.set_xlim(left=0)
    ax.set_xlabel(f"RMSE ({result['unit']}); lines: 95 % over the site's months; in brackets: days")
    ax.grid(False, axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def figures_of(
    found: Mapping[str, Any], predictions: Predictions, names: Sequence[str], *, simulated: bool
) -> tuple[Figure, ...]:
    """Series, scatter and error by site of up to three methods, to be drawn."""
    days = {s: r["rows"] for s, r in found["by_site"][names[0]].items()}
    sites = sorted(sorted(days, key=lambda s: (-days[s], s))[:SERIES])
    about = f"{'SIMULATED. ' if simulated else ''}{found['folds']['about'].capitalize()}. "
    shown, unit = names[:3], found["unit"]

    def figure(name: str, title: str, words: str, draw: Callable[[], Drawing]) -> Figure:
        def marked() -> Drawing:
            drawing = draw()
            if simulated:
                drawing.suptitle("SIMULATED DATA", fontsize=8, color=RED)
            return drawing

        return Figure(name=name, title=title, caption=about + words, draw=marked)

    most = f"The {len(sites)} sites with most days; every model predicts days it was not fitted on."
    points = "A point is a tower-day; R2 with 95 % intervals over groups of sites."
    errors = "Root mean squared error of each site; lines are 95 % intervals over its months."
    return (
        figure("series", "Fluxes through time", most, partial(series_figure, predictions, shown, sites, unit)),
        figure("scatter", "Predicted against measured", points, partial(scatter_figure, found, predictions, shown)),
        figure("sites", "Error by site", errors, partial(site_figure, found, shown)),
    )
