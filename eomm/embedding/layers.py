"""What lies beside the vectors of an embedding cube: a table of layers [time, y, x]. Not how they are computed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt16

NO_OFFSET = np.iinfo(np.int16).min
NO_NUMBER = np.iinfo(np.uint16).max
FLAGS = {  # CF flag_masks
    "edge": 1,  # the window reaches beyond the cube
    "clouded": 2,  # the target is not valid: its vector, where there is one, comes from its context alone
    "alone": 4,  # no other dated modality of the model was near enough and valid; never where the model has none
    "sparse": 8,  # fewer than three valid acquisitions of the reference in the window, the target aside
}
DAY = "d"  # UDUNITS' other word for days: of "days" xarray makes time spans, where plain numbers are meant
# Of vectors with a state: long name, the step in which the number is stored, and its unit.
TOLD = {
    "support": ("effective number of dates that the state rests on (1 / sum of squared weights)", 0.01, "1"),
    "days_to_nearest": (
        "days to the nearest other clear date of the window, missing where none is within a year",
        1.0,
        DAY,
    ),
    "distance_to_training": (
        "distance of the state from those of training: root mean square of its components over their deviations in "
        "training, 1 for an ordinary date of training",
        0.01,
        "1",
    ),
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
    fill: float = 0
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
    """The error expected of predicting the pixel and date."""
    text = f"mean absolute error ({unit}) expected of predicting this pixel and date, were it hidden"
    return _stepped("expected_error", "1" if unit == "reflectance" else unit, text, step)


def told_layer(name: str) -> StoreLayer:
    """One of TOLD; missing where there is no vector."""
    text, step, unit = TOLD[name]
    return _stepped(name, unit, text, step)


def in_steps(values: Float[np.ndarray, "*n"], step: float, wanted: Bool[np.ndarray, "*n"]) -> UInt16[np.ndarray, "*n"]:
    """Numbers from 0 as a layer stores them, counted in steps; NO_NUMBER where not wanted or NaN."""
    wanted = wanted & ~np.isnan(values)
    steps = np.minimum(np.round(np.where(wanted, values, 0) / step), NO_NUMBER - 1)
    return np.where(wanted, steps, NO_NUMBER).astype(np.uint16)


def observations_layer(modality: str) -> StoreLayer:
    """How many acquisitions of a modality the window has."""
    text = f"valid {modality} acquisitions in the window; 0 where {modality} was not used"
    return StoreLayer(name=f"observations_{modality}", dtype="uint8", attributes={"long_name": text})


def offset_layer(modality: str) -> StoreLayer:
    """Days to the acquisition used."""
    about = {
        "units": DAY,
        "long_name": f"days from the date to the {modality} acquisition used; missing where none was",
        "_FillValue": int(NO_OFFSET),
    }
    return StoreLayer(name=f"{modality}_offset_days", dtype="int16", fill=int(NO_OFFSET), attributes=about)


def _stepped(name: str, units: str, long_name: str, step: float) -> StoreLayer:
    """A layer of numbers from 0, counted in steps (`in_steps`)."""
    about = {"units": units, "scale_factor": step, "_FillValue": int(NO_NUMBER), "long_name": long_name}
    return StoreLayer(name=name, dtype="uint16", fill=int(NO_NUMBER), attributes=about)
