"""Figures of `evaluate coherence`: maps side by side, measures with intervals, fields and seams."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from eomm.data.grid import to_date
from eomm.evaluation.baselines import fit_pca
from eomm.evaluation.coherence.run import Coherence
from eomm.evaluation.coherence.space import MEASURES
from eomm.evaluation.features import Features
from eomm.evaluation.fields import borders
from eomm.evaluation.representations import BOTH, BOX, OURS, RANDOM, RAW, TIME
from eomm.page.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, new_figure, scale_bar, stretch
from eomm.store.folders import new_directory

COLOURS = {OURS: BLUE, RAW: BLACK, BOX: GREEN, TIME: RED, BOTH: PURPLE, RANDOM: ORANGE}
MAP_DATES = 4
MAP_PX = 300
PCA_ROWS = 50_000


def write_figures(found: Coherence, folder: Path) -> list[dict[str, str]]:
    """Draw into a folder; what a result's `figures` hold, `png` relative to the folder's parent."""
    simulated = found.result["simulated"]
    drawn = {
        "maps": (
            map_figure(found, simulated),
            "The same dates seen in each way",
            "True colour with the borders of the fields, then three principal components as red, green and blue: of "
            "raw bands, of raw bands blurred in space, of a random encoder and of the embedding. One PCA and one "
            "stretch per row, so that colours compare along a row and not between rows. Grey: masked.",
        ),
        "measures": (
            measure_figure(found.result, simulated),
            "Coherence beside what blur alone does",
            "Every measure for the embedding, raw bands, the same blurred in space, in time and in both, and a random "
            "encoder. Bars: 95 % intervals over dates or pairs of dates. "
            + "; ".join(f"{m}: {words}" for m, words in MEASURES.items())
            + ".",
        ),
        "seams": (
            seam_figure(found, simulated),
            "Fields, and seams between blocks",
            f"Left: the fields, from {found.result['fields']['from']}. Right: the largest difference of an embedding "
            "made in blocks of 16 px from one made in blocks of 256 px, in standard deviations of a dimension; 1e-4 "
            "would not be seen in any map.",
        ),
    }
    figures = []
    with new_directory(folder, kind="figures", overwrite=True) as partial:
        for name, (figure, title, caption) in drawn.items():
            with matplotlib.rc_context(STYLE):
                figure.savefig(partial / f"{name}.png", dpi=130)
            figures.append({"title": title, "caption": caption, "png": f"{folder.name}/{name}.png"})
    return figures


def map_figure(found: Coherence, simulated: bool) -> Figure:
    """True colour and three components of a few representations; a column per date."""
    dates = choose_dates(found.features[OURS])
    step = max(1, -(-max(found.fields.shape) // MAP_PX))
    valid = found.features[OURS].valid[dates][:, ::step, ::step]
    rows = {"true colour": _true_colour(found, dates)[:, ::step, ::step]}
    explained = {}
    for label in (RAW, BOX, RANDOM, OURS):
        rows[label], explained[label] = _components(found.features[label], dates, step)
    height, width = valid.shape[1:]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.0 * len(dates) + 0.6, len(rows) * 2.0 * height / width + 0.9)
        axes = figure.subplots(len(rows), len(dates), squeeze=False)
        days = found.features[OURS].day
        assert days is not None
        for r, (label, pictures) in enumerate(rows.items()):
            for c, picture in enumerate(pictures):
                ax = axes[r, c]
                shown = np.where(borders(found.fields)[::step, ::step, None], (1, 1, 0), picture) if r == 0 else picture
                ax.imshow(shown, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            share = f"\nPCA 1-3: {explained[label]:.0%}" if label in explained else ""
            axes[r, 0].set_ylabel(label + share)
        for c, i in enumerate(dates):
            axes[0, c].set_title(f"{to_date(int(days[i])):%d %b %Y}")
        scale_bar(axes[0, 0], width, found.group.grid.gsd_m * step)
        _head(figure, found.result, simulated)
    return figure


def measure_figure(result: Mapping[str, Any], simulated: bool) -> Figure:
    """A panel per measure, a dot per representation."""
    parts = {
        **{m: result["space"]["measures"][m] for m in MEASURES},
        "2-3 days / 60 days or more": result["time"]["near / far"],
        "response to events / noise": result["events"]["response / noise"],
        "of the change at once": result["events"]["at once"],
    }
    better = {"told apart": "higher", "between / within": "higher", "border / inside": "higher"}
    better |= {"2-3 days / 60 days or more": "lower", "response to events / noise": "higher"}
    biased = {"edges kept": "blur lowers it, noise raises it", "Moran's I": "blur raises it, noise lowers it"}
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.6, 5.2)
        axes = figure.subplots(2, 4, squeeze=False)
        for ax, (measure, estimates) in zip(axes.ravel(), parts.items(), strict=False):
            for y, (label, e) in enumerate(estimates.items()):
                if e["value"] is not None:
                    low, high = e["interval"] or (e["value"], e["value"])
                    ax.plot([low, high], [y, y], color=COLOURS[label], linewidth=2)
                    ax.plot(e["value"], y, "o", color=COLOURS[label], markersize=6)
            ax.set_ylim(len(estimates) - 0.5, -0.5)
            ax.set_yticks(range(len(estimates)), list(estimates) if ax in axes[:, 0] else [""] * len(estimates))
            says = f"{better[measure]} is better" if measure in better else biased.get(measure, "")
            ax.set_title(f"{measure}\n{says}", fontsize=9)
            ax.grid(False, axis="y")
        _head(figure, result, simulated)
    return figure


def seam_figure(found: Coherence, simulated: bool) -> Figure:
    """Fields on the left, differences between blocks and whole on the right."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.6, 4.4)
        left, right = figure.subplots(1, 2)
        order = np.random.default_rng(0).permutation(int(found.fields.max()) + 1) % 19 + 1
        shown = np.where(found.fields > 0, order[found.fields], 0)
        left.imshow(np.ma.masked_equal(shown, 0), cmap="tab20", vmin=1, vmax=20, interpolation="nearest")
        left.set_title(f"{found.result['fields']['count']} fields")
        drawn = right.imshow(found.seam, cmap="cividis", vmin=0, vmax=max(1e-4, float(found.seam.max())))
        right.set_title(f"blocks of 16 px minus whole, at most {found.seam.max():.1e}")
        figure.colorbar(drawn, ax=right, label="largest difference (standard deviations)", shrink=0.85)
        for ax in (left, right):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            scale_bar(ax, found.fields.shape[1], found.group.grid.gsd_m)
        _head(figure, found.result, simulated)
    return figure


