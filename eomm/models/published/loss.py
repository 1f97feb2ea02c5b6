"""What the published model is trained on: weights that look at the centre, and each stage's mixture of losses."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from eomm.models.losses import SumCount, mean_absolute_error, ratio, spectral_angle, structural_dissimilarity
from eomm.models.published.layers import PLACES, SIDE


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Weights of one modality's losses in one stage.

    Attributes:
        mae: of the mean absolute error.
        sam: of the spectral angle.
        ssim: of the structural dissimilarity.
        centre_boost: weight of the target itself among all positions of a window.
        share: of the stage's loss.
    """

    mae: float
    sam: float
    ssim: float
    centre_boost: float
    share: float = 1.0


MIXTURES = {
    "pretrain": {
        "s1": Mixture(mae=1.0, sam=0.0, ssim=0.0, centre_boost=1.0),
        "s2": Mixture(mae=0.25, sam=0.72, ssim=0.03, centre_boost=1.0),
    },
    "fuse": {
        "s1": Mixture(mae=1.0, sam=0.0, ssim=0.0, centre_boost=1.5, share=0.5),
        "s2": Mixture(mae=0.665, sam=0.315, ssim=0.02, centre_boost=1.75, share=0.5),
    },
}
"""By stage and modality; `share` is not yet in the total that `published_loss` gives."""


def centre_weights(centre_boost: float = 1.0) -> Float[np.ndarray, "11 15 15"]:
    """Weight of every position of a window, float32.

    In space 1 at the centre, else 0.01 x 0.1^(d - 1) at Chebyshev distance d; in time 0.1^k at k acquisitions from
    the target; their product, with `centre_boost` at the target itself.
    """
    apart = np.abs(np.arange(SIDE) - SIDE // 2)
    distance = np.maximum(apart[:, None], apart[None]).astype(np.float64)
    space = np.where(distance == 0, 1.0, 0.01 * 0.1 ** (distance - 1))
    time = 0.1 ** np.abs(np.arange(PLACES) - PLACES // 2).astype(np.float64)
    weight = time[:, None, None] * space
    weight[PLACES // 2, SIDE // 2, SIDE // 2] = centre_boost
    return weight.astype(np.float32)


def published_loss(
    mixture: Mixture,
    predicted: Float[Array, "b 11 15 15 c"],
    observed: Float[Array, "b 11 15 15 c"],
    valid: Bool[Array, "b 11 15 15"],
    kept: Bool[Array, " b"] | None = None,
) -> tuple[Array, dict[str, Array]]:
    """The loss of a batch and its terms: `mae`, `sam`, `ssim` where the mixture has them, and `centre_mae`.

    The absolute error is divided by the weight of all positions, also of those that are not valid, as published;
    the angle by that of the valid ones; dissimilarity and `centre_mae` see the filled values too.

    Args:
        mixture: of the stage and modality.
        predicted: in the model's range.
        observed: in the model's range, gaps filled.
        valid: which positions were observed.
        kept: windows that count, all by default; the others change nothing.
    """
    kept = jnp.ones(len(valid), bool) if kept is None else kept
    share = jnp.maximum(kept.mean(), 1e-6)
    predicted, observed = (jnp.where(kept[:, None, None, None, None], x, 0) for x in (predicted, observed))
    valid = valid & kept[:, None, None, None]
    weight = jnp.broadcast_to(centre_weights(mixture.centre_boost), valid.shape)
    total, _ = mean_absolute_error(predicted, observed, weight * valid)
    terms = {"mae": total / (weight.sum() * share)}
    if mixture.sam:
        terms["sam"] = ratio(spectral_angle(predicted, observed, weight * valid))
    if mixture.ssim:
        terms["ssim"] = ratio(structural_dissimilarity(predicted, observed)) / share  # of zeros it is 0
    loss = sum((getattr(mixture, name) * term for name, term in terms.items()), jnp.zeros(()))
    return loss, terms | {"centre_mae": ratio(centre_error(predicted, observed)) / share}


def centre_error(predicted: Float[Array, "b 11 15 15 c"], observed: Float[Array, "b 11 15 15 c"]) -> SumCount:
    """Absolute error at the target itself, in the model's range: what the release selects its models by."""
    at = (slice(None), PLACES // 2, SIDE // 2, SIDE // 2)
    error = jnp.abs(predicted[at] - observed[at]).mean(-1)
    return error.sum(), jnp.asarray(error.size, jnp.float32)
