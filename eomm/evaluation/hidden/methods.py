"""Names of the methods that hidden targets are predicted by: what each is, and what figures and tables call it."""

from eomm.evaluation.hidden.ridges import INPUTS

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
