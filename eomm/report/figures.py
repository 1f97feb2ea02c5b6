"""The figures of a report: data in, matplotlib figures out. What the page says about them is in report.py.

Colours are those of Okabe and Ito (2008), told apart with every common colour vision; markers and dashes repeat them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eomm.data.grid import to_date
from eomm.evaluation.hidden.methods import LABELS
from eomm.page.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    interval_line,
    new_figure,
    scale_bar,
    time_axis,
)

PANELS = 4  # maps in a row
LINES: dict[str, dict[str, Any]] = {
    "encoder": {"color": BLUE, "marker": "o", "linewidth": 2.2, "zorder": 5},
    "fused": {"color": BLUE, "marker": "o", "linewidth": 2.2, "zorder": 5},
    "fused_alone": {"color": SKY, "marker": "o", "linewidth": 1.4, "zorder": 4},
    "nearest": {"color": "#888888", "marker": "D", "linestyle": ":", "linewidth": 1.3},
    "linear": {"color": RED, "marker": "s", "linestyle": "--", "linewidth": 1.3},
    "gaussian_12": {"color": GREEN, "marker": "^", "linestyle": "-.", "linewidth": 1.3},
    "gaussian_25": {"color": ORANGE, "marker": "v", "linestyle": "-.", "linewidth": 1.3},
    "harmonic": {"color": BLACK, "marker": "X", "linestyle": (0, (5, 1)), "linewidth": 1.3},
    "ridge_pca": {"color": PURPLE, "marker": "P", "linestyle": (0, (1, 1)), "linewidth": 1.3},
}


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What the map figure shows, [date, y, x, …]; colours in 0..1, masked pixels already grey.

    Attributes:
        dates: shown.
        true_colour: from the reference modality.
        embedding: the first three components as red, green and blue.
        explained: share of the embeddings' variance in each of the three.
        stretch: text of the true colour's range.
        pixel_m: size of a shown pixel.
    """

    dates: Sequence[date]
    true_colour: Float32[np.ndarray, "d y x 3"]
    embedding: Float32[np.ndarray, "d y x 3"]
    explained: Sequence[float]
    stretch: str
    pixel_m: float


