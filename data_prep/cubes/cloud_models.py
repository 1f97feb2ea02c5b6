"""Cloud masks by trained models of others, as extras: s2cloudless and OmniCloudMask. Nothing is ever downloaded."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from data_prep.mappings.mapping import Mask
from eomm.errors import DataError, UsageError

WEIGHTS = (".pth", ".pt", ".safetensors")
OMNI_CLEAR = 0  # of its classes: clear, thick cloud, thin cloud, shadow


def by_s2cloudless(mask: Mask, bands: Mapping[str, Float32[np.ndarray, "y x"]]) -> Bool[np.ndarray, "y x"]:
    """Cloud where s2cloudless gives at least the mask's threshold.

    Its trees (Sentinel Hub, MIT) were grown on top-of-atmosphere reflectance of ten L1C bands, among them B10, which
    L2A does not have: there is no way to run it on L2A alone. Its own averaging and dilation are left out.

    Raises:
        UsageError: the extra `clouds` is not installed.
    """
    try:
        from s2cloudless.cloud_detector import S2PixelCloudDetector
    except ImportError as e:
        raise UsageError("[mask] method 's2cloudless': not installed; pip install 'eomm[clouds]'") from e
    detector = S2PixelCloudDetector(threshold=mask.threshold / 100, average_over=None, dilation_size=None)
    stack = np.stack([np.nan_to_num(bands[b]) for b in mask.METHODS["s2cloudless"]], axis=-1)
    probability = detector.get_cloud_probability_maps(stack[None].astype(np.float64))[0]
    return np.asarray(100 * probability >= mask.threshold)


def by_omnicloudmask(mask: Mask, bands: Mapping[str, Float32[np.ndarray, "y x"]]) -> Bool[np.ndarray, "y x"]:
    """Cloud or shadow where OmniCloudMask (Wright et al. 2025, MIT) says so, from red, green and near infrared.

    Raises:
        UsageError: it is not installed, or no folder of weights is named.
        DataError: the folder holds no weights.
    """
    if mask.weights is None:
        raise UsageError("[mask] method 'omnicloudmask': name the folder of its weights as `weights`; none are fetched")
    folder = Path(mask.weights)
    if not any(f.suffix in WEIGHTS for f in folder.glob("*")):
        raise DataError(
            f"{folder}: holds no weights ({', '.join(WEIGHTS)}); put OmniCloudMask's there, which it fetches itself "
            "when it is run once with `destination_model_dir` on a machine that may"
        )
    os.environ["HF_HUB_OFFLINE"] = "1"  # what is missing then fails, instead of being fetched
    try:
        import omnicloudmask
    except ImportError as e:
        raise UsageError("[mask] method 'omnicloudmask': not installed; pip install omnicloudmask (with torch)") from e
    stack = np.stack([np.nan_to_num(bands[b]) for b in mask.METHODS["omnicloudmask"]])
    options: dict[str, Any] = {"destination_model_dir": folder, "model_download_source": "hugging_face"}
    classes = omnicloudmask.predict_from_array(stack, **options)
    return np.asarray(np.reshape(classes, stack.shape[1:]) != OMNI_CLEAR)