def choose_dates(features: Features) -> list[int]:
    """Clear dates spread over the series: the clearest of each of equally many."""
    share = features.valid.mean((1, 2))
    clear = np.flatnonzero(share >= min(0.9, float(np.sort(share)[-min(MAP_DATES, len(share))])))
    return [int(s[np.argmax(share[s])]) for s in np.array_split(clear, min(MAP_DATES, len(clear)))]


def _true_colour(found: Coherence, dates: list[int]) -> np.ndarray:
    group, features = found.group, found.features[OURS]
    assert features.day is not None
    usable = np.flatnonzero(group.usable)
    at = usable[np.searchsorted(group.day[usable], features.day[dates])]
    values, valid = group.read(at)
    names = group.modality.band_names
    shown = ("B04", "B03", "B02") if {"B04", "B03", "B02"} <= set(names) else (names[0],) * 3
    colour = group.modality.decode(values)[..., [names.index(b) for b in shown]]
    low, high = (float(q) for q in np.quantile(colour[valid], (0.01, 0.99)))
    return stretch(colour, valid, low, high)


def _components(features: Features, dates: list[int], step: int) -> tuple[np.ndarray, float]:
    values, valid = (x[dates][:, ::step, ::step] for x in (features.values, features.valid))
    rows = values[valid]
    rows = rows[:: max(1, len(rows) // PCA_ROWS)]
    pca = fit_pca(rows, min(3, rows.shape[1]))
    parts = pca.transform(values.reshape(-1, values.shape[-1])).reshape(*values.shape[:-1], -1)
    parts = np.concatenate([parts, np.zeros((*parts.shape[:-1], 3 - parts.shape[-1]))], axis=-1)
    ends = np.quantile(parts[valid], (0.02, 0.98), axis=0)
    explained = float(pca.transform(rows).var(0).sum() / max(float(rows.var(0).sum()), 1e-12))
    return stretch(parts, valid, *ends), explained


def _head(figure: Figure, result: Mapping[str, Any], simulated: bool) -> None:
    text = f"{'SIMULATED DATA. ' if simulated else ''}{result['site']}, {result['modality']}, model {result['model']}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=10)
