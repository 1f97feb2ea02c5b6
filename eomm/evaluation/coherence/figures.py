"""Figures of `evaluate coherence`: maps side by side, measures with intervals, fields and seams."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32
from matplotlib.figure import Figure as Drawing

from eomm.data.cube import CubeGroup
from eomm.data.grid import to_date
from eomm.evaluation.coherence.space import MEASURES
from eomm.evaluation.coherence.words import measures_of
from eomm.evaluation.features import Features
from eomm.evaluation.fields import borders
from eomm.evaluation.pictures import clearest_dates, components, true_colour
from eomm.evaluation.representations import BOTH, BOX, OURS, RANDOM, RAW, TIME
from eomm.evaluation.result import Figure
from eomm.page.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, bare, interval_dots, new_figure, scale_bar

COLOURS = {OURS: BLUE, RAW: BLACK, BOX: GREEN, TIME: RED, BOTH: PURPLE, RANDOM: ORANGE}
MAP_DATES = 4
MAP_PX = 300


@dataclass(frozen=True, kw_only=True)
class Views:
    """What the figures show.

    Attributes:
        numbers: of the result.
        simulated: whether the data are.
        features: by representation, scaled, at common dates and pixels.
        fields: numbers from 1; 0 for none.
        group: of the cube.
        seam: largest difference per pixel of an embedding made in blocks from one made whole, in standard deviations.
    """

    numbers: Mapping[str, Any]
    simulated: bool
    features: Mapping[str, Features]
    fields: Int32[np.ndarray, "y x"]
    group: CubeGroup
    seam: Float32[np.ndarray, "y x"]


def figures_of(views: Views) -> tuple[Figure, ...]:
    """Maps, measures and seams, to be drawn."""
    return (
        Figure(
            name="maps",
            title="The same dates seen in each way",
            caption="True colour with the borders of the fields, then three principal components as red, green and "
            "blue: of raw bands, of raw bands blurred in space, of a random encoder and of the embedding. One PCA and "
            "one stretch per row, so that colours compare along a row and not between rows. Grey: masked.",
            draw=partial(map_figure, views),
        ),
        Figure(
            name="measures",
            title="Coherence beside what blur alone does",
            caption="Every measure for the embedding, raw bands, the same blurred in space, in time and in both, and a "
            "random encoder. Bars: 95 % intervals over dates or pairs of dates. "
            + "; ".join(f"{m}: {words}" for m, words in MEASURES.items())
            + ".",
            draw=partial(measure_figure, views),
        ),
        Figure(
            name="seams",
            title="Fields, and seams between blocks",
            caption=f"Left: the fields, from {views.numbers['fields']['from']}. Right: the largest difference of an "
            "embedding made in blocks of 16 px from one made in blocks of 256 px, in standard deviations of a "
            "dimension; 1e-4 would not be seen in any map.",
            draw=partial(seam_figure, views),
        ),
    )


def map_figure(views: Views) -> Drawing:
    """True colour and three components of a few representations; a column per date."""
    own = views.features[OURS]
    dates = clearest_dates(own.valid, MAP_DATES)
    step = max(1, -(-max(views.fields.shape) // MAP_PX))
    days = own.days[dates]
    rows = {"true colour": true_colour(views.group, days, step)[0]}
    explained = {}
    for label in (RAW, BOX, RANDOM, OURS):
        values, valid = (x[dates][:, ::step, ::step] for x in (views.features[label].values, own.valid))
        rows[label], _, shares = components(values, valid)
        explained[label] = sum(shares)
    height, width = valid.shape[1:]
    figure = new_figure(2.0 * len(dates) + 0.6, len(rows) * 2.0 * height / width + 0.9)
    axes = figure.subplots(len(rows), len(dates), squeeze=False)
    for r, (label, pictures) in enumerate(rows.items()):
        for c, picture in enumerate(pictures):
            ax = axes[r, c]
            shown = np.where(borders(views.fields)[::step, ::step, None], (1, 1, 0), picture) if r == 0 else picture
            ax.imshow(shown, interpolation="nearest")
            bare(ax)
        share = f"\nPCA 1-3: {explained[label]:.0%}" if label in explained else ""
        axes[r, 0].set_ylabel(label + share)
    for c, day in enumerate(days):
        axes[0, c].set_title(f"{to_date(int(day)):%d %b %Y}")
    scale_bar(axes[0, 0], width, views.group.grid.gsd_m * step)
    _head(figure, views)
    return figure


def measure_figure(views: Views) -> Drawing:
    """A panel per measure, a dot per representation."""
    parts = measures_of(views.numbers)
    better = {"told apart": "higher", "between / within": "higher", "border / inside": "higher"}
    better |= {"2-3 days / 60 days or more": "lower", "response to events / noise": "higher"}
    biased = {"edges kept": "blur lowers it, noise raises it", "Moran's I": "blur raises it, noise lowers it"}
    figure = new_figure(9.6, 5.2)
    axes = figure.subplots(2, 4, squeeze=False)
    for ax, (measure, estimates) in zip(axes.ravel(), parts.items(), strict=False):
        for y, (label, e) in enumerate(estimates.items()):
            interval_dots(ax, [y], [e], color=COLOURS[label], marker="o", markersize=6, elinewidth=2)
        ax.set_ylim(len(estimates) - 0.5, -0.5)
        ax.set_yticks(range(len(estimates)), list(estimates) if ax in axes[:, 0] else [""] * len(estimates))
        says = f"{better[measure]} is better" if measure in better else biased.get(measure, "")
        ax.set_title(f"{measure}\n{says}", fontsize=9)
        ax.grid(False, axis="y")
    _head(figure, views)
    return figure


def seam_figure(views: Views) -> Drawing:
    """Fields on the left, differences between blocks and whole on the right."""
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2)
    order = np.random.default_rng(0).permutation(int(views.fields.max()) + 1) % 19 + 1
    shown = np.where(views.fields > 0, order[views.fields], 0)
    left.imshow(np.ma.masked_equal(shown, 0), cmap="tab20", vmin=1, vmax=20, interpolation="nearest")
    left.set_title(f"{views.numbers['fields']['count']} fields")
    drawn = right.imshow(views.seam, cmap="cividis", vmin=0, vmax=max(1e-4, float(views.seam.max())))
    right.set_title(f"blocks of 16 px minus whole, at most {views.seam.max():.1e}")
    figure.colorbar(drawn, ax=right, label="largest difference (standard deviations)", shrink=0.85)
    for ax in (left, right):
        bare(ax)
        scale_bar(ax, views.fields.shape[1], views.group.grid.gsd_m)
    _head(figure, views)
    return figure


def _head(figure: Drawing, views: Views) -> None:
    of = views.numbers
    text = f"{'SIMULATED DATA. ' if views.simulated else ''}{of['site']}, {of['modality']}, model {of['model']}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=10)
