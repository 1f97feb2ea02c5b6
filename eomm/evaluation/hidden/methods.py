"""The methods that hidden targets are predicted by: what each is, what figures and tables call it, how it is drawn.

Colours are those of Okabe and Ito (2008), told apart with every common colour vision; markers and dashes repeat them.
"""

from typing import Any

from eomm.evaluation.hidden.ridges import INPUTS
from eomm.page.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY

METHODS = {
    "encoder": "the encoder of this modality alone, with its decoder",
    "fused": "all modalities fused; the other ones are not hidden",
    "fused_alone": "the fusion head given this modality only",
    "nearest": "nearest visible date",
    "linear": "linear in time between visible dates",
    "gaussian_12": "Gaussian smoother in time, sigma 12 days",
    "gaussian_25": "Gaussian smoother in time, sigma 25 days",
    "harmonic": "annual and semi-annual wave of each pixel and band, regularised least squares over its visible dates",
    **INPUTS,
}
LABELS = {
    "encoder": "encoder",
    "fused": "fused model",
    "fused_alone": "fused model, one modality",
    "nearest": "nearest date",
    "linear": "linear in time",
    "gaussian_12": "Gaussian, 12 days",
    "gaussian_25": "Gaussian, 25 days",
    "harmonic": "harmonic fit",
    "ridge_trained": "probe, trained encoder",
    "ridge_random": "probe, random encoder",
    "ridge_pca": "probe, PCA of raw series",
    "ridge_raw": "probe, raw series",
    "pca": "PCA of the bands",
}
OURS: dict[str, Any] = {"color": BLUE, "marker": "o", "linewidth": 2.2, "zorder": 5}
LINES: dict[str, dict[str, Any]] = {
    "encoder": OURS,
    "fused": OURS,
    "fused_alone": {"color": SKY, "marker": "o", "linewidth": 1.4, "zorder": 4},
    "nearest": {"color": "#888888", "marker": "D", "linestyle": ":", "linewidth": 1.3},
    "linear": {"color": RED, "marker": "s", "linestyle": "--", "linewidth": 1.3},
    "gaussian_12": {"color": GREEN, "marker": "^", "linestyle": "-.", "linewidth": 1.3},
    "gaussian_25": {"color": ORANGE, "marker": "v", "linestyle": "-.", "linewidth": 1.3},
    "harmonic": {"color": BLACK, "marker": "X", "linestyle": (0, (5, 1)), "linewidth": 1.3},
    "ridge_pca": {"color": PURPLE, "marker": "P", "linestyle": (0, (1, 1)), "linewidth": 1.3},
}
