"""A few pixels of different cover whose hidden targets a report shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from eomm.data.cube import CubeGroup
from eomm.evaluation.hidden.task import HiddenTask
from eomm.evaluation.result import rounded

NEEDED = 0.7  # of the test dates valid


@dataclass(frozen=True)
class Example:
    """One pixel: what was observed at the test dates, and what was predicted by gap and method while they were hidden.

    Spectra are lists of bands, None where a date cannot be scored.
    """

    row: int
    col: int
    about: str
    observed: list[Any] = field(default_factory=list)
    predicted: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(
        self,
        corner: tuple[int, int],
        size: int,
        gap: int,
        truth: Float32[np.ndarray, "n p c"],
        scored: Bool[np.ndarray, "n p"],
        predicted: Mapping[str, Float32[np.ndarray, "n p c"]],
    ) -> None:
        """Keep this pixel's share of a block's predictions, if the block holds it."""
        row, col = self.row - corner[0], self.col - corner[1]
        if not (0 <= row < size and 0 <= col < size):
            return
        pixel = row * size + col
        ok = scored[:, pixel]
        self.observed[:] = _spectra(truth[:, pixel], ok)
        self.predicted[str(gap)] = {m: _spectra(v[:, pixel], ok) for m, v in predicted.items()}


def _spectra(values: Float32[np.ndarray, "n c"], ok: Bool[np.ndarray, " n"]) -> list[Any]:
    return [[rounded(x) for x in spectrum] if fine else None for spectrum, fine in zip(values, ok, strict=True)]


def choose_pixels(task: HiddenTask, *, limit: int = 8) -> list[Example]:
    """Up to four pixels that differ in level and change of NDVI (or of the first band) over the test dates."""
    group, size = task.group, task.size
    usable = np.flatnonzero(group.usable)[task.targets]
    names = group.modality.band_names
    label = "NDVI" if {"B04", "B08"} <= set(names) else names[0]
    found: list[tuple[float, float, int, int]] = []
    for row, col in task.corners[:limit]:
        values, valid = group.read(usable, slice(row, row + size), slice(col, col + size))
        index = np.where(valid, greenness(group, values), np.nan)
        for r, c in np.argwhere(valid.mean(0) >= NEEDED):
            series = index[:, r, c]
            found.append((float(np.nanmean(series)), float(np.nanstd(series)), row + int(r), col + int(c)))
    if not found:
        return []
    mean, spread = (np.array([f[i] for f in found]) for i in (0, 1))
    wanted = {
        "least": (mean, 0.02),
        "most": (mean, 0.98),
        "steadiest": (spread, 0.05),
        "most changing": (spread, 0.98),
    }
    chosen: dict[tuple[int, int], Example] = {}
    for kind, (score, quantile) in wanted.items():
        i = int(np.argsort(score, kind="stable")[round(quantile * (len(score) - 1))])
        where = found[i][2:]
        about = f"{kind} {label}: {mean[i]:.2f} ± {spread[i]:.2f}"
        chosen.setdefault(where, Example(*where, about))
    return list(chosen.values())


def greenness(group: CubeGroup, stored: np.ndarray) -> Float32[np.ndarray, "*n"]:
    """NDVI of stored values, as `green`; of a sensor without its bands the first band, physical units."""
    if {"B04", "B08"} <= set(group.modality.band_names):
        return green(group, stored)
    return np.asarray(group.modality.decode(stored)[..., 0], np.float32)


def green(group: CubeGroup, stored: np.ndarray) -> Float32[np.ndarray, "*n"]:
    """NDVI of stored values; NaN where both bands are 0 or less in sum."""
    names = group.modality.band_names
    physical = group.modality.decode(stored)
    red, infrared = physical[..., names.index("B04")], physical[..., names.index("B08")]
    total = infrared + red
    return np.where(total > 1e-3, (infrared - red) / np.where(total > 1e-3, total, 1), np.nan).astype(np.float32)
