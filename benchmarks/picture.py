"""The picture of this folder's README: what embedding spends its time on, and how what eomm takes grows with the work.

    python -m eomm.benchmarks.profile --json > profile.json && python -m eomm.benchmarks.growth --out growth.json
    python -m eomm.benchmarks.picture --profile profile.json --growth growth.json --out benchmarks/speed.svg

Nothing is measured here.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from eomm.page.style import BLUE, STYLE, new_figure

STEPS = ("prepare", "cut", "train", "embed")


def draw(profile: Mapping[str, Any], growth: Mapping[str, Any]) -> Figure:
    """Pieces of an embedding by their processor time; processor time and memory against the number of sites."""
    figure = new_figure(11.0, 3.6)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
    draw_pieces(left, profile)
    draw_growth(middle, growth, "cpu_seconds", "processor seconds")
    draw_growth(right, growth, "peak_mib", "peak memory of a process, MiB")
    right.set_ylim(100, 10_000)
    right.legend(ncols=2)  # where there is room
    return figure


def draw_pieces(axes: Axes, profile: Mapping[str, Any]) -> None:
    """A bar for each piece that takes a hundredth or more, the rest together."""
    shares = profile["shares"]
    pieces = {n: micro for n, micro in profile["pieces"].items() if shares[n] >= 0.01}
    pieces["all else"] = profile["processor_microseconds"] - sum(pieces.values())
    axes.barh(list(pieces)[::-1], list(pieces.values())[::-1], color=BLUE)
    axes.set_xlabel("µs of a core per fused pixel-date")


def draw_growth(axes: Axes, growth: Mapping[str, Any], name: str, words: str) -> None:
    """A line for each step, on logarithmic axes."""
    for step in STEPS:
        rows = growth["sites"][step]
        axes.loglog([r["count"] for r in rows], [r[name] for r in rows], marker="o", label=step)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("sites of 24 x 24 px, ten dates")
    axes.set_ylabel(words)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, required=True, help="what eomm.benchmarks.profile printed as JSON")
    parser.add_argument("--growth", type=Path, required=True, help="what eomm.benchmarks.growth wrote")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    a = parser.parse_args(argv)
    with matplotlib.rc_context(STYLE):
        draw(json.loads(a.profile.read_text()), json.loads(a.growth.read_text())).savefig(a.out)


if __name__ == "__main__":
    main()
