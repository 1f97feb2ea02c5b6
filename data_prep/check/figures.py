"""Figures of a cube's check: samples in, matplotlib figures out. What the page says about them is in check_page."""

from collections.abc import Mapping

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from data_prep.check.sample import Sample
from eomm.data.grid import to_date
from eomm.page.style import BLUE, ORANGE, RED, new_figure, scale_bar, stretch, time_axis
from eomm.store.fields import Json

QUICKLOOKS = 6
COLOURS = (("B04", "B03", "B02"), ("B11", "B08", "B04"))
"""Bands shown as red, green and blue: the first triple that a modality has."""


def valid_figure(samples: Mapping[str, Sample]) -> Figure:
    """The share of the site that is valid at each date, a row per modality; days that are not usable are hollow."""
    figure = new_figure(10.0, 1.2 + 1.15 * len(samples))
    axes = figure.subplots(len(samples), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, sample) in zip(axes, samples.items(), strict=True):
        dates = np.asarray(date2num([to_date(d) for d in sample.group.day]))
        ax.vlines(dates, 0, sample.fraction, color="#b8c4ce", linewidth=0.9)
        for usable, face in ((True, BLUE), (False, "white")):
            chosen = sample.group.usable == usable
            ax.plot(dates[chosen], sample.fraction[chosen], "o", color=face, markeredgecolor=BLUE, markersize=3.5)
        ax.set_ylim(-0.04, 1.06)
        ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        ax.set_title(f"{name}: {int(sample.group.usable.sum())} of {len(sample.group)} usable")
    axes[-1].xaxis_date()
    time_axis(axes[-1])
    return figure


def quicklook_figure(sample: Sample) -> Figure:
    """The clearest acquisitions of equally long spans, one stretch for all; grey is masked."""
    group, names = sample.group, sample.group.modality.band_names
    bands = next((c for c in COLOURS if set(c) <= set(names)), names[:1])
    shown = clearest(sample)
    pictures = [sample.physical(i)[..., [names.index(b) for b in bands]] for i in shown]
    pixels = np.concatenate([p[np.isfinite(p).all(-1)] for p in pictures])
    low, high = np.quantile(pixels, [0.02, 0.98], axis=0)
    height, width = sample.valid.shape[1:]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    side = 10.0 / 3
    figure = new_figure(side * columns + 0.2, rows * (side * height / width + 0.35) + 0.45)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, i, picture in zip(axes.flat, shown, pictures, strict=False):
        colours = stretch(picture, np.isfinite(picture).all(-1), low, high)
        ax.imshow(np.broadcast_to(colours, (*colours.shape[:2], 3)), interpolation="nearest")
        orbit, date = group.acquisitions[i].orbit, "" if group.modality.static else f"{to_date(group.day[i])}, "
        ax.set_title(f"{date}{f'{orbit}, ' if orbit else ''}{sample.fraction[i]:.0%} valid")
    scale_bar(axes[0, 0], width, group.grid.gsd_m)
    unit = group.modality.unit
    ranges = ", ".join(f"{b} {a:.3g} to {z:.3g}" for b, a, z in zip(bands, low, high, strict=True))
    figure.supxlabel(f"{' / '.join(bands)} ({unit}): {ranges}. Grey: masked.", fontsize=8, x=0.01, ha="left")
    return figure


def clearest(sample: Sample) -> list[int]:
    """Up to QUICKLOOKS usable acquisitions: the clearest of each of equally long spans of the series."""
    usable = np.flatnonzero(sample.group.usable)
    share = sample.valid.mean((1, 2))
    good = usable[share[usable] >= 0.8 * share[usable].max()]
    return [int(s[np.argmax(share[s])]) for s in np.array_split(good, min(QUICKLOOKS, len(good)))]


def histogram_figure(sample: Sample, bands: list[Json]) -> Figure:
    """Each band's values over all valid pixels; the median, and where that of land is expected."""
    count = len(bands)
    columns = min(5, count)
    rows = -(-count // columns)
    figure = new_figure(10.0, 1.75 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[count:]:
        ax.axis("off")
    chosen = sample.group.usable[:, None, None] & sample.valid
    for k, (ax, band) in enumerate(zip(axes.flat, bands, strict=False)):
        spec = sample.group.modality.bands[k]
        values = sample.values[..., k][chosen] * spec.scale + spec.offset
        ax.set_title(f"{band['band']} ({band['unit']})")
        ax.set_yticks([])
        if not values.size:
            continue
        low, high = np.quantile(values, [0.001, 0.999])
        ax.hist(np.clip(values, low, high), bins=60, color=BLUE, alpha=0.75)
        ax.axvline(float(np.median(values)), color=RED if band["finding"] else "black", linewidth=1.2)
        if band["expected_median"]:
            left, right = ax.get_xlim()
            ax.axvspan(*band["expected_median"], color=ORANGE, alpha=0.16, linewidth=0)
            ax.set_xlim(min(left, np.median(values)), max(right, np.median(values)))
    return figure
