"""Which pixels of one optical product are clear: one function, behind which methods stand. Not the haze screen.

What none of them knows: shadows and thin cloud that the provider's classes or probabilities miss. Snow is not kept.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from data_prep.cubes.cloud_models import by_omnicloudmask, by_s2cloudless
from data_prep.mappings.mapping import MASK, SNOW, Mask
from eomm.store.fields import Json

NOT_SEEN, CLEAR, LEFT_OUT, CLOUD = range(4)
"""States of a pixel. What is left out (unclassified, snow) is not kept, but its neighbours are; cloud is dilated."""


def classify(mask: Mask, layers: Mapping[str, Float32[np.ndarray, "y x"]]) -> UInt8[np.ndarray, "y x"]:
    """The state of each pixel: NOT_SEEN, CLEAR, LEFT_OUT or CLOUD.

    Args:
        mask: the method and its numbers.
        layers: what `mask.layers` names, on one grid, NaN where missing.
    """
    find = {"classes": _by_classes, "probability": _by_probability}.get(mask.method, _by_bands)
    return find(mask, layers).astype(np.uint8)


def describe(mask: Mask) -> Json:
    """Plain JSON types, for a cube's attributes."""
    said: Json = {"method": mask.method, "dilation_m": mask.dilation_m}
    if mask.method == "classes":
        dilated = "all not kept" if mask.cloud is None else list(mask.cloud)
        return said | {"classes_from": mask.variable, "kept_classes": list(mask.clear), "dilated_classes": dilated}
    return said | {"layers": mask.layers, "threshold_percent": mask.threshold}


def away_from(cloud: Bool[np.ndarray, "y x"], metres: float, gsd_m: float) -> Bool[np.ndarray, "y x"]:
    """True for pixels whose centre lies farther than `metres` from every cloud pixel's."""
    if not cloud.any():
        return ~cloud
    return ndimage.distance_transform_edt(~cloud) * gsd_m > max(metres, 0)


def _by_classes(mask: Mask, layers: Mapping[str, np.ndarray]) -> np.ndarray:
    classes = layers[MASK]
    seen = np.isfinite(classes) & (classes != 0)
    clear = np.isin(classes, mask.clear)
    cloud = ~clear if mask.cloud is None else np.isin(classes, mask.cloud)
    return _states(seen, clear, cloud)


def _by_probability(mask: Mask, layers: Mapping[str, np.ndarray]) -> np.ndarray:
    cloud, snow = layers[MASK], layers.get(SNOW, np.float32(0))
    seen = np.isfinite(cloud) & np.isfinite(snow)
    cloudy = cloud >= mask.threshold
    return _states(seen, ~cloudy & (snow < mask.threshold), cloudy)


def _by_bands(mask: Mask, layers: Mapping[str, np.ndarray]) -> np.ndarray:
    bands = {b: layers[f"{MASK} {b}"] * np.float32(mask.scale) + np.float32(mask.offset) for b in mask.bands}
    seen = np.all([np.isfinite(b) for b in bands.values()], axis=0)
    if not seen.any():
        return _states(seen, seen, seen)
    find = {"s2cloudless": by_s2cloudless, "omnicloudmask": by_omnicloudmask}[mask.method]
    cloud = find(mask, bands)
    return _states(seen, ~cloud, cloud)


def _states(seen: np.ndarray, clear: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    return np.select([~seen, clear, cloud], [NOT_SEEN, CLEAR, CLOUD], LEFT_OUT)
