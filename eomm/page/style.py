"""How every figure of ours looks: colours, fonts, a scale bar, a time axis. What a figure shows is its package's own.

Colours are those of Okabe and Ito (2008), told apart with every common colour vision; markers and dashes repeat them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
MASKED = 0.78  # grey of what is not valid
STYLE: Any = {
    "text.parse_math": False,  # names from data may hold dollar signs
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


Panel = tuple[Float[np.ndarray, "y x"], float, float]  # a map, and the ends of its colours


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that lays itself out; no global state, no window."""
    return Figure(figsize=(width, height), layout="constrained", dpi=130)


def legend_below(figure: Figure, axes: np.ndarray, columns: int) -> None:
    """The legend of the first of some axes that has one, below all of them."""
    found = (ax.get_legend_handles_labels() for ax in axes.ravel())
    figure.legend(*next((f for f in found if f[0]), ([], [])), loc="outside lower center", ncols=columns)


def bare(ax: Axes) -> None:
    """A map's axes: no ticks, no frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def map_panels(figure: Figure, axes: np.ndarray, maps: Mapping[str, Panel], pixel_m: float, **bar: Any) -> None:
    """Maps in colours of a range each, with a scale bar and a colour bar; axes without a map are hidden.

    Args:
        figure: whose axes they are.
        axes: at least as many as maps.
        maps: numbers and the range of their colours, by title.
        pixel_m: size of a map's pixel.
        bar: options of the colour bars.
    """
    for ax in axes[len(maps) :]:
        ax.set_axis_off()
    for ax, (title, (values, low, high)) in zip(axes, maps.items(), strict=False):
        drawn = ax.imshow(values, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
        ax.set_title(title)
        bare(ax)
        colours = figure.colorbar(drawn, ax=ax, **bar)
        colours.locator = MaxNLocator(5, integer=high - low > 2)
        colours.update_ticks()
        scale_bar(ax, values.shape[1], pixel_m)


def stretch(
    values: Float[np.ndarray, "*n c"], valid: Bool[np.ndarray, "*n"], low: Any, high: Any
) -> Float32[np.ndarray, "*n c"]:
    """Values between `low` and `high` to 0..1, cut off beyond, grey where not valid."""
    scaled = np.clip((values - low) / np.maximum(np.asarray(high) - low, 1e-9), 0, 1)
    return np.where(valid[..., None], scaled, MASKED).astype(np.float32)


def scale_bar(ax: Axes, width_px: int, pixel_m: float) -> None:
    """A bar of a round length below the first map."""
    wanted = width_px * pixel_m / 3
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(m * power for m in (1, 2, 5) if m * power <= wanted)
    share = length / (width_px * pixel_m)
    ax.plot([0.02, 0.02 + share], [-0.045, -0.045], transform=ax.transAxes, color="black", linewidth=2, clip_on=False)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    ax.text(0.04 + share, -0.045, label, transform=ax.transAxes, va="center", fontsize=8)


class Value(Protocol):
    """A figure with its interval."""

    @property
    def value(self) -> float | None:
        """None where there is none."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high."""


def interval_line(ax: Axes, shift: float, estimates: Sequence[Value], **style: Any) -> None:
    """Values joined by a line, with 95 % intervals where there are any."""
    x = np.arange(len(estimates)) + shift
    y = np.array([e.value for e in estimates], float)
    ends = [e.interval or (m, m) for e, m in zip(estimates, y, strict=True)]
    below_above = np.abs(np.array(ends, float).T - y)
    ax.errorbar(x, y, yerr=below_above, markersize=4.5, elinewidth=0.9, capsize=0, **style)


def interval_dots(ax: Axes, y: Sequence[float], estimates: Sequence[Value], **style: Any) -> None:
    """Values as marks along x, each at its height, with 95 % intervals where there are any; nothing for none."""
    known = [(at, e) for at, e in zip(y, estimates, strict=True) if e.value is not None]
    x = np.array([e.value for _, e in known], float)
    ends = np.array([e.interval or (e.value, e.value) for _, e in known], float).reshape(-1, 2)
    ax.errorbar(x, [at for at, _ in known], xerr=np.abs(ends.T - x), linestyle="none", **style)


def time_axis(ax: Axes) -> None:
    """Short dates."""
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