def map_figure(maps: Maps) -> Figure:
    """True colour above, embedding below, one column per date."""
    count = len(maps.dates)
    height, width = maps.true_colour.shape[1:3]
    figure = new_figure(2.05 * count + 0.5, 2 * 2.05 * height / width + 0.75)
    axes = figure.subplots(2, count, squeeze=False)
    for i, when in enumerate(maps.dates):
        for row, picture in enumerate((maps.true_colour, maps.embedding)):
            ax = axes[row, i]
            ax.imshow(picture[i], interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        axes[0, i].set_title(f"{when:%d %b %Y}")
    axes[0, 0].set_ylabel("true colour")
    axes[1, 0].set_ylabel("embedding, PCA 1-3")
    scale_bar(axes[0, 0], width, maps.pixel_m)
    shares = ", ".join(f"{s:.0%}" for s in maps.explained)
    text = f"{maps.stretch}. Embedding: one PCA for all maps; red, green, blue hold {shares} of its variance."
    figure.supxlabel(text + " Grey: masked.", fontsize=8, x=0.01, ha="left")
    return figure


def skill_figure(evaluation: Mapping[str, Any]) -> Figure:
    """Error by gap with intervals on the left, paired differences to each baseline on the right; a row per region."""
    regions = [r for r, by_gap in evaluation["hidden"].items() if any(s["methods"] for s in by_gap.values())]
    main, unit = evaluation["main"], evaluation["unit"]
    shown = [m for m in LINES if m in evaluation["methods"] and not (m == "encoder" and main == "fused")]
    figure = new_figure(9.6, 3.5 * len(regions) + 0.5)
    axes = figure.subplots(len(regions), 2, squeeze=False)
    for row, region in enumerate(regions):
        gaps = [g for g in evaluation["gaps"] if evaluation["hidden"][region][str(g)]["methods"]]
        scores = [evaluation["hidden"][region][str(g)] for g in gaps]
        for i, method in enumerate(shown):
            shift = (i - (len(shown) - 1) / 2) * 0.09
            estimates = [s["methods"][method] for s in scores]
            interval_line(axes[row, 0], shift, estimates, label=LABELS[method], **LINES[method])
            if method != main:
                interval_line(axes[row, 1], shift, [s["difference"][method] for s in scores], **LINES[method])
        axes[row, 1].axhline(0, color=BLUE, linewidth=1.6)
        where = "all pixels" if region == "all" else f"{region}: columns {_columns(evaluation)}"
        dates = scores[0]["dates"]
        axes[row, 0].set_title(f"Error of hidden targets, {where}, {dates} dates")
        axes[row, 1].set_title(f"{LABELS[main].capitalize()} minus baseline (below 0: better)")
        axes[row, 0].set_ylabel(f"mean absolute error ({unit})")
        axes[row, 1].set_ylabel(f"difference ({unit})")
        axes[row, 0].set_ylim(bottom=0)
        for ax in axes[row]:
            ax.set_xticks(range(len(gaps)), [f"±{g}" for g in gaps])
            ax.set_xlabel("days hidden around the target")
            ax.grid(False, axis="x")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def band_figure(evaluation: Mapping[str, Any], gap: int) -> Figure:
    """Error of each band: hidden targets on the left, the visible centre (compression) on the right."""
    bands, unit = evaluation["bands"], evaluation["unit"]
    best = evaluation["verdict"]["best_interpolation"]
    hidden = evaluation["hidden"]["all"][str(gap)]["methods"]
    visible = evaluation["visible"]["all"]["methods"]
    figure = new_figure(9.6, 3.3)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys((evaluation["main"], "linear", best)):
        left.plot(bands, hidden[name]["per_band"], label=LABELS[name], markersize=5, **LINES[name])
    left.set_title(f"Hidden targets, everything within ±{gap} days hidden")
    right.plot(bands, visible["encoder"]["per_band"], label="encoder and decoder", markersize=5, **LINES["encoder"])
    components = evaluation["components"]["pca"]
    style = {"color": BLACK, "marker": "x", "linestyle": "--", "linewidth": 1.3}
    right.plot(bands, visible["pca"]["per_band"], label=f"PCA, {components} components", markersize=5, **style)
    right.set_title("Visible centre: compression, not skill")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        ax.set_ylabel(f"mean absolute error ({unit})")
        ax.legend()
    return figure


def spectra_figure(evaluation: Mapping[str, Any], gap: int, wavelengths_nm: Sequence[float | None]) -> Figure:
    """Observed and reconstructed spectra of hidden targets: a row per pixel, a column per date."""
    examples, main = evaluation["examples"], evaluation["main"]
    known = all(w is not None for w in wavelengths_nm)
    x = np.array(wavelengths_nm, float) if known else np.arange(len(wavelengths_nm))
    common = np.array([sum(e["observed"][i] is not None for e in examples) for i in range(len(evaluation["days"]))])
    best = np.argsort(-common, kind="stable")[:9]
    dates = sorted(best[np.unique(np.linspace(0, len(best) - 1, 3).round().astype(int))])
    figure = new_figure(9.6, 1.95 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(dates), squeeze=False, sharex=True, sharey="row")
    for row, example in enumerate(examples):
        predicted = example["predicted"][str(gap)]
        for ax, i in zip(axes[row], dates, strict=True):
            observed = example["observed"][i]
            ax.set_title(evaluation["dates"][i] + (f", {example['about']}" if ax is axes[row, 0] else ""), fontsize=8.5)
            if observed is None:
                ax.text(0.5, 0.5, "masked", transform=ax.transAxes, ha="center", color="#888888")
                continue
            ax.plot(x, observed, "o-", color=BLACK, markersize=4, linewidth=1, label="observed")
            for name in (main, "linear"):
                ax.plot(x, predicted[name][i], markersize=4, label=f"{LABELS[name]}, hidden", **LINES[name])
        axes[row, 0].set_ylabel(evaluation["unit"])
    for ax in axes[-1]:
        ax.set_xlabel("wavelength (nm)" if known else "band")
        if not known:
            ax.set_xticks(x, evaluation["bands"])
    figure.legend(*_first_legend(axes), loc="outside lower center", ncols=3)
    return figure


@dataclass(frozen=True, kw_only=True)
class PixelSeries:
    """All valid observations of one pixel: days and values [time, band]."""

    day: np.ndarray
    values: Float32[np.ndarray, "t c"]


def series_figure(
    evaluation: Mapping[str, Any], gap: int, series: Sequence[PixelSeries], bands: Sequence[str]
) -> Figure:
    """Observed series and reconstructed hidden targets: a row per pixel, a column per band."""
    examples, main, names = evaluation["examples"], evaluation["main"], evaluation["bands"]
    when = [to_date(d) for d in evaluation["days"]]
    figure = new_figure(9.6, 1.9 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(bands), squeeze=False, sharex=True)
    for row, (example, pixel) in enumerate(zip(examples, series, strict=True)):
        predicted = example["predicted"][str(gap)]
        for ax, band in zip(axes[row], bands, strict=True):
            c = names.index(band)
            seen = ~np.isin(pixel.day, evaluation["days"])
            x, y = [to_date(d) for d in pixel.day[seen]], pixel.values[seen, c]
            ax.plot(x, y, ".-", color="#9a9a9a", linewidth=0.8, markersize=4, label="observed, other dates")
            ok = [i for i, o in enumerate(example["observed"]) if o is not None]
            at = [when[i] for i in ok]
            truth = [example["observed"][i][c] for i in ok]
            ax.plot(at, truth, "o", color=BLACK, markerfacecolor="none", markersize=6.5, label="observed, hidden")
            for name in (main, "linear"):
                style = LINES[name] | {"linestyle": "none"}
                guess = [predicted[name][i][c] for i in ok]
                ax.plot(at, guess, markersize=4.2, label=f"{LABELS[name]}, hidden ±{gap} days", **style)
            ax.set_title(f"{band}, {example['about']}" if ax is axes[row, 0] else band, fontsize=8.5)
            time_axis(ax)
        axes[row, 0].set_ylabel(evaluation["unit"])
    figure.legend(*_first_legend(axes), loc="outside lower center", ncols=4)
    return figure


def training_figure(panels: Sequence[tuple[str, str, Mapping[str, tuple[np.ndarray, np.ndarray]]]]) -> Figure:
    """Curves of (title, y label, {name: (steps, values)}); validation dashed."""
    columns = min(len(panels), 2 if len(panels) in (2, 4) else 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(9.6, 2.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    palette = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
    for ax, (title, label, curves) in zip(axes, panels, strict=False):
        plain = sorted({name.removeprefix("validation/") for name in curves})
        for name, (steps, values) in sorted(curves.items()):
            colour = palette[plain.index(name.removeprefix("validation/")) % len(palette)]
            check = name.startswith("validation/")
            ax.plot(
                steps,
                values,
                color=colour,
                linestyle="--" if check else "-",
                marker="o" if check or len(steps) == 1 else None,
                markersize=3,
                linewidth=1.4,
                label=name.replace("_", " "),
            )
        ax.set(title=title, xlabel="step", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(0, _robust_top(curves))
        if len(curves) > 1:
            ax.legend(fontsize=7.5)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return figure


def pixel_figure(
    *,
    title: str,
    index_name: str,
    index: PixelSeries,
    day: np.ndarray,
    components: Float[np.ndarray, "t 3"],
    embedding: Float[np.ndarray, "t d"],
) -> Figure:
    """Through time at one pixel: the index, the maps' three components, and every dimension of the embedding."""
    figure = new_figure(9.6, 6.2)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1, 1.5))
    axes[0].plot([to_date(d) for d in index.day], index.values[:, 0], ".-", color=GREEN, linewidth=1)
    axes[0].set(title=title, ylabel=index_name)
    dates = [to_date(d) for d in day]
    for i, (colour, marker) in enumerate(zip((RED, GREEN, BLUE), "os^", strict=True)):
        axes[1].plot(
            dates, components[:, i], color=colour, marker=marker, markersize=3, linewidth=1, label=f"PCA {i + 1}"
        )
    axes[1].set_ylabel("component")
    axes[1].legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.22))
    spread = embedding.std(0)
    scaled = (embedding - embedding.mean(0)) / np.where(spread > 1e-9, spread, 1)
    order = np.argsort(np.argmax(scaled, axis=0), kind="stable")  # dimensions by when they peak
    number = date2num(dates)
    middle = (number[1:] + number[:-1]) / 2
    edges = np.concatenate([[number[0] - 3], middle, [number[-1] + 3]])
    rows = np.arange(embedding.shape[1] + 1)
    mesh = axes[2].pcolormesh(edges, rows, scaled[:, order].T, cmap="RdBu_r", vmin=-2.5, vmax=2.5, rasterized=True)
    axes[2].set_ylabel("dimension, by time of peak")
    axes[2].grid(False)
    time_axis(axes[2])
    figure.colorbar(mesh, ax=axes[2], label="standard deviations", pad=0.01)
    return figure


