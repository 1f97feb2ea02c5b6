"""Maps of a site's dates as colours: which dates to show, true colour, principal components."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from eomm.data.cube import CubeGroup
from eomm.evaluation.baselines import Pca, fit_pca
from eomm.page.style import stretch

PCA_ROWS = 50_000
TRUE_COLOUR = ("B04", "B03", "B02")


def clearest_dates(valid: Bool[np.ndarray, "t y x"], most: int) -> list[int]:
    """Clear dates spread over the series: the clearest of each of equally many."""
    share = valid.mean((1, 2))
    clear = np.flatnonzero(share >= min(0.9, float(np.sort(share)[-min(most, len(share))])))
    return [int(s[np.argmax(share[s])]) for s in np.array_split(clear, min(most, len(clear)))]


def true_colour(
    group: CubeGroup, days: Int32[np.ndarray, " d"] | Int[np.ndarray, " d"], step: int
) -> tuple[Float32[np.ndarray, "d y x 3"], str]:
    """True colour of usable dates (of other sensors the first band), every so many pixels; its range in words."""
    usable = np.flatnonzero(group.usable)
    values, valid = group.read(usable[np.searchsorted(group.day[usable], days)])
    values, valid = values[:, ::step, ::step], valid[:, ::step, ::step]
    names = group.modality.band_names
    shown = TRUE_COLOUR if set(TRUE_COLOUR) <= set(names) else (names[0],) * 3
    colour = group.modality.decode(values)[..., [names.index(b) for b in shown]]
    low, high = (float(q) for q in np.quantile(colour[valid], (0.01, 0.99)))
    return stretch(colour, valid, low, high), f"{' '.join(shown)}: {low:.2f} to {high:.2f} {group.modality.unit}"


def components(
    values: Float[np.ndarray, "d y x k"], valid: Bool[np.ndarray, "d y x"]
) -> tuple[Float32[np.ndarray, "d y x 3"], Pca, list[float]]:
    """Three principal components of all dates as red, green and blue; the PCA, and the share of variance of each."""
    rows = values[valid]
    rows = rows[:: max(1, len(rows) // PCA_ROWS)]
    pca = fit_pca(rows, min(3, rows.shape[1]))
    parts = pca.transform(values)
    parts = np.concatenate([parts, np.zeros((*parts.shape[:-1], 3 - parts.shape[-1]))], axis=-1)
    ends = np.quantile(parts[valid], (0.02, 0.98), axis=0)
    shares = pca.transform(rows).var(0) / max(float(rows.var(0).sum()), 1e-12)
    return stretch(parts, valid, *ends), pca, [float(s) for s in shares]
