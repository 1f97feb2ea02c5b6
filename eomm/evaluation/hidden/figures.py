"""Figures of hidden targets: skill by gap, errors by band, spectra and series of a few pixels."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from eomm.data.cube import CubeGroup
from eomm.evaluation.hidden.examples import Example
from eomm.evaluation.hidden.methods import LABELS, LINES
from eomm.evaluation.hidden.reconstruction_words import shown_gap
from eomm.evaluation.result import Figure
from eomm.page.style import (
    BLACK,
    BLUE,
    interval_line,
    legend_below,
    new_figure,
    time_axis,
)


def figures_of(found: Mapping[str, Any], group: CubeGroup) -> tuple[Figure, ...]:
    """Skill and bands, and where pixels were chosen their spectra and series, to be drawn.

    Args:
        found: numbers of the result.
        group: the cube's series of what is hidden.
    """
    gap = shown_gap(found["gaps"])
    made = [
        Figure(
            name="skill",
            title="Hidden-target skill",
            caption="All test dates are hidden from every method, with everything within the gap around the current "
            "target. Left: mean over dates of the mean over pixels and bands, with 95 % intervals over dates. Right: "
            "paired differences on the same targets; an interval that leaves 0 is resolved.",
            draw=partial(skill_figure, found),
        )
    ]
    if found["hidden"]["all"][str(gap)].methods and found["visible"]["all"].methods:
        made.append(
            Figure(
                name="bands",
                title="By band, and compression",
                caption="Left: hidden targets. Right: the centre is visible to the encoder, so that decoding it is "
                "compression; PCA of the bands stands beside it.",
                draw=partial(band_figure, found, gap),
            )
        )
    if found["examples"]:
        made += [
            Figure(
                name="spectra",
                title="Spectra of hidden targets",
                caption=f"Observed spectra of test dates and what {LABELS[found['main']]} and linear interpolation "
                f"give when everything within ±{gap} days is hidden, at pixels of different cover.",
                draw=partial(spectra_figure, found, gap, [b.wavelength_nm for b in group.modality.bands]),
            ),
            Figure(
                name="series",
                title="Series at the same pixels",
                caption="Grey: what other dates show; circles: test dates, hidden from all methods. Points within the "
                "gap around a test date were hidden from its prediction too.",
                draw=partial(series_figure, found, gap, group),
            ),
        ]
    return tuple(made)


def skill_figure(found: Mapping[str, Any]) -> Drawing:
    """Error by gap with intervals on the left, paired differences to each baseline on the right; a row per region."""
    regions = [r for r, by_gap in found["hidden"].items() if any(s.methods for s in by_gap.values())]
    figure = new_figure(9.6, 3.5 * len(regions) + 0.5)
    axes = figure.subplots(len(regions), 2, squeeze=False)
    for row, region in zip(axes, regions, strict=True):
        _skill(row, found, region)
    legend_below(figure, axes, 4)
    return figure


def _skill(axes: np.ndarray, found: Mapping[str, Any], region: str) -> None:
    main, unit = found["main"], found["unit"]
    shown = [m for m in LINES if m in found["methods"] and (m, main) != ("encoder", "fused")]
    scores = {g: s for g, s in found["hidden"][region].items() if s.methods}
    for i, method in enumerate(shown):
        shift = (i - (len(shown) - 1) / 2) * 0.09
        errors = [s.methods[method] for s in scores.values()]
        interval_line(axes[0], shift, errors, label=LABELS[method], **LINES[method])
        if method != main:
            interval_line(axes[1], shift, [s.difference[method] for s in scores.values()], **LINES[method])
    where = "all pixels" if region == "all" else f"{region}: columns {_columns(found)}"
    dates = next(iter(scores.values())).dates
    axes[0].set(title=f"Error of hidden targets, {where}, {dates} dates", ylabel=f"mean absolute error ({unit})")
    axes[0].set_ylim(bottom=0)
    minus = f"{LABELS[main].capitalize()} minus baseline (below 0: better)"
    axes[1].set(title=minus, ylabel=f"difference ({unit})")
    axes[1].axhline(0, color=BLUE, linewidth=1.6)
    for ax in axes:
        ax.set_xticks(range(len(scores)), [f"±{g}" for g in scores])
        ax.set_xlabel("days hidden around the target")
        ax.grid(False, axis="x")


def band_figure(found: Mapping[str, Any], gap: int) -> Drawing:
    """Error of each band: hidden targets on the left, the visible centre (compression) on the right."""
    bands, unit = found["bands"], found["unit"]
    best = found["best_interpolation"]
    hidden = found["hidden"]["all"][str(gap)].methods
    visible = found["visible"]["all"].methods
    figure = new_figure(9.6, 3.3)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys((found["main"], "linear", best)):
        left.plot(bands, hidden[name].per_band, label=LABELS[name], markersize=5, **LINES[name])
    left.set_title(f"Hidden targets, everything within ±{gap} days hidden")
    right.plot(bands, visible["encoder"].per_band, label="encoder and decoder", markersize=5, **LINES["encoder"])
    components = found["components"]["pca"]
    style = {"color": BLACK, "marker": "x", "linestyle": "--", "linewidth": 1.3}
    right.plot(bands, visible["pca"].per_band, label=f"PCA, {components} components", markersize=5, **style)
    right.set_title("Visible centre: compression, not skill")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        ax.set_ylabel(f"mean absolute error ({unit})")
        ax.legend()
    return figure


def spectra_figure(found: Mapping[str, Any], gap: int, wavelengths_nm: Sequence[float | None]) -> Drawing:
    """Observed and reconstructed spectra of hidden targets: a row per pixel, a column per date."""
    examples: Sequence[Example] = found["examples"]
    known = all(w is not None for w in wavelengths_nm)
    x = np.array(wavelengths_nm, float) if known else np.arange(len(wavelengths_nm))
    dates = _often_observed(examples)
    figure = new_figure(9.6, 1.95 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(dates), squeeze=False, sharex=True, sharey="row")
    for row, example in zip(axes, examples, strict=True):
        for ax, i in zip(row, dates, strict=True):
            ax.set_title(found["dates"][i] + (f", {example.about}" if ax is row[0] else ""), fontsize=8.5)
            _spectrum(ax, x, example, i, found["main"], gap)
        row[0].set_ylabel(found["unit"])
    for ax in axes[-1]:
        ax.set_xlabel("wavelength (nm)" if known else "band")
        if not known:
            ax.set_xticks(x, found["bands"])
    legend_below(figure, axes, 3)
    return figure


def _often_observed(examples: Sequence[Example]) -> list[int]:
    """Positions of up to three dates, spread over the nine at which most examples were observed."""
    common = np.sum([[spectrum is not None for spectrum in e.observed] for e in examples], axis=0)
    best = np.argsort(-common, kind="stable")[:9]
    return sorted(best[np.unique(np.linspace(0, len(best) - 1, 3).round().astype(int))].tolist())


def _spectrum(ax: Axes, x: np.ndarray, example: Example, date: int, main: str, gap: int) -> None:
    if example.observed[date] is None:
        ax.text(0.5, 0.5, "masked", transform=ax.transAxes, ha="center", color="#888888")
        return
    ax.plot(x, example.observed[date], "o-", color=BLACK, markersize=4, linewidth=1, label="observed")
    for name in (main, "linear"):
        predicted = example.predicted[str(gap)][name][date]
        ax.plot(x, predicted, markersize=4, label=f"{LABELS[name]}, hidden", **LINES[name])


def series_figure(found: Mapping[str, Any], gap: int, group: CubeGroup) -> Drawing:
    """Observed series and reconstructed hidden targets: a row per pixel, a column per band."""
    examples: Sequence[Example] = found["examples"]
    names = found["bands"]
    bands = [b for b in ("B04", "B08") if b in names] or names[:2]
    figure = new_figure(9.6, 1.9 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(bands), squeeze=False, sharex=True)
    for row, example in zip(axes, examples, strict=True):
        day, values = _observed(group, example.row, example.col)
        other = ~np.isin(day, found["days"])
        for ax, band in zip(row, bands, strict=True):
            c = names.index(band)
            x, y = day[other].astype("datetime64[D]"), values[other, c]
            ax.plot(x, y, ".-", color="#9a9a9a", linewidth=0.8, markersize=4, label="observed, other dates")
            _targets(ax, found, example, c, gap)
            ax.set_title(f"{band}, {example.about}" if ax is row[0] else band, fontsize=8.5)
            time_axis(ax)
        row[0].set_ylabel(found["unit"])
    legend_below(figure, axes, 4)
    return figure


def _targets(ax: Axes, found: Mapping[str, Any], example: Example, band: int, gap: int) -> None:
    """A pixel's test dates: what was observed, and what was said of them."""
    ok = [i for i, o in enumerate(example.observed) if o is not None]
    at = np.array(found["days"])[ok].astype("datetime64[D]")
    truth = [example.observed[i][band] for i in ok]
    ax.plot(at, truth, "o", color=BLACK, markerfacecolor="none", markersize=6.5, label="observed, hidden")
    for name in (found["main"], "linear"):
        guess = [example.predicted[str(gap)][name][i][band] for i in ok]
        style = LINES[name] | {"linestyle": "none", "label": f"{LABELS[name]}, hidden ±{gap} days"}
        ax.plot(at, guess, markersize=4.2, **style)


def _observed(group: CubeGroup, row: int, col: int) -> tuple[np.ndarray, np.ndarray]:
    """Days and physical values of all valid observations of a pixel."""
    values, valid = group.read(None, slice(row, row + 1), slice(col, col + 1))
    keep = valid[:, 0, 0]
    return group.day[keep], group.modality.decode(values[keep, 0, 0])


def _columns(found: Mapping[str, Any]) -> str:
    first, last = found["columns"]
    return f"{first} to {last - 1}"
