"""Bands that a sensor lacks, estimated from those that it has by how bands went together in training.

So the six bands of Harmonised Landsat and Sentinel-2 get vectors of a model of ten. A closed form, not trained: a
state (state.py) knows its bands' mean, and their covariance by its components, which are uncorrelated in training.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from eomm.errors import UsageError
from eomm.models.interface import Encoder
from eomm.models.state import StateEncoder


def complete_bands(
    values: Shaped[np.ndarray, "*n given"], given: Sequence[str], encoder: Encoder
) -> Float[np.ndarray, "*n c"]:
    """All bands of an encoder's modality: those given as they are, the others as to be expected from them.

    Args:
        values: physical values.
        given: names of their bands, in this order; some of the modality's.
        encoder: with a state.

    Raises:
        UsageError: the modality has no such band, no band is given, or the encoder has no state whose deviations in
            training are known.
    """
    if not isinstance(encoder, StateEncoder) or not encoder.deviations:
        raise UsageError(f"bands {', '.join(given)}: only a model with a state can estimate the others; give all")
    names = encoder.modality.band_names
    if not given or not set(given) <= set(names):
        raise UsageError(f"bands {', '.join(given) or 'none'}: expected some of {', '.join(names)}")
    at = [names.index(name) for name in given]
    mean, values = np.asarray(encoder.mean), values.astype(np.float64)
    # Components are whiten @ (bands - mean), so that bands have this covariance.
    mixing = np.linalg.inv(np.asarray(encoder.whiten)) * np.asarray(encoder.deviations)
    covariance = mixing @ mixing.T
    slopes = np.linalg.solve(covariance[np.ix_(at, at)], covariance[at]).T
    found = mean + (values - mean[at]) @ slopes.T
    found[..., at] = values
    return found
