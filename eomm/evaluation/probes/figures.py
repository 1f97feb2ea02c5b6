"""Figures of probes: scores by method and share of labels; held-out predictions beside the labels."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch

from eomm.evaluation.features import MODES
from eomm.evaluation.probes.plan import LabelledSite
from eomm.evaluation.probes.scored import Score
from eomm.evaluation.probes.tables import Outcome
from eomm.evaluation.probes.words import TITLES, main_metric
from eomm.evaluation.result import Figure
from eomm.page.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, YELLOW, new_figure, scale_bar

PALETTE = (GREEN, ORANGE, SKY, RED, PURPLE, YELLOW, BLUE)
SHARES = ((SKY, "v"), (ORANGE, "s"), (BLUE, "o"))  # from few labels to all
SHOWN = ("model", "random", "pca_window", "bands")  # of methods, in maps


def figures_of(found: Mapping[str, Any], outcome: Outcome, sites: Sequence[LabelledSite]) -> tuple[Figure, ...]:
    """Scores, and for each mode a map of what was said of the first site, to be drawn."""
    metric = main_metric(found["classes"])
    groups, count = found["groups"], next(iter(found["facts"]["modes"].values()))["groups"]
    chance = " The dotted line is chance." if found["classes"] else ""
    probe = "linear" if "linear" in found["probes"] else next(iter(found["probes"]))
    scores = Figure(
        name="probe_scores",
        title=f"Probes by features and share of labels: {TITLES[metric]}",
        caption=f"{found['dataset']}: {TITLES[metric]} of predictions for {groups} held out whole; lines are 95 % "
        f"intervals over {count} {groups}, marks the mean over seeds.{chance}",
        draw=partial(score_figure, found, metric),
    )
    maps = [
        Figure(
            name=f"probe_map_{mode}",
            title=f"Predictions while held out, features {MODES[mode]}",
            caption=f"{sites[0].cube.site}: labels, the fold in which each of the {groups} was held out, and what the "
            f"{probe} probe on all other folds said of it (first seed). White has no label or lacks a feature.",
            draw=partial(map_figure, found, outcome, sites[0], mode, probe),
        )
        for mode in found["facts"]["modes"]
    ]
    return (scores, *maps)


def score_figure(result: Mapping[str, Any], metric: str) -> Drawing:
    """A panel per mode and probe: methods from top to bottom, a mark with its interval per share of labels."""
    modes, probes, methods = list(result["facts"]["modes"]), list(result["probes"]), list(result["methods"])
    scores = [s for s in result["scores"] if s.metric == metric]
    shares = sorted({s.share for s in scores})
    figure = new_figure(max(5.2, 3.6 * len(probes) + 1.4), (0.36 * len(methods) + 0.75) * len(modes) + 0.6)
    axes = figure.subplots(len(modes), len(probes), squeeze=False, sharex=True, sharey=True)
    for i, mode in enumerate(modes):
        for j, kind in enumerate(probes):
            own = [s for s in scores if (s.mode, s.probe) == (mode, kind)]
            _score_panel(axes[i, j], own, methods, shares, len(result["classes"]))
            axes[i, j].set_title(f"{kind}, {'one date' if mode == 'date' else mode}")
        for label in axes[i, 0].get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == result["main"] else "normal")
    for ax in axes[-1]:
        ax.set_xlabel(TITLES[metric] + (" (simulated)" if result["facts"]["simulated"] else ""))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(shares))
    return figure


def _score_panel(
    ax: Axes, scores: Sequence[Score], methods: Sequence[str], shares: Sequence[float], classes: int
) -> None:
    for k, share in enumerate(shares):
        colour, marker = SHARES[max(0, len(SHARES) - len(shares)) + min(k, len(SHARES) - 1)]
        found = {s.method: s for s in scores if s.share == share and s.value is not None}
        y = [methods.index(m) + (k - (len(shares) - 1) / 2) * 0.22 for m in found]
        x = np.array([s.value for s in found.values()])
        ends = np.array([s.interval or (s.value, s.value) for s in found.values()], float).reshape(-1, 2)
        label = "all labels" if share == 1 else f"{share:.0%} of labels"
        style: dict[str, Any] = {"marker": marker, "color": colour, "linestyle": "none", "label": label}
        ax.errorbar(x, y, xerr=np.abs(ends.T - x), markersize=4.5, elinewidth=1.1, **style)
    if classes:
        ax.axvline(1 / classes, color="#555555", linestyle=":", linewidth=1.2)
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.grid(False, axis="y")


def map_figure(result: Mapping[str, Any], outcome: Outcome, site: LabelledSite, mode: str, probe: str) -> Drawing:
    """Labels, folds and held-out predictions of up to four methods, side by side."""
    rows, share = outcome.rows[mode], max(s.share for s in outcome.scores)
    mine = rows.at[:, 0] == 0
    row, col = rows.at[mine, 1], rows.at[mine, 2]
    shape = site.labels.known.shape
    names = [n for n in (*SHOWN, *result["methods"]) if n in result["methods"]]
    names = list(dict.fromkeys(names))[:4]
    panels = {"labels": rows.y[mine], "fold that tests it": outcome.folds[mode][mine]}
    panels |= {n: outcome.guesses[mode, probe, share, n][mine] for n in names}
    columns = 3
    lines = -(-len(panels) // columns)
    side = 2.9
    figure = new_figure(side * columns, side * shape[0] / shape[1] * lines + 0.9)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    classes = outcome.classes
    values = panels["labels"]
    for ax, (name, content) in zip(axes, panels.items(), strict=False):
        picture = np.full(shape, np.nan)
        picture[row, col] = content
        if name == "fold that tests it":
            colours: Any = {"cmap": "Greys", "vmin": -2, "vmax": content.max() + 1}
        elif classes:
            colours = {"cmap": colours_of(len(classes)), "vmin": -0.5, "vmax": len(classes) - 0.5}
        else:
            colours = {"cmap": "viridis", "vmin": values.min(), "vmax": values.max()}
        shown = ax.imshow(picture, interpolation="nearest", **colours)
        title = name
        if name in names and classes:
            title = f"{name}: {np.mean(content == values):.0%} of pixels right"
        ax.set_title(title)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        if not classes and name == "labels":
            figure.colorbar(shown, ax=ax, shrink=0.8)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    scale_bar(axes[0], shape[1], site.cube.grid.gsd_m)
    if classes:
        cmap = colours_of(len(classes))
        handles = [Patch(color=cmap(i), label=c) for i, c in enumerate(classes)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(classes)))
    return figure


def colours_of(count: int) -> ListedColormap:
    """Colours that are told apart; beyond seven classes those of matplotlib's tab20, again and again."""
    if count <= len(PALETTE):
        return ListedColormap(list(PALETTE[:count]))
    base = matplotlib.colormaps["tab20"]
    return ListedColormap([base(i % 20) for i in range(count)])
