"""What lies beside the vectors of an embedding cube: a table of layers [time, y, x]. Not how they are computed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NO_OFFSET = np.iinfo(np.int16).min
NO_ERROR = np.iinfo(np.uint16).max
FLAGS = {  # CF flag_masks
    "edge": 1,  # the window reaches beyond the cube
    "clouded": 2,  # the target is not valid: its vector, where there is one, comes from its context alone
    "alone": 4,  # no other modality was near enough and valid
    "sparse": 8,  # fewer than three valid acquisitions of the reference in the window, the target aside
}


@dataclass(frozen=True, kw_only=True)
class StoreLayer:
    """One array [time, y, x] of an embedding cube.

    Attributes:
        name: of the array.
        dtype: as stored.
        fill: what is stored where nothing was written.
        attributes: CF attributes that NetCDF can hold: texts, numbers, lists of either. `_FillValue` is what readers
            take for missing, `scale_factor` the step of its storage.
    """

    name: str
    dtype: str
    fill: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)


def valid_layer() -> StoreLayer:
    """Where the date's pixel is clear."""
    return StoreLayer(name="valid", dtype="bool", attributes={"long_name": "the date's pixel is clear"})


def flags_layer() -> StoreLayer:
    """What limits the vector, bit by bit."""
    masks = np.array(list(FLAGS.values()), np.uint8).tolist()
    about = {"flag_masks": masks, "flag_meanings": " ".join(FLAGS), "long_name": "what limits the vector"}
    return StoreLayer(name="flags", dtype="uint8", attributes=about)


def error_layer(unit: str, step: float) -> StoreLayer:
    """The error expected of predicting the pixel and date, counted in steps of a unit."""
    about = {
        "units": "1" if unit == "reflectance" else unit,
        "scale_factor": step,
        "_FillValue": int(NO_ERROR),
        "long_name": f"mean absolute error ({unit}) expected of predicting this pixel and date, were it hidden",
    }
    return StoreLayer(name="expected_error", dtype="uint16", fill=int(NO_ERROR), attributes=about)


def observations_layer(modality: str) -> StoreLayer:
    """How many acquisitions of a modality the window has."""
    text = f"valid {modality} acquisitions in the window; 0 where {modality} was not used"
    return StoreLayer(name=f"observations_{modality}", dtype="uint8", attributes={"long_name": text})


def offset_layer(modality: str) -> StoreLayer:
    """Days to the acquisition used."""
    about = {
        "units": "1",  # not "days": xarray would turn the numbers into time spans
        "long_name": f"days from the date to the {modality} acquisition used; missing where none was",
        "_FillValue": int(NO_OFFSET),
    }
    return StoreLayer(name=f"{modality}_offset_days", dtype="int16", fill=int(NO_OFFSET), attributes=about)
