"""Figures of hidden targets: skill by gap, errors by band, spectra and series of a few pixels.

Colours are those of Okabe and Ito (2008), told apart with every common colour vision; markers and dashes repeat them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from eomm.data.cube import CubeGroup
from eomm.data.grid import to_date
from eomm.evaluation.hidden.examples import Example
from eomm.evaluation.hidden.methods import LABELS
from eomm.evaluation.hidden.reconstruction_words import shown_gap
from eomm.evaluation.result import Figure
from eomm.page.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, interval_line, new_figure, time_axis

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


def figures_of(found: Mapping[str, Any], group: CubeGroup, points: Sequence[Example]) -> tuple[Figure, ...]:
    """Skill and bands, and where pixels were chosen their spectra and series, to be drawn.

    Args:
        found: numbers of the result.
        group: the cube's series of what is hidden.
        points: pixels that are shown.
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
    if points:
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
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
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
    axes[1].axhline(0, color=BLUE, linewidth=1.6)
    where = "all pixels" if region == "all" else f"{region}: columns {_columns(found)}"
    dates = next(iter(scores.values())).dates
    axes[0].set(title=f"Error of hidden targets, {where}, {dates} dates", ylabel=f"mean absolute error ({unit})")
    minus = f"{LABELS[main].capitalize()} minus baseline (below 0: better)"
    axes[1].set(title=minus, ylabel=f"difference ({unit})")
    axes[0].set_ylim(bottom=0)
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
    examples, main = found["examples"], found["main"]
    known = all(w is not None for w in wavelengths_nm)
    x = np.array(wavelengths_nm, float) if known else np.arange(len(wavelengths_nm))
    common = np.array([sum(e["observed"][i] is not None for e in examples) for i in range(len(found["days"]))])
    best = np.argsort(-common, kind="stable")[:9]
    dates = sorted(best[np.unique(np.linspace(0, len(best) - 1, 3).round().astype(int))])
    figure = new_figure(9.6, 1.95 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(dates), squeeze=False, sharex=True, sharey="row")
    for row, example in enumerate(examples):
        predicted = example["predicted"][str(gap)]
        for ax, i in zip(axes[row], dates, strict=True):
            observed = example["observed"][i]
            ax.set_title(found["dates"][i] + (f", {example['about']}" if ax is axes[row, 0] else ""), fontsize=8.5)
            if observed is None:
                ax.text(0.5, 0.5, "masked", transform=ax.transAxes, ha="center", color="#888888")
                continue
            ax.plot(x, observed, "o-", color=BLACK, markersize=4, linewidth=1, label="observed")
            for name in (main, "linear"):
                ax.plot(x, predicted[name][i], markersize=4, label=f"{LABELS[name]}, hidden", **LINES[name])
        axes[row, 0].set_ylabel(found["unit"])
    for ax in axes[-1]:
        ax.set_xlabel("wavelength (nm)" if known else "band")
        if not known:
            ax.set_xticks(x, found["bands"])
    figure.legend(*_first_legend(axes), loc="outside lower center", ncols=3)
    return figure


def series_figure(found: Mapping[str, Any], gap: int, group: CubeGroup) -> Drawing:
    """Observed series and reconstructed hidden targets: a row per pixel, a column per band."""
    examples, main, names = found["examples"], found["main"], found["bands"]
    bands = [b for b in ("B04", "B08") if b in names] or names[:2]
    when = [to_date(d) for d in found["days"]]
    figure = new_figure(9.6, 1.9 * len(examples) + 0.7)
    axes = figure.subplots(len(examples), len(bands), squeeze=False, sharex=True)
    for row, example in enumerate(examples):
        predicted = example["predicted"][str(gap)]
        day, values = _observed(group, example["row"], example["col"])
        for ax, band in zip(axes[row], bands, strict=True):
            c = names.index(band)
            seen = ~np.isin(day, found["days"])
            x, y = [to_date(d) for d in day[seen]], values[seen, c]
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
        axes[row, 0].set_ylabel(found["unit"])
    figure.legend(*_first_legend(axes), loc="outside lower center", ncols=4)
    return figure


def _observed(group: CubeGroup, row: int, col: int) -> tuple[np.ndarray, np.ndarray]:
    """Days and physical values of all valid observations of a pixel."""
    values, valid = group.read(None, slice(row, row + 1), slice(col, col + 1))
    keep = valid[:, 0, 0]
    return group.day[keep], group.modality.decode(values[keep, 0, 0])


def _first_legend(axes: np.ndarray) -> tuple[list[Any], list[Any]]:
    for ax in axes.ravel():
        handles, labels = ax.get_legend_handles_labels()
        if handles:
            return handles, labels
    return [], []


def _columns(found: Mapping[str, Any]) -> str:
    first, last = found["columns"]
    return f"{first} to {last - 1}"
