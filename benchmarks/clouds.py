"""What does each step of a cloud mask take away, and how cloudy is it? On a real site, by its shipped mapping.

python -m eomm.benchmarks.clouds --source worldcereal_s2=data/flanders --figure clouds.png    (a minute on 2 cores)

There is no truth here. A pixel-date counts as off where green (B03) lies more than 0.03 above its own median over the
dates within 60 days that the whole mask keeps: haze, cloud, and also what really became brighter. The haze screen
looks at blue and red against such a median, so that it takes away what is off is partly by construction; what it
leaves, and what the steps before it take, is not.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.haze import WINDOW_DAYS
from data_prep.cubes.options import CubeOptions
from data_prep.mappings.mapping import Mapping, load_mapping
from eomm.data.cube import CubeGroup, open_cube
from eomm.data.grid import to_date
from eomm.errors import UsageError
from eomm.page.style import BLUE, ORANGE, RED, STYLE, new_figure, stretch, time_axis
from eomm.store.progress import progress_bar

from .common import Result

OFF = 0.03
MAPS = 4
STEPS = ("kept", "dilation", "haze", "mask")
LABELS = {
    "kept": "kept by all",
    "mask": "taken by classes or probability",
    "dilation": "taken by dilation",
    "haze": "taken by the haze screen",
}
COLOURS = {"kept": BLUE, "dilation": ORANGE, "haze": RED, "mask": "#9a9a9a"}


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A site and what each step takes of it.

    Attributes:
        days: [time].
        values: reflectance without any mask, [time, y, x, band], NaN where there are no data.
        names: of the bands.
        taken: step -> pixel-dates that it is the first to take, bool [time, y, x]; "kept": those left.
        excess: green above its own median, [time, y, x]; NaN where that is not known.
    """

    days: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    taken: dict[str, np.ndarray]
    excess: np.ndarray


def variants(mapping: Mapping) -> Iterator[tuple[str, Mapping]]:
    """The mapping's mask, and it with ever more left out."""
    if mapping.mask is None:
        raise UsageError(f"mapping {mapping.name!r} has no [mask]; nothing to compare")
    alone = dataclasses.replace(mapping.mask, dilation_m=0.0, haze=False)
    yield "nothing", dataclasses.replace(mapping, mask=None)
    yield "mask", dataclasses.replace(mapping, mask=alone)
    yield "dilation", dataclasses.replace(mapping, mask=dataclasses.replace(mapping.mask, haze=False))
    yield "haze", dataclasses.replace(mapping, mask=dataclasses.replace(mapping.mask, haze=True))


def measure(mapping: Mapping, path: Path) -> Steps:
    """Build the site's cube once per variant and see which step takes what."""
    with tempfile.TemporaryDirectory() as folder, progress_bar("clouds") as report:
        groups: dict[str, CubeGroup] = {}
        valid: dict[str, np.ndarray] = {}
        for k, (name, variant) in enumerate(variants(mapping)):
            source = Source(path=path, mapping=variant)
            # Without a mask clouds are all there is at many dates, and checks of the values mean nothing.
            accept = ("offset", "band_order") if name == "nothing" else ()
            cube = build_cube(
                Path(folder) / f"{name}.zarr", site="x", sources=[source], options=CubeOptions(accept=accept)
            )
            groups[name] = open_cube(cube)[mapping.contract.name]
            valid[name] = groups[name].read()[1]
            report.named("variants", k + 1, 4)
        group = groups["nothing"]
        values, _ = group.read()
        physical = np.where(valid["nothing"][..., None], group.modality.decode(values), np.float32(np.nan))
        taken = {"kept": valid["haze"]}
        for before, step in (("nothing", "mask"), ("mask", "dilation"), ("dilation", "haze")):
            taken[step] = valid[before] & ~valid[step]
        names = group.modality.band_names
        green = physical[..., names.index("B03")]
        return Steps(
            days=group.day, values=physical, names=names, taken=taken, excess=_excess(green, taken["kept"], group.day)
        )


def _excess(green: np.ndarray, kept: np.ndarray, days: np.ndarray) -> np.ndarray:
    out = np.full_like(green, np.nan)
    clear = np.where(kept, green, np.float32(np.nan))
    for i, day in enumerate(days):
        near = [j for j in np.flatnonzero(np.abs(days - day) <= WINDOW_DAYS) if j != i]
        known = np.isfinite(clear[near]).sum(0) >= 3 if near else np.zeros(green.shape[1:], bool)
        if known.any():
            out[i][known] = green[i][known] - np.nanmedian(clear[near][:, known], axis=0)
    return out


