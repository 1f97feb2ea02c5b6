"""The figures of a report: data in, matplotlib figures out. What the page says about them is in build.py.

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
from eomm.page.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, bare, map_panels, new_figure, scale_bar, time_axis

PANELS = 4  # maps in a row


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
            axes[row, i].imshow(picture[i], interpolation="nearest")
            bare(axes[row, i])
        axes[0, i].set_title(f"{when:%d %b %Y}")
    axes[0, 0].set_ylabel("true colour")
    axes[1, 0].set_ylabel("embedding, PCA 1-3")
    scale_bar(axes[0, 0], width, maps.pixel_m)
    shares = ", ".join(f"{s:.0%}" for s in maps.explained)
    text = f"{maps.stretch}. Embedding: one PCA for all maps; red, green, blue hold {shares} of its variance."
    figure.supxlabel(text + " Grey: masked.", fontsize=8, x=0.01, ha="left")
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
            check, label_of = name.startswith("validation/"), name.replace("_", " ")
            style: dict[str, Any] = {"color": palette[plain.index(name.removeprefix("validation/")) % len(palette)]}
            style |= {"linestyle": "--" if check else "-", "marker": "o" if check or len(steps) == 1 else None}
            ax.plot(steps, values, markersize=3, linewidth=1.4, label=label_of, **style)
        ax.set(title=title, xlabel="step", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(0, _robust_top(curves))
        if len(curves) > 1:
            ax.legend(fontsize=7.5)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return figure


@dataclass(frozen=True, kw_only=True)
class Pixel:
    """A pixel through time.

    Attributes:
        title: where it lies.
        index_name: of the index.
        index: days and values.
        day: of the vectors.
        components: of the maps' PCA.
        embedding: the vectors.
    """

    title: str
    index_name: str
    index: tuple[np.ndarray, np.ndarray]
    day: np.ndarray
    components: Float[np.ndarray, "t 3"]
    embedding: Float[np.ndarray, "t d"]


def pixel_figure(pixel: Pixel) -> Figure:
    """Through time at one pixel: the index, the maps' three components, and every dimension of the embedding."""
    figure = new_figure(9.6, 6.2)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1, 1.5))
    axes[0].plot([to_date(d) for d in pixel.index[0]], pixel.index[1], ".-", color=GREEN, linewidth=1)
    axes[0].set(title=pixel.title, ylabel=pixel.index_name)
    dates = [to_date(d) for d in pixel.day]
    for i, (colour, marker) in enumerate(zip((RED, GREEN, BLUE), "os^", strict=True)):
        axes[1].plot(
            dates, pixel.components[:, i], color=colour, marker=marker, markersize=3, linewidth=1, label=f"PCA {i + 1}"
        )
    axes[1].set_ylabel("component")
    axes[1].legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.22))
    spread = pixel.embedding.std(0)
    scaled = (pixel.embedding - pixel.embedding.mean(0)) / np.where(spread > 1e-9, spread, 1)
    order = np.argsort(np.argmax(scaled, axis=0), kind="stable")  # dimensions by when they peak
    number = date2num(dates)
    middle = (number[1:] + number[:-1]) / 2
    edges = np.concatenate([[number[0] - 3], middle, [number[-1] + 3]])
    rows = np.arange(pixel.embedding.shape[1] + 1)
    mesh = axes[2].pcolormesh(edges, rows, scaled[:, order].T, cmap="RdBu_r", vmin=-2.5, vmax=2.5, rasterized=True)
    axes[2].set_ylabel("dimension, by time of peak")
    axes[2].grid(False)
    time_axis(axes[2])
    figure.colorbar(mesh, ax=axes[2], label="standard deviations", pad=0.01)
    return figure


def count_figure(counts: Mapping[str, Float[np.ndarray, "y x"]], pixel_m: float) -> Figure:
    """Maps of how often each pixel was observed, one scale each."""
    figure = new_figure(3.5 * len(counts), 3.4)
    panels = {}
    for title, values in counts.items():
        low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
        # a map that hardly varies starts at 0, so that it does not look as if it did
        panels[title] = (values, low if high - low > 2 else 0.0, high)
    map_panels(figure, figure.subplots(1, len(counts), squeeze=False)[0], panels, pixel_m, shrink=0.85)
    return figure


def layer_figure(
    means: Mapping[str, Float[np.ndarray, "y x"]], flags: Mapping[str, Float[np.ndarray, "y x"]], pixel_m: float
) -> Figure:
    """What limits the vectors: means over dates of what is told of them, and the share of dates that carry each flag.

    Args:
        means: maps by title, each in colours of its own range.
        flags: maps by title, from 0 to 1.
        pixel_m: size of a map's pixel.
    """
    panels = {t: (v, float(np.nanmin(v)), float(np.nanmax(v))) for t, v in means.items()}
    panels |= {t: (v, 0.0, 1.0) for t, v in flags.items()}
    rows = -(-len(panels) // PANELS)
    across = -(-len(panels) // rows)
    figure = new_figure(min(9.6, 2.9 * across), 4.1 * rows)
    axes = figure.subplots(rows, across, squeeze=False).ravel()
    titled = {title.replace(": ", ":\n"): panel for title, panel in panels.items()}
    map_panels(figure, axes, titled, pixel_m, orientation="horizontal", shrink=0.9, pad=0.09)
    for ax in axes:
        ax.title.set_fontsize(8.5)  # three lines would meet the map above
    return figure


def _robust_top(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float | None:
    """A limit that the first steps of training may exceed, so that the rest can be read."""
    late = [v[len(v) // 10 :] for _, v in curves.values() if len(v)]
    top = max((float(np.max(v)) for v in late if len(v)), default=0.0)
    return top * 1.1 if top > 0 else None