def count_figure(counts: Mapping[str, Float[np.ndarray, "y x"]], pixel_m: float) -> Figure:
    """Maps of how often each pixel was observed, one scale each."""
    figure = new_figure(3.5 * len(counts), 3.4)
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    for ax, (title, values) in zip(axes, counts.items(), strict=True):
        low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
        # a map that hardly varies starts at 0, so that it does not look as if it did
        drawn = ax.imshow(values, cmap="cividis", vmin=low if high - low > 2 else 0, vmax=high, interpolation="nearest")
        ax.set_title(title)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(drawn, ax=ax, shrink=0.85)
        bar.locator = MaxNLocator(6, integer=True)
        bar.update_ticks()
        scale_bar(ax, values.shape[1], pixel_m)
    return figure


def layer_figure(means: Mapping[str, Any], flags: Mapping[str, Any], pixel_m: float) -> Figure:
    """What limits the vectors: means over dates of what is told of them, and the share of dates that carry each flag.

    Args:
        means: maps [y, x] by title, each in colours of its own range.
        flags: maps by title, from 0 to 1.
        pixel_m: size of a map's pixel.
    """
    panels = {**means, **flags}
    rows = -(-len(panels) // PANELS)
    across = -(-len(panels) // rows)
    figure = new_figure(min(9.6, 2.9 * across), 4.1 * rows)
    axes = figure.subplots(rows, across, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, values) in zip(axes, panels.items(), strict=False):
        low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if title in means else (0.0, 1.0)
        drawn = ax.imshow(values, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
        ax.set_title(title.replace(": ", ":\n"), fontsize=8.5)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        figure.colorbar(drawn, ax=ax, orientation="horizontal", shrink=0.9, pad=0.09).locator = MaxNLocator(4)
        scale_bar(ax, values.shape[1], pixel_m)
    return figure


def _robust_top(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float | None:
    """A limit that the first steps of training may exceed, so that the rest can be read."""
    late = [v[len(v) // 10 :] for _, v in curves.values() if len(v)]
    top = max((float(np.max(v)) for v in late if len(v)), default=0.0)
    return top * 1.1 if top > 0 else None


def _first_legend(axes: np.ndarray) -> tuple[list[Any], list[Any]]:
    for ax in axes.ravel():
        handles, labels = ax.get_legend_handles_labels()
        if handles:
            return handles, labels
    return [], []


def _columns(evaluation: Mapping[str, Any]) -> str:
    first, last = evaluation["columns"]
    return f"{first} to {last - 1}"