def summarise(steps: Steps) -> Result:
    """Of each step: share of all pixel-dates, share of them off, and their median excess."""
    total = sum(int(t.sum()) for t in steps.taken.values())
    found: Result = {"pixel_dates": total, "off": f"green more than {OFF} above the pixel's own median"}
    for name in STEPS:
        excess = steps.excess[steps.taken[name]]
        excess = excess[np.isfinite(excess)]
        found[name] = {
            "share": round(int(steps.taken[name].sum()) / max(total, 1), 4),
            "off": round(float((excess > OFF).mean()), 4) if excess.size else None,
            "median_excess": round(float(np.median(excess)), 4) if excess.size else None,
        }
    return found


def draw(steps: Steps, summary: Result, title: str) -> Figure:
    """Shares, dates, and maps of the dates at which the later steps take most."""
    height, width = steps.excess.shape[1:]
    maps = _shown(steps) if min(height, width) >= 24 else []
    figure = new_figure(10.0, 5.0 + (5.2 if maps else 0))
    parts = figure.subfigures(2 if maps else 1, 1, squeeze=False, height_ratios=[5.0, 5.2] if maps else None)[:, 0]
    bars, dates = parts[0].subplots(2, 1, height_ratios=[1, 2.3])
    left = 0.0
    for name in STEPS:
        share, off = summary[name]["share"], summary[name]["off"] or 0.0
        text = f"{LABELS[name]}: {share:.1%}, of which {off:.0%} off"
        bars.barh(0, share, left=left, color=COLOURS[name], label=text)
        bars.barh(
            0, share * off, left=left + share * (1 - off), color="none", hatch="////", edgecolor="black", linewidth=0
        )
        left += share
    bars.set_yticks([])
    bars.set_xlim(0, 1)
    bars.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    bars.set_title(f"{title}: all pixel-dates; hatched: green more than {OFF} above the pixel's own median")
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    when = np.asarray(date2num([to_date(d) for d in steps.days]))
    for name, marker in zip(STEPS, "o^sx", strict=True):
        middle = np.array([_median(steps.excess[i][steps.taken[name][i]]) for i in range(len(when))])
        dates.plot(when, middle, marker, color=COLOURS[name], markersize=4.5, label=LABELS[name], alpha=0.9)
    dates.axhline(OFF, color="black", linewidth=0.8, linestyle=":")
    dates.set_ylim(-0.1, 0.5)
    dates.set_title("median excess of green over the pixel's own series, of the pixels that each step takes at a date")
    dates.xaxis_date()
    time_axis(dates)
    if maps:
        _draw_maps(parts[1], steps, maps)
    return figure


def _draw_maps(figure: Any, steps: Steps, shown: Sequence[int]) -> None:
    axes = figure.subplots(2, len(shown), squeeze=False)
    index = [steps.names.index(b) for b in ("B04", "B03", "B02")]
    for column, i in enumerate(shown):
        colours = steps.values[i][..., index]
        axes[0, column].imshow(stretch(colours, np.isfinite(colours).all(-1), 0.0, 0.25), interpolation="nearest")
        axes[0, column].set_title(f"{to_date(steps.days[i])}")
        states = np.ones((*steps.excess.shape[1:], 3))
        for name in STEPS:
            colour = tuple(int(COLOURS[name][k : k + 2], 16) / 255 for k in (1, 3, 5))
            states[steps.taken[name][i]] = colour
        axes[1, column].imshow(states, interpolation="nearest")
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    figure.supxlabel(
        "Above: true colour, 0 to 0.25. Below: kept (blue), taken by classes (grey), dilation (orange), haze (red)",
        fontsize=8,
        x=0.01,
        ha="left",
    )


def _shown(steps: Steps) -> list[int]:
    """Dates on which dilation and the haze screen take most, some of each."""
    late = [steps.taken[n].mean((1, 2)) for n in ("haze", "dilation")]
    chosen: list[int] = []
    for share in late:
        chosen += [int(i) for i in np.argsort(-share) if int(i) not in chosen][: MAPS // 2]
    return sorted(chosen)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def main(argv: Sequence[str] | None = None) -> None:
    """Print what each step takes; draw it."""
    import matplotlib

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", required=True, metavar="MAPPING=PATH", help="such as worldcereal_s2=data/flanders")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(argv)
    name, _, path = a.source.partition("=")
    steps = measure(load_mapping(name), Path(path))
    summary = summarise(steps)
    if a.figure:
        with matplotlib.rc_context(STYLE):
            draw(steps, summary, name).savefig(a.figure, dpi=130)
    if a.json:
        print(json.dumps(summary))
        return
    print(f"{summary['pixel_dates']} pixel-dates; off: {summary['off']}")
    for step in STEPS:
        s = summary[step]
        off, excess = ("-" if s[k] is None else s[k] for k in ("off", "median_excess"))
        print(f"  {LABELS[step]:34} {s['share']:8.2%}   off {off}   median excess {excess}")


if __name__ == "__main__":
    main()
