"""Numbers that tables and float rasters write where they have nothing: one set, for all of them."""

import numpy as np
import pandas as pd

FILLS = (
    -9999.0,  # FLUXNET, AmeriFlux, ICOS, AgERA5
    -9999.9,
    -999.0,
    -999.9,
    -6999.0,  # AmeriFlux before 2012
    -99999.0,
    -999999.0,
    -32768.0,  # of int16, kept when it became float
    1e20,  # CMOR
    9.969209968386869e36,  # NetCDF
    -3.4028234663852886e38,  # GDAL's of float32
)
"""None of them is a flux, a temperature, a reflectance or a backscatter. Of integers with a scale each may be a
measurement, so there only what a file or its mapping names is missing."""


def without_fills(values: pd.DataFrame) -> pd.DataFrame:
    """Numbers with NaN where one of FILLS stands, or an infinity."""
    return values.mask(is_fill(values.to_numpy(np.float64)))


def is_fill_text(text: str) -> bool:
    """Whether a text is one of FILLS, or an infinity, as a number."""
    try:
        return bool(is_fill(np.array([float(text)]))[0])
    except ValueError:
        return False


def is_fill(values: np.ndarray) -> np.ndarray:
    """Where floating-point numbers are one of FILLS as written in their own precision or in float32, or infinite."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)  # -3.4028235e38, as float32 is printed
    written = np.isin(values, np.array(FILLS).astype(values.dtype)) | np.isin(short, np.array(FILLS, np.float32))
    return written | np.isinf(values)
