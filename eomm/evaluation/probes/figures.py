"""Figures of probes: scores by method and share of labels; held-out predictions beside the labels."""

import itertools
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
from eomm.page.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    interval_dots,
    legend_below,
    new_figure,
    scale_bar,
)

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
    figure = new_figure(max(5.2, 3.6 * len(probes) + 1.4), (0.36 * len(methods) + 0.75) * len(modes) + 0.6)
    axes = figure.subplots(len(modes), len(probes), squeeze=False, sharex=True, sharey=True)
    for ax, (mode, kind) in zip(axes.ravel(), itertools.product(modes, probes), strict=True):
        _score_panel(ax, [s for s in scores if (s.mode, s.probe) == (mode, kind)], methods)
        ax.set_title(f"{kind}, {'one date' if mode == 'date' else mode}")
        if result["classes"]:
            ax.axvline(1 / len(result["classes"]), color="#555555", linestyle=":", linewidth=1.2)
    for label in (one for ax in axes[:, 0] for one in ax.get_yticklabels()):
        label.set_fontweight("bold" if label.get_text() == result["main"] else "normal")
    for ax in axes[-1]:
        ax.set_xlabel(TITLES[metric] + (" (simulated)" if result["facts"]["simulated"] else ""))
    legend_below(figure, axes, len({s.share for s in scores}))
    return figure


def _score_panel(ax: Axes, scores: Sequence[Score], methods: Sequence[str]) -> None:
    shares = sorted({s.share for s in scores})
    for k, (share, (colour, marker)) in enumerate(zip(shares, _marks(len(shares)), strict=True)):
        found = [s for s in scores if s.share == share]
        y = [methods.index(s.method) + (k - (len(shares) - 1) / 2) * 0.22 for s in found]
        label = "all labels" if share == 1 else f"{share:.0%} of labels"
        interval_dots(ax, y, found, marker=marker, color=colour, label=label, markersize=4.5, elinewidth=1.1)
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.grid(False, axis="y")


def _marks(count: int) -> Sequence[tuple[str, str]]:
    """Of SHARES the last ones; beyond them the last again."""
    return [SHARES[max(0, len(SHARES) - count) + min(k, len(SHARES) - 1)] for k in range(count)]


def map_figure(result: Mapping[str, Any], outcome: Outcome, site: LabelledSite, mode: str, probe: str) -> Drawing:
    """Labels, folds and held-out predictions of up to four methods, side by side."""
    rows, share = outcome.rows[mode], max(s.share for s in outcome.scores)
    mine, classes = rows.at[:, 0] == 0, outcome.classes
    at, truth, fold = rows.at[mine, 1:], rows.y[mine], outcome.folds[mode][mine]
    names = dict.fromkeys(n for n in (*SHOWN, *result["methods"]) if n in result["methods"])
    guesses = {n: outcome.guesses[mode, probe, share, n][mine] for n in list(names)[:4]}
    told: dict[str, Any] = {"cmap": "viridis", "vmin": truth.min(), "vmax": truth.max()}
    if classes:
        told = {"cmap": colours_of(len(classes)), "vmin": -0.5, "vmax": len(classes) - 0.5}
    panels = {"labels": (truth, told)}
    panels["fold that tests it"] = (fold, {"cmap": "Greys", "vmin": -2, "vmax": fold.max() + 1})
    for n, guess in guesses.items():
        right = f": {np.mean(guess == truth):.0%} of pixels right" if classes else ""
        panels[f"{n}{right}"] = (guess, told)
    columns, side, shape = 3, 2.9, site.labels.known.shape
    lines = -(-len(panels) // columns)
    figure = new_figure(side * columns, side * shape[0] / shape[1] * lines + 0.9)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, (content, colours)) in zip(axes, panels.items(), strict=False):
        picture = np.full(shape, np.nan)
        picture[at[:, 0], at[:, 1]] = content
        drawn = ax.imshow(picture, interpolation="nearest", **colours)
        ax.set(title=title, xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        if title == "labels" and not classes:
            figure.colorbar(drawn, ax=ax, shrink=0.8)
    scale_bar(axes[0], shape[1], site.cube.grid.gsd_m)
    if classes:
        handles = [Patch(color=told["cmap"](i), label=c) for i, c in enumerate(classes)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(classes)))
    return figure


def colours_of(count: int) -> ListedColormap:
    """Colours that are told apart; beyond seven classes those of matplotlib's tab20, again and again."""
    if count <= len(PALETTE):
        return ListedColormap(list(PALETTE[:count]))
    base = matplotlib.colormaps["tab20"]
    return ListedColormap([base(i % 20) for i in range(count)])
