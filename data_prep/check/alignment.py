"""How far two images of one ground are shifted, by phase correlation. Of two sensors: how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

REACH_PX = 8  # larger shifts are not looked for
EDGE_SIGMA_PX = 1.0
AGREE_PX = 1.0
"""Pairs of images whose shifts lie within this of their median agree with it."""
AGREEING = 0.6
"""Share of the pairs that must agree for a shift to count as determined."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A shift of the second images against the first, in pixels; positive is down and to the right.

    Attributes:
        rows: median over the pairs.
        cols: median over the pairs.
        spread_px: half the distance between the 16 % and 84 % quantiles over the pairs, of the worse axis. All pairs
            show one ground, so the error may be larger.
        agreeing: share of the pairs within AGREE_PX of the median.
        pairs: how many.
    """

    rows: float
    cols: float
    spread_px: float
    agreeing: float
    pairs: int

    @property
    def determined(self) -> bool:
        """Whether the pairs agree."""
        return self.agreeing >= AGREEING and self.spread_px <= AGREE_PX

    @property
    def length_px(self) -> float:
        """How far."""
        return float(np.hypot(self.rows, self.cols))


def compare(first: Sequence[Float[np.ndarray, "y x"]], second: Sequence[Float[np.ndarray, "y x"]]) -> Shift:
    """The shift between two sensors' images, from every pair; NaN is missing and taken for the image's mean."""
    found = np.array([shift_between(a, b) for a in first for b in second])
    middle = np.median(found, axis=0)
    low, high = np.quantile(found, [0.16, 0.84], axis=0)
    agreeing = np.hypot(*(found - middle).T) <= AGREE_PX
    return Shift(
        rows=round(float(middle[0]), 2),
        cols=round(float(middle[1]), 2),
        spread_px=round(float(((high - low) / 2).max()), 2),
        agreeing=round(float(agreeing.mean()), 3),
        pairs=len(found),
    )


def shift_between(a: Float[np.ndarray, "y x"], b: Float[np.ndarray, "y x"]) -> tuple[float, float]:
    """(rows, columns) by which `b` is shifted against `a`, to a fraction of a pixel, within REACH_PX.

    Edges are compared, since one sensor's bright field is another's dark one (phase correlation: Kuglin and Hines
    1975; the peak's fraction by a parabola through its neighbours).
    """
    spectra = [np.fft.rfft2(_edges(image)) for image in (a, b)]
    cross = np.conj(spectra[0]) * spectra[1]
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=a.shape)
    surface = ndimage.gaussian_filter(surface, 0.7, mode="wrap")
    reach = min(REACH_PX, (min(a.shape) - 3) // 2)
    near = np.roll(surface, (reach + 1, reach + 1), axis=(0, 1))[: 2 * reach + 3, : 2 * reach + 3]
    row, col = np.unravel_index(near[1:-1, 1:-1].argmax(), (2 * reach + 1, 2 * reach + 1))
    row, col = int(row) + 1, int(col) + 1
    rows = row + _vertex(near[row - 1 : row + 2, col]) - (reach + 1)
    cols = col + _vertex(near[row, col - 1 : col + 2]) - (reach + 1)
    return float(rows), float(cols)


def _edges(image: np.ndarray) -> np.ndarray:
    known = np.isfinite(image)
    filled = np.where(known, image, image[known].mean() if known.any() else 0)
    edges = ndimage.gaussian_gradient_magnitude(filled.astype(np.float64), EDGE_SIGMA_PX)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    return (edges - edges.mean()) * window


def _vertex(three: np.ndarray) -> float:
    """Where a parabola through values at -1, 0 and 1 has its top."""
    bend = three[0] - 2 * three[1] + three[2]
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5))
